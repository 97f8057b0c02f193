#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ext4_rs_writer::laws::ext4_journal(bytes));
