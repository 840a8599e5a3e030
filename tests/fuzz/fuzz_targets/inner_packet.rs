//! libFuzzer's entry for the target `inner_packet`; its body is in the library.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mesh_fuzz::inner_packet(bytes);
});
