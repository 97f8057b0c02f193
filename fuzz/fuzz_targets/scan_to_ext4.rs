#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ext4_rs_writer::laws::scan_to_ext4(
    bytes,
    tempfile::tempdir().unwrap().path()
));
