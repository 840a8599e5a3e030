//! libFuzzer's entry for the target `server_config`; its body is in the library.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mesh_fuzz::server_config(bytes);
});
