//! The laws of names in images: patterns, versions, and the table of file systems.

use image_core::laws::Draw;

use crate::inspect::find::matches;
use crate::inspect::fstab;
use crate::inspect::kernels::by_version;

/// A pattern matches what it says without stars, and a star matches nothing, too; versions have one order; a table of file
/// systems names no place that leads up.
pub fn image_names(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let mut word = |pieces: &[&str]| -> Vec<u8> {
        (0..draw.below(8))
            .flat_map(|_| draw.pick(pieces).bytes())
            .collect()
    };
    let name = word(&["a", "b", "-", ".", "1", "09", "~", "\u{e9}"]);
    let pattern = word(&["a", "*", "?", "[ab]", "[!a]", "-", ".", "1", "[", "]", "\\"]);
    let _ = matches(&pattern, &name);
    assert!(matches(&name, &name), "{name:?} matches itself");
    assert!(matches(&[&name[..], b"*"].concat(), &name));
    let others = [
        name,
        word(&["a", "10", "9", ".", "-", "~"]),
        word(&["0", "10", ".img", "a"]),
    ];
    let mut sorted = others.to_vec();
    sorted.sort_by(|a, b| by_version(a, b));
    for pair in sorted.windows(2) {
        assert!(by_version(&pair[0], &pair[1]).is_le() && by_version(&pair[1], &pair[0]).is_ge());
    }
    assert!(by_version(&sorted[0], &sorted[2]).is_le());
    let table = word(&[
        "LABEL=",
        "UUID=",
        "x",
        " ",
        "/",
        "..",
        "\t",
        "\n",
        "\\040",
        "\\",
        "/dev/disk/by-uuid/",
        "\"",
    ]);
    for line in fstab::lines(&table) {
        let parts: Vec<_> = line.at.split(|byte| *byte == b'/').collect();
        assert!(
            parts
                .iter()
                .all(|part| !part.is_empty() && *part != b".." && *part != b".")
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn image_names(bytes in vec(any::<u8>(), 0..60)) {
            super::image_names(&bytes);
        }
    }
}
