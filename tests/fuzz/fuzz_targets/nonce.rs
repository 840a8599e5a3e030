//! libFuzzer's entry for the target `nonce`; its body is in the library.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mesh_fuzz::nonce(bytes);
});
