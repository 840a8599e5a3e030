//! Laboratory for the mesh: network namespaces, the real binaries in them, captures, pings, the demo's
//! checks, and the measurement of recovery. Not part of what users install.

pub mod demo;
pub mod lab;
pub mod recovery;
