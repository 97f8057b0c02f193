//! `file_contexts`: which label a file gets by its name and kind.
//!
//! Spec: `file_contexts(5)` and `selabel_file(5)`; what they leave open is as libselinux does it:
//! - a line is a pattern, a kind such as `-d` or none, and a label; what comes after these is not looked at;
//! - patterns that are single names come before all others, and of two the later one;
//! - `<<none>>` says that a file keeps what it has;
//! - substitutions replace what a name begins with, whole directories at a time, the last line of a file first: once by the
//!   user's file, then once by the distribution's.
//!
//! Why an index: a policy has thousands of rules, and an image hundreds of thousands of names. What a name must begin with
//! for a rule is known for nearly all rules, so only a handful is tried, and only they are ever compiled.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use image_core::tree::Content;
use regex_lite::{Regex, RegexBuilder};

use super::LabelError;
use super::pattern::{Pattern, PatternError, is_open, stem};

/// Rules of a policy.
const RULES_MAX: usize = 1 << 16;
/// Bytes of a pattern, or a label.
const FIELD_MAX: usize = 4096;
/// Bytes that one compiled pattern may have.
const COMPILED_BYTES_MAX: usize = 128 << 10;
/// Patterns that are compiled at any time; those of a policy that names in an image begin like are fewer.
const COMPILED_MAX: usize = 2048;
/// Groups within groups of one, which come with repetitions, too.
const NEST_MAX: u32 = 100;

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is a pattern, and nothing after it.
    #[error("there is no label after the pattern")]
    NoLabel,
    /// A field has other characters than those of ASCII.
    #[error("it has characters that are not ASCII's")]
    NotAscii,
    /// A field is longer than any file's name.
    #[error("a field has more than {FIELD_MAX} bytes")]
    TooLong,
    /// There are no files of this kind.
    #[error("'{0}' is no kind of file")]
    Kind(String),
    /// The pattern is not understood.
    #[error("the pattern {pattern}: {error}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why.
        error: PatternError,
    },
    /// The pattern needs too much memory.
    #[error("the pattern {0} is too large")]
    TooLarge(String),
}

/// The rules of a policy, ready to be asked.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    /// In the order in which they are tried.
    rules: Vec<Rule>,
    /// Rules by what names begin with that they match.
    starts: HashMap<Vec<u8>, Vec<usize>>,
    /// The lengths of those starts, ascending.
    lengths: Vec<usize>,
    /// What was asked for so far.
    compiled: HashMap<usize, Regex>,
    /// The user's and the distribution's, the last line first.
    substitutions: [Vec<(Vec<u8>, Vec<u8>)>; 2],
}

#[derive(Clone, Debug)]
struct Rule {
    pattern: String,
    /// How many bytes of the pattern are its first directory, which is not looked for by the engine.
    stem: Option<usize>,
    /// What names begin with, the stem included.
    start: Vec<u8>,
    rest: Option<String>,
    kind: Option<u8>,
    label: Option<Arc<[u8]>>,
    is_open: bool,
    file: Arc<str>,
    line: usize,
}

/// The letter of a kind of file, as the second field of a line has it.
pub(super) fn letter(content: &Content) -> u8 {
    match content {
        Content::Directory(_) => b'd',
        Content::File(_) => b'-',
        Content::Symlink(_) => b'l',
        Content::CharDevice(_) => b'c',
        Content::BlockDevice(_) => b'b',
        Content::Fifo => b'p',
        Content::Socket => b's',
    }
}

/// The words of a line, as C's `isspace` sees them.
fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | b'\r');
    line.split(is_space).filter(|word| !word.is_empty())
}

impl Contexts {
    /// Reads files of rules, in the order in which later ones come before earlier ones, each with its name.
    pub(crate) fn read(files: &[(&str, &[u8])]) -> Result<Self, LabelError> {
        let mut rules = Vec::new();
        for (name, text) in files {
            let file: Arc<str> = Arc::from(*name);
            for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
                let line_of = index + 1;
                let read = Rule::read(line, &file, line_of);
                rules.extend(read.map_err(|fault| LabelError::Line {
                    file: (*name).to_owned(),
                    line: line_of,
                    fault,
                })?);
                if rules.len() > RULES_MAX {
                    return Err(LabelError::TooManyRules {
                        file: (*name).to_owned(),
                        most: RULES_MAX,
                    });
                }
            }
        }
        // Stable: of two of a sort the later one comes first.
        rules.reverse();
        rules.sort_by_key(|rule| rule.is_open);
        let mut starts: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        for (index, rule) in rules.iter().enumerate() {
            starts.entry(rule.start.clone()).or_default().push(index);
        }
        let mut lengths: Vec<usize> = starts.keys().map(Vec::len).collect();
        lengths.sort_unstable();
        lengths.dedup();
        Ok(Self {
            rules,
            starts,
            lengths,
            ..Self::default()
        })
    }

    /// Reads what stands for other names: the user's file and the distribution's.
    pub(crate) fn substitute(&mut self, user: &[u8], distribution: &[u8]) {
        self.substitutions = [user, distribution].map(|text| {
            let pair = |line: &[u8]| {
                let mut words = words(line).map(<[u8]>::to_vec);
                let from = words.next().filter(|word| !word.starts_with(b"#"))?;
                Some((from, words.next()?))
            };
            text.split(|byte| *byte == b'\n').rev().filter_map(pair).collect()
        });
    }

    /// The label of a file by its absolute name and the letter of its kind; `None`: it keeps what it has.
    pub(crate) fn label(&mut self, name: &[u8], kind: u8) -> Result<Option<Arc<[u8]>>, LabelError> {
        let name = self.substituted(name);
        for index in self.candidates(&name) {
            let rule = &self.rules[index];
            if rule.kind.is_some_and(|of| of != kind) || !rule.is_in(&name) {
                continue;
            }
            let rest = &name[rule.start.len()..];
            let is_match = match rule.rest {
                Some(_) => self.compiled(index)?.is_match(&characters(rest)),
                None => matches!(rest, b"" | b"\n"),
            };
            if is_match {
                return Ok(self.rules[index].label.clone());
            }
        }
        Ok(None)
    }

    /// The rules that may match a name, in the order in which they are tried.
    fn candidates(&self, name: &[u8]) -> Vec<usize> {
        let lengths = self.lengths.iter().take_while(|len| **len <= name.len());
        let found = lengths.filter_map(|len| self.starts.get(&name[..*len]));
        let mut found: Vec<usize> = found.flatten().copied().collect();
        found.sort_unstable();
        found
    }

    fn substituted<'a>(&self, name: &'a [u8]) -> Cow<'a, [u8]> {
        let mut name = Cow::Borrowed(name);
        for pairs in &self.substitutions {
            let new = pairs.iter().find_map(|(from, to)| {
                let rest = name.strip_prefix(&from[..])?;
                let rest = match rest {
                    [] => rest,
                    [b'/', below @ ..] => {
                        if to == b"/" {
                            below
                        } else {
                            rest
                        }
                    }
                    _ => return None,
                };
                Some([&to[..], rest].concat())
            });
            name = new.map_or(name, Cow::Owned);
        }
        name
    }

    fn compiled(&mut self, index: usize) -> Result<&Regex, LabelError> {
        if self.compiled.len() >= COMPILED_MAX && !self.compiled.contains_key(&index) {
            self.compiled.clear();
        }
        match self.compiled.entry(index) {
            std::collections::hash_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let rule = &self.rules[index];
                let expression = rule.rest.as_deref().unwrap_or_default();
                let built = RegexBuilder::new(expression)
                    .dot_matches_new_line(true)
                    .size_limit(COMPILED_BYTES_MAX)
                    .nest_limit(NEST_MAX)
                    .build();
                // It was read before: what is left to fail is its size.
                let built = built.map_err(|_| LabelError::Line {
                    file: rule.file.to_string(),
                    line: rule.line,
                    fault: Fault::TooLarge(rule.pattern.clone()),
                })?;
                Ok(entry.insert(built))
            }
        }
    }
}

impl Rule {
    fn read(line: &[u8], file: &Arc<str>, line_of: usize) -> Result<Option<Self>, Fault> {
        let mut fields = words(line);
        let Some(pattern) = fields.next().filter(|word| !word.starts_with(b"#")) else {
            return Ok(None);
        };
        let second = fields.next().ok_or(Fault::NoLabel)?;
        let (kind, label) = match fields.next() {
            Some(label) => (Some(second), label),
            None => (None, second),
        };
        let all = [pattern, kind.unwrap_or_default(), label];
        if all.iter().any(|field| !field.is_ascii() || field.contains(&0)) {
            return Err(Fault::NotAscii);
        }
        if all.iter().any(|field| field.len() > FIELD_MAX) {
            return Err(Fault::TooLong);
        }
        let kind = match kind {
            None => None,
            Some([b'-', letter @ (b'b' | b'c' | b'd' | b'p' | b'l' | b's' | b'-')]) => Some(*letter),
            Some(other) => return Err(Fault::Kind(String::from_utf8_lossy(other).into_owned())),
        };
        let stem = stem(pattern);
        let (within, after) = pattern.split_at(stem.unwrap_or(0));
        let text = String::from_utf8_lossy(pattern).into_owned();
        let read = Pattern::read(after).map_err(|error| Fault::Pattern {
            pattern: text.clone(),
            error,
        })?;
        // As an attribute has it: with the NUL that ends it.
        let value = Arc::from([label, b"\0"].concat());
        Ok(Some(Self {
            pattern: text,
            stem,
            start: [within, &read.start].concat(),
            rest: read.rest,
            kind,
            label: (label != b"<<none>>").then_some(value),
            is_open: is_open(pattern),
            file: Arc::clone(file),
            line: line_of,
        }))
    }

    /// Whether the first directory of a name is the pattern's, where that is known.
    fn is_in(&self, name: &[u8]) -> bool {
        let Some(stem) = self.stem else { return true };
        name.iter().skip(1).position(|byte| *byte == b'/') == Some(stem - 1)
    }
}

/// Bytes as so many characters: the engine takes text, and PCRE takes each byte of a name for a character.
fn characters(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Cow::Borrowed(text),
        _ => bytes.iter().copied().map(char::from).collect(),
    }
}

/// All rules in turn, without the index: the model of [`Contexts::label`].
#[doc(hidden)]
pub(crate) fn label_by_trying(
    contexts: &mut Contexts,
    name: &[u8],
    kind: u8,
) -> Result<Option<Arc<[u8]>>, LabelError> {
    let name = contexts.substituted(name).into_owned();
    for index in 0..contexts.rules.len() {
        let rule = &contexts.rules[index];
        let Some(rest) = name.strip_prefix(&rule.start[..]) else {
            continue;
        };
        let fits = rule.kind.is_none_or(|of| of == kind) && rule.is_in(&name);
        let is_match = match rule.rest {
            Some(_) => fits && contexts.compiled(index)?.is_match(&characters(rest)),
            None => fits && matches!(rest, b"" | b"\n"),
        };
        if is_match {
            return Ok(contexts.rules[index].label.clone());
        }
    }
    Ok(None)
}
