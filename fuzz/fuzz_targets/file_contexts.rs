#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| diskimage_builder::laws::file_contexts(bytes));
