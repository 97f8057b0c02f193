#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| diskimage_builder::laws::disk_images(
    bytes,
    tempfile::tempdir().unwrap().path()
));
