//! libFuzzer's entry for the target `candidate_probe`; its body is in the library.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    mesh_fuzz::candidate_probe(bytes);
});
