//! The catalogue of all texts in the source, and whether a file of `fixtures/messages` shows them.
//!
//! A text counts as shown if some line of those files has all of it, whatever stands in its gaps. What is marked with
//! `-` is shown by none: most are the words before an error of the system that no test can make it give.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// What a text follows where it is a message.
const MARKS: [&str; 13] = [
    "note(",
    "warn(",
    "print(",
    "ui::phase(",
    "Error::usage(",
    "Error::new(",
    "Self::usage(",
    ".hint(",
    ".host(",
    ".image(",
    "#[error(",
    "let tried = ||",
    "let message =",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below a directory with an extension, in order.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|end| end == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The first text in the statement or the parentheses that a mark opens, if there is one.
fn first_text(code: &str, parenthesis: bool) -> Option<&str> {
    let mut depth = i32::from(parenthesis);
    let mut at = 0;
    let bytes = code.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let end = closing_quote(&code[at + 1..])?;
                return Some(&code[at + 1..at + 1 + end]);
            }
            b'(' | b'{' => depth += 1,
            b')' | b'}' => depth -= 1,
            b';' if depth <= i32::from(parenthesis) => return None,
            _ => {}
        }
        if parenthesis && depth == 0 {
            return None;
        }
        at += 1;
    }
    None
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

/// A text as it stands in the source → as it is printed, its gaps left as they are.
fn unescaped(text: &str) -> String {
    let mut lines = text.split("\\\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let joined = lines.fold(first, |text, line| text + line.trim_start());
    joined
        .replace("\\n", "\n")
        .replace("\\\"", "\"")
        .replace("\\\\", "\\")
        .replace("{{", "{")
        .replace("}}", "}")
}

/// The messages of a source file, sorted, each once.
fn messages(source: &str) -> Vec<String> {
    let code: String = source
        .lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut found = Vec::new();
    for mark in MARKS {
        for (at, _) in code.match_indices(mark) {
            let text = first_text(&code[at + mark.len()..], mark.ends_with('('));
            found.extend(text.map(unescaped));
        }
    }
    // What has no words says nothing by itself.
    let words = |text: &String| {
        pieces(text)
            .iter()
            .any(|piece| piece.chars().any(char::is_alphabetic))
    };
    found.retain(words);
    found.sort();
    found.dedup();
    found
}

/// The parts of a text between its gaps.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    for part in text.split('{') {
        let rest = part.split_once('}').map_or(part, |(_, rest)| rest);
        pieces.extend(rest.split('\n').map(str::trim).filter(|piece| !piece.is_empty()));
    }
    pieces
}

/// Whether the lines of `shown` hold all parts of a text, in order, near each other.
fn is_shown(text: &str, shown: &str) -> bool {
    let pieces = pieces(text);
    let Some((first, rest)) = pieces.split_first() else {
        return true;
    };
    shown.match_indices(first).any(|(at, _)| {
        let near = &shown[at + first.len()..];
        let near: String = near.chars().take(600).collect();
        let mut near = near.as_str();
        rest.iter().all(|piece| match near.split_once(piece) {
            Some((_, after)) => {
                near = after;
                true
            }
            None => false,
        })
    })
}

#[test]
fn every_message_is_known() {
    let shown: String = files(&root().join("fixtures/messages"), "txt")
        .iter()
        .filter(|path| !path.ends_with("catalogue.txt"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let mut catalogue = String::new();
    let sources = [
        "src",
        "fs/ext4-rs-writer/src",
        "fs/image-core/src",
        "fs/image-formats/src",
    ];
    for path in sources.iter().flat_map(|dir| files(&root().join(dir), "rs")) {
        let messages = messages(&fs::read_to_string(&path).unwrap());
        if messages.is_empty() {
            continue;
        }
        writeln!(catalogue, "{}", path.strip_prefix(root()).unwrap().display()).unwrap();
        for message in messages {
            let mark = if is_shown(&message, &shown) { ' ' } else { '-' };
            writeln!(catalogue, "  {mark} {}", message.replace('\n', "\n      ")).unwrap();
        }
    }
    oracle::golden::check("messages/catalogue.txt", &catalogue);
}

#[test]
fn the_source_is_read_as_it_is_meant() {
    let source = r#"
        // note("a comment")
        ui::note(format_args!("one {} of {{x}} \"q\" {name}", path.display()));
        let tried = || format!("cannot \
            read {path}");
        error.hint(other.clone());
        Error::new(Kind::Host, "plain;").hint("more\nlines");
        #[error("{0}")]
        #[cfg(test)]
    "#
    .replace("        ", "");
    let found = messages(&source);
    let expected = [
        "cannot read {path}",
        "more\nlines",
        "one {} of {x} \"q\" {name}",
        "plain;",
    ];
    assert_eq!(found, expected);
    assert_eq!(pieces("one {} of {x}, {y}!"), ["one", "of", ",", "!"]);
    assert!(is_shown("cannot read {}: {}", "so: cannot read /x: gone"));
    assert!(!is_shown("cannot read {}, {}", "so: cannot read /x: gone"));
}
