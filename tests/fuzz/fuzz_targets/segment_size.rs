//! libFuzzer's entry for the target `segment_size`; its body is in the library.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mesh_fuzz::segment_size(bytes);
});
