//! The laws, on drawn bytes.

use image_core::laws;
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn map_algebra(bytes in vec(any::<u8>(), 0..200)) {
        laws::map_algebra(&bytes);
    }

    #[test]
    fn map_builder(bytes in vec(any::<u8>(), 0..300)) {
        laws::map_builder(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn copy_in_order(bytes in vec(any::<u8>(), 0..300)) {
        laws::copy_in_order(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn scan_directory(bytes in vec(any::<u8>(), 0..300)) {
        laws::scan_directory(&bytes, tempfile::tempdir().unwrap().path());
    }
}
