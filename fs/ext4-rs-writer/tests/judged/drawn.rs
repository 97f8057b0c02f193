//! The trees and options of the fuzz target, drawn at random, before e2fsck.

use ext4_rs_writer::laws;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::forest::Pattern;
use crate::image::checked;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_drawn_and_planned_is_clean(bytes in vec(any::<u8>(), 0..600)) {
        if let Some((tree, options)) = laws::tree_to_ext4(&bytes) {
            checked(&tree, &Pattern, &options);
        }
    }
}
