//! Tests against the real kernel. Each runs on a thread with a network namespace of its own, which
//! vanishes with the thread, also after a panic.

mod cleanup;
mod facts;
mod links;
mod monitor;
mod namespace;
mod reconcile;
mod tun;
