//! libFuzzer's entry for the target `coalesce`; its body is in the library.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mesh_fuzz::coalesce(bytes);
});
