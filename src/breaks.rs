//! Break points: where a build stops for a shell, as the variable `break` names them.
//!
//! `break` is a list of words with commas between them: `before-PHASE`, `after-PHASE`, and `after-error`, which stops in
//! every phase: of those on the host the original program stops in `block-device.d` alone. Besides the phases there is
//! `block-device-size`, the moment at which the size of the image is decided.

use crate::environment::Environment;
use crate::error::Result;
use crate::phase::Phase;
use crate::suggest::nearest;

/// The break point where a hook failed.
pub const AFTER_ERROR: &str = "after-error";

/// What is no phase and yet has break points: the decision about the size of the image.
pub const SIZE: &str = "block-device-size";

/// The break points that a caller named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breaks {
    words: Vec<String>,
}

impl Breaks {
    /// Reads the variable `break`.
    pub fn of(environment: &Environment) -> Result<Self> {
        let text = environment.text("break")?.unwrap_or_default();
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        Ok(Self {
            words: words.map(str::to_owned).collect(),
        })
    }

    /// Whether the build stops here.
    pub fn at(&self, point: &str) -> bool {
        self.words.iter().any(|word| word == point)
    }

    /// The words at which no build stops.
    pub fn warnings(&self) -> Vec<String> {
        let known = points();
        let unknown = self.words.iter().filter(|word| !known.contains(word));
        unknown
            .map(|word| {
                let near = |word: &str| nearest(word, known.iter().map(String::as_str));
                // Who names a phase means the moment before it.
                let near = near(word).or_else(|| near(&format!("before-{word}")));
                let meant = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
                format!("break: there is no break point '{word}'{meant}")
            })
            .collect()
    }
}

/// Every break point, in the order in which a build comes to them.
fn points() -> Vec<String> {
    let stages = Phase::ALL.iter().flat_map(|phase| {
        let size = (*phase == Phase::BlockDevice).then_some(SIZE);
        size.into_iter().chain([phase.name()])
    });
    stages
        .flat_map(|stage| ["before", "after"].map(|side| format!("{side}-{stage}")))
        .chain([AFTER_ERROR.to_owned()])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaks(text: &str) -> Breaks {
        let mut environment = Environment::default();
        environment.set("break", text);
        Breaks::of(&environment).unwrap()
    }

    #[test]
    fn words_match_whole() {
        let breaks = breaks("before-install,after-post-install, after-error ,");
        for (point, stops) in [
            ("before-install", true),
            ("before-pre-install", false),
            ("after-install", false),
            ("after-post-install", true),
            ("after-error", true),
            ("", false),
        ] {
            assert_eq!(breaks.at(point), stops, "{point}");
        }
        assert_eq!(breaks.warnings(), [""; 0]);
        assert!(!Breaks::of(&Environment::default()).unwrap().at("before-root"));
    }

    #[test]
    fn every_phase_and_the_size_have_points() {
        let points = points();
        assert_eq!(points.len(), 25);
        for point in [
            "before-root",
            "after-first-boot",
            "before-block-device-size",
            "after-cleanup",
        ] {
            assert!(points.iter().any(|known| known == point), "{point}");
        }
    }

    #[test]
    fn an_unknown_word_gets_a_suggestion() {
        assert_eq!(
            breaks("after-eror,before-finalize,install,xyzzy").warnings(),
            [
                "break: there is no break point 'after-eror'; did you mean after-error?",
                "break: there is no break point 'before-finalize'; did you mean before-finalise?",
                "break: there is no break point 'install'; did you mean before-install?",
                "break: there is no break point 'xyzzy'",
            ]
        );
    }
}
