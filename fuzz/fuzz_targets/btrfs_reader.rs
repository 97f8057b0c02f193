#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| image_formats::laws::btrfs_reader(bytes));
