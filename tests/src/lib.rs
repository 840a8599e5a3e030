//! Laboratory for the mesh: network namespaces, the real binaries in them, captures, pings, the demo's
//! checks, and the measurement of recovery and scale; a simulator of many real cores in virtual time; and
//! a virtual machine with another kernel. Not part of what users install.

pub mod demo;
pub mod fairness;
pub mod lab;
pub mod recovery;
pub mod scale;
pub mod schema;
pub mod sim;
pub mod soak;
pub mod throughput;
pub mod vm;
