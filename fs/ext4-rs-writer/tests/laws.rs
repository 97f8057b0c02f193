//! The laws, on drawn bytes.

use ext4_rs_writer::laws;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn mke2fs_options(text in "(-[a-zA-Z] ?[a-z0-9^_=,.%'\"]{0,12} ?){0,4}") {
        laws::mke2fs_options(text.as_bytes());
    }
}
