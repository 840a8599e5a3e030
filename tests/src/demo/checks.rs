//! The checks, one file each.

pub(crate) mod backbone;
pub(crate) mod clear_control;
pub(crate) mod fail_closed;
pub(crate) mod filter;
pub(crate) mod member;
pub(crate) mod native;
pub(crate) mod outage;
pub(crate) mod reach;
pub(crate) mod rp_filter;
pub(crate) mod shutdown;
pub(crate) mod topology;
pub(crate) mod tunnels;
pub(crate) mod verdict;
