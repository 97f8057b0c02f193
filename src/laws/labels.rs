//! Laws of labels: the rules of a policy.

use image_core::laws::Draw;

use crate::selinux::contexts::{Contexts, label_by_trying};

/// Pieces of patterns, of which drawn ones have many that are understood.
const PIECES: [&str; 24] = [
    "/",
    "/usr",
    "/a",
    "b",
    ".*",
    "(/.*)?",
    "[^/]+",
    "\\.",
    "(a|b)",
    "|",
    "?",
    "+",
    "{2,3}",
    "{",
    "[[:digit:]a-c]",
    "^",
    "$",
    "\\-",
    "\\<",
    "(",
    ")",
    "[",
    "\\",
    "(?:",
];
const KINDS: [&str; 4] = ["", "-d", "--", "-l"];

/// Whatever a policy says, it is read or the reason is told with its line; the index finds the rule that trying all in turn
/// finds.
pub fn file_contexts(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let mut text = Vec::new();
    for line in 0..draw.below(12) {
        for _ in 0..=draw.below(5) {
            text.extend_from_slice(draw.pick(&PIECES).as_bytes());
        }
        if draw.below(8) == 7 {
            text.push(draw.byte());
        }
        let kind = draw.pick(&KINDS);
        let label = if draw.below(8) == 7 {
            "<<none>>".to_owned()
        } else {
            format!("label_{line}")
        };
        text.extend_from_slice(format!(" {kind} {label}\n").as_bytes());
    }
    let mut substitutions = [(); 2].map(|()| {
        let mut words = || format!("{}{}", draw.pick(&PIECES[..4]), draw.pick(&PIECES[..4]));
        format!("{} {}\n", words(), words()).into_bytes()
    });
    let mut contexts = match Contexts::read(&[("rules", &text)]) {
        Ok(contexts) => contexts,
        Err(error) => return assert!(error.to_string().contains("line ")),
    };
    if draw.below(2) == 1 {
        substitutions[0].clear();
    }
    contexts.substitute(&substitutions[0], &substitutions[1]);
    for _ in 0..8 {
        let mut name = b"/".to_vec();
        for _ in 0..draw.below(6) {
            name.extend_from_slice(
                draw.pick(&["usr", "/", "a", "b", "bb", ".", "1", "-", "\n"])
                    .as_bytes(),
            );
        }
        if draw.below(4) == 3 {
            name.push(draw.byte());
        }
        let kind = *draw.pick(b"d-l");
        let found = contexts.label(&name, kind).map_err(|error| error.to_string());
        let tried = label_by_trying(&mut contexts, &name, kind).map_err(|error| error.to_string());
        // An index that tries fewer may not meet a pattern that is too large.
        if tried.is_ok() {
            assert_eq!(found, tried, "{}", name.escape_ascii());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn file_contexts(bytes in vec(any::<u8>(), 0..120)) {
            super::file_contexts(&bytes);
        }
    }
}
