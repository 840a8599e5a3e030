//! Laboratory for the mesh: network namespaces, the real binaries in them, captures, pings, and the
//! demo's checks. Not part of what users install.

pub mod demo;
pub mod lab;
