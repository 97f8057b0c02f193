//! Texts that are kept as files below `fixtures`, so that a change of any shows in review.
//!
//! `DIB_BLESS=1` writes them anew; without it a text that differs is a failure.

use std::fs;
use std::path::Path;

/// Compares a text with the file that holds it.
#[track_caller]
pub fn check(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(file);
    if std::env::var_os("DIB_BLESS").is_some_and(|bless| bless == "1") {
        let dir = path.parent().expect("a file lies in a directory");
        fs::create_dir_all(dir).expect("fixtures can be written");
        fs::write(&path, text).expect("fixtures can be written");
        return;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    if let Some((number, kept, new)) = first_difference(&kept, text) {
        panic!(
            "fixtures/{file}, line {number}, says\n    {kept}\nbut now it is\n    {new}\n\
             DIB_BLESS=1 takes over the new text, which was\n{text}"
        );
    }
}

fn first_difference<'a>(kept: &'a str, new: &'a str) -> Option<(usize, &'a str, &'a str)> {
    let (mut old_lines, mut new_lines) = (kept.split('\n'), new.split('\n'));
    for number in 1.. {
        match (old_lines.next(), new_lines.next()) {
            (None, None) => return None,
            (old, new) if old == new => {}
            (old, new) => return Some((number, old.unwrap_or("(no line)"), new.unwrap_or("(no line)"))),
        }
    }
    None
}
