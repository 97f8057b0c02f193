#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| image_core::laws::copy_in_order(bytes));
