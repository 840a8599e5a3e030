//! Tests of filter programs.
