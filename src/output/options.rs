//! The words of `--qemu-img-options`, each for the formats that know it.
//!
//! The original program gives all of them to every format that qemu-img writes, so that two formats of one build can
//! have none. Here an option is for whom it means something; one that means nothing to anybody is refused. A raw image
//! takes none, and as with the original program it does not mind those of others.

use super::format::Format;
use crate::error::{Error, Result};

/// The options of a text that a format knows, in order.
pub(super) fn known_to<'a>(
    keys: &'static [&'static str],
    text: &'a str,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let words = text.split(',').filter_map(|word| word.split_once('='));
    words.filter(|(key, _)| keys.contains(key))
}

/// Whether every word is an option of some format.
pub(super) fn check(formats: &[Format], text: &str) -> Result<()> {
    let refused = |why: String| Err(Error::usage("--qemu-img-options").because(Error::usage(why)));
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let Some((key, _)) = word.split_once('=') else {
            return refused(format!("'{word}' is not of the form key=value"));
        };
        let knows = |format: &Format| format.writer().keys().contains(&key);
        let indifferent = formats.contains(&Format::Raw) && Format::ALL.iter().any(knows);
        if !indifferent && !formats.iter().any(knows) {
            let words: Vec<_> = formats.iter().map(Format::to_string).collect();
            return refused(match &words[..] {
                [word] => format!("{word} has no option '{key}'"),
                words => format!("none of {} has an option '{key}'", words.join(", ")),
            });
        }
    }
    Ok(())
}
