//! The laws, on drawn bytes.

use image_formats::laws;
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn qcow2_plan(bytes in vec(any::<u8>(), 0..200)) {
        laws::qcow2_plan(&bytes);
    }

    /// Images with some of their bytes changed.
    #[test]
    fn qcow2_reader(
        seed in vec(any::<u8>(), 0..100),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        front in vec((0_usize..112, any::<u8>()), 0..3),
    ) {
        let mut image = laws::qcow2_seed(&seed);
        for (at, byte) in changes {
            let at = at.index(image.len());
            image[at] = byte;
        }
        for (at, byte) in front {
            image[at] = byte;
        }
        laws::qcow2_reader(&image);
    }

    #[test]
    fn qcow2_options(text in "((compat|cluster_size|preallocation|compression_level|size)=[0-9a-zA-Z.]{0,4},?){0,3}") {
        laws::qcow2_options(text.as_bytes());
    }
}
