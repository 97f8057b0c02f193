#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(ext4_rs_writer::laws::tree_to_ext4(bytes)));
