//! Resolves `extraAnnouncedEndpoints`. A name that does not resolve harms no other.

mod announced;

pub use self::announced::Announced;
