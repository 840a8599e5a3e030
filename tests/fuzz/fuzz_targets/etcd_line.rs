//! libFuzzer's entry for the target `etcd_line`; its body is in the library.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mesh_fuzz::etcd_line(bytes);
});
