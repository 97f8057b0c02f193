#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ext4_rs_writer::laws::mke2fs_options(bytes));
