//! Patterns of `file_contexts`: regular expressions of PCRE, in ASCII, as libselinux compiles them.
//!
//! Spec: <https://www.pcre.org/current/doc/html/pcre2pattern.html>
//!
//! libselinux puts `^` before a pattern and `$` after it, without a group around it: `/a|/b` is whatever begins with `/a` or
//! ends with `/b`. `.` takes any byte, and `$` stands before a newline that ends the name, too. What no policy is known to
//! use, and what is no regular language (looking around, references back), is refused by name.
//!
//! Why a translation: the engine has the syntax of another family, which refuses `\<` and a `{` that repeats nothing, and gives
//! `[`, `&&` and `--` in classes another meaning.

use std::fmt::Write as _;

/// The end of a name, as `$` has it.
const END: &str = r"\n?\z";
/// Groups within groups.
const DEPTH_MAX: usize = 32;

/// A pattern, translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// What every name that it matches begins with.
    pub(super) start: Vec<u8>,
    /// An expression for what comes after that; `None`: nothing but a newline does.
    pub(super) rest: Option<String>,
}

/// Why a pattern is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It ends with a backslash.
    #[error("it ends with a backslash")]
    Backslash,
    /// An escape of another meaning than a character or a class.
    #[error("\\{} is not supported", char::from(*.0))]
    Escape(u8),
    /// A group that is more than one.
    #[error("groups that begin with ({} are not supported", char::from(*.0))]
    Group(u8),
    /// A repetition that never gives back.
    #[error("repetitions that end with + are not supported")]
    Possessive,
    /// There is nothing that a repetition could repeat.
    #[error("there is nothing to repeat before {}", char::from(*.0))]
    Repetition(u8),
    /// A group or a class that does not end.
    #[error("{} is never closed", char::from(*.0))]
    Unclosed(u8),
    /// A `)` without its `(`.
    #[error("a ) closes nothing")]
    Unopened,
    /// A range of a class whose ends are in no order, or no characters.
    #[error("a range of a class has no two ends")]
    Range,
    /// A class of POSIX that there is not.
    #[error("[:{0}:] is no class")]
    Class(String),
    /// Groups within groups within groups.
    #[error("groups are more than {DEPTH_MAX} deep")]
    TooDeep,
}

impl Pattern {
    /// Reads what stands in a file.
    pub(super) fn read(text: &[u8]) -> Result<Self, PatternError> {
        let mut reader = Reader {
            text,
            start: Vec::new(),
            growing: true,
            rest: String::new(),
            depth: 0,
            repeatable: false,
        };
        while let Some(byte) = reader.next() {
            reader.item(byte)?;
        }
        if reader.depth > 0 {
            return Err(PatternError::Unclosed(b'('));
        }
        let rest = reader.rest;
        Ok(Self {
            start: reader.start,
            rest: (!reader.growing).then(|| format!(r"\A{rest}{END}")),
        })
    }
}

/// Whether libselinux takes a pattern for more than one name: those of single names come before all others.
pub(super) fn is_open(text: &[u8]) -> bool {
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'.' | b'^' | b'$' | b'?' | b'*' | b'+' | b'|' | b'[' | b'(' | b'{' => return true,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
    false
}

/// How long the first directory of a pattern is, if libselinux finds it without the engine: then only names in that very
/// directory are tried, and by what comes after it.
pub(super) fn stem(text: &[u8]) -> Option<usize> {
    let slash = text.iter().skip(1).position(|byte| *byte == b'/')? + 1;
    let plain = |byte: &u8| !b".^$?*+|[({".contains(byte);
    text[..slash].iter().all(plain).then_some(slash)
}

struct Reader<'a> {
    /// What is to be read.
    text: &'a [u8],
    start: Vec<u8>,
    /// Whether what comes next may still be a part of the start.
    growing: bool,
    rest: String,
    depth: usize,
    /// Whether the last item may be repeated.
    repeatable: bool,
}

/// What an escape means.
enum Escape {
    Byte(u8),
    Class(&'static str),
    /// A place, which depends on what is before it.
    Place(&'static str),
}

impl Reader<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.text.split_first()?;
        self.text = rest;
        Some(*first)
    }

    fn takes(&mut self, byte: u8) -> bool {
        let there = self.text.first() == Some(&byte);
        if there {
            self.next();
        }
        there
    }

    fn item(&mut self, byte: u8) -> Result<(), PatternError> {
        match byte {
            b'\\' => match self.escape()? {
                Escape::Byte(byte) => self.literal(byte),
                Escape::Class(class) => self.atom(class),
                Escape::Place(place) => self.place(place),
            },
            b'.' => self.atom("."),
            b'^' => self.place(r"\A"),
            b'$' => {
                self.atom("(?:");
                self.rest.push_str(END);
                self.rest.push(')');
                self.repeatable = false;
            }
            b'|' => {
                if self.depth == 0 {
                    self.put_back();
                }
                self.atom("|");
                self.repeatable = false;
            }
            b'(' => return self.open(),
            b')' => {
                self.depth = self.depth.checked_sub(1).ok_or(PatternError::Unopened)?;
                self.atom(")");
            }
            b'[' => return self.class(),
            b'*' | b'+' | b'?' => return self.repeat(byte, ""),
            b'{' => match self.bounds() {
                Some(bounds) => return self.repeat(byte, &bounds),
                None => self.literal(byte),
            },
            byte => self.literal(byte),
        }
        Ok(())
    }

    fn literal(&mut self, byte: u8) {
        if self.growing {
            self.start.push(byte);
        } else {
            push_byte(&mut self.rest, byte);
        }
        self.repeatable = true;
    }

    fn atom(&mut self, text: &str) {
        self.growing = false;
        self.rest.push_str(text);
        self.repeatable = true;
    }

    fn place(&mut self, text: &str) {
        self.put_back();
        self.atom(text);
        self.repeatable = false;
    }

    /// There is no start after all.
    fn put_back(&mut self) {
        let mut start = String::new();
        for byte in self.start.drain(..) {
            push_byte(&mut start, byte);
        }
        self.growing = false;
        self.rest.insert_str(0, &start);
    }

    fn escape(&mut self) -> Result<Escape, PatternError> {
        let byte = self.next().ok_or(PatternError::Backslash)?;
        Ok(match byte {
            b'd' => Escape::Class(r"\d"),
            b'D' => Escape::Class(r"\D"),
            b's' => Escape::Class(r"\s"),
            b'S' => Escape::Class(r"\S"),
            b'w' => Escape::Class(r"\w"),
            b'W' => Escape::Class(r"\W"),
            b'b' => Escape::Place(r"\b"),
            b'B' => Escape::Place(r"\B"),
            b'A' => Escape::Place(r"\A"),
            b'n' => Escape::Byte(b'\n'),
            b't' => Escape::Byte(b'\t'),
            b'r' => Escape::Byte(b'\r'),
            b'f' => Escape::Byte(0x0c),
            b'a' => Escape::Byte(0x07),
            b'e' => Escape::Byte(0x1b),
            byte if !byte.is_ascii_alphanumeric() => Escape::Byte(byte),
            byte => return Err(PatternError::Escape(byte)),
        })
    }

    fn open(&mut self) -> Result<(), PatternError> {
        match self.text {
            [b'?', b':', rest @ ..] => self.text = rest,
            [byte @ (b'?' | b'*'), ..] => return Err(PatternError::Group(*byte)),
            _ => {}
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(PatternError::TooDeep);
        }
        self.atom("(?:");
        self.repeatable = false;
        Ok(())
    }

    /// The bounds of a repetition after its `{`; without any, the brace is one.
    fn bounds(&mut self) -> Option<String> {
        let end = self.text.iter().position(|byte| *byte == b'}')?;
        let text = std::str::from_utf8(&self.text[..end]).ok()?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let right = match text.split_once(',') {
            Some((least, most)) => is_number(least) && (most.is_empty() || is_number(most)),
            None => is_number(text),
        };
        let bounds = right.then(|| format!("{text}}}"))?;
        self.text = &self.text[end + 1..];
        Some(bounds)
    }

    fn repeat(&mut self, byte: u8, bounds: &str) -> Result<(), PatternError> {
        if !self.repeatable {
            return Err(PatternError::Repetition(byte));
        }
        if self.growing
            && let Some(last) = self.start.pop()
        {
            self.growing = false;
            push_byte(&mut self.rest, last);
        }
        self.atom("");
        self.rest.push(char::from(byte));
        self.rest.push_str(bounds);
        if self.takes(b'+') {
            return Err(PatternError::Possessive);
        }
        // Which of its matches is found has no say in whether there is one.
        self.takes(b'?');
        self.repeatable = false;
        Ok(())
    }

    fn class(&mut self) -> Result<(), PatternError> {
        self.atom("[");
        if self.takes(b'^') {
            self.rest.push('^');
        }
        let mut first = true;
        loop {
            let byte = self.next().ok_or(PatternError::Unclosed(b'['))?;
            if byte == b']' && !first {
                break;
            }
            first = false;
            let Some(low) = self.member(byte)? else { continue };
            push_byte(&mut self.rest, low);
            if let [b'-', next, ..] = *self.text
                && next != b']'
            {
                self.text = &self.text[1..];
                let byte = self.next().ok_or(PatternError::Unclosed(b'['))?;
                self.rest.push('-');
                let high = self.member(byte)?.filter(|high| *high >= low);
                push_byte(&mut self.rest, high.ok_or(PatternError::Range)?);
            }
        }
        self.rest.push(']');
        Ok(())
    }

    /// A byte of a class; a class within it is taken over, and is none.
    fn member(&mut self, byte: u8) -> Result<Option<u8>, PatternError> {
        match byte {
            b'\\' if self.takes(b'b') => Ok(Some(0x08)),
            b'\\' => match self.escape()? {
                Escape::Byte(byte) => Ok(Some(byte)),
                Escape::Class(class) => {
                    self.rest.push_str(class);
                    Ok(None)
                }
                Escape::Place(place) => Err(PatternError::Escape(place.as_bytes()[1])),
            },
            b'[' if self.text.first() == Some(&b':') => self.posix(),
            byte => Ok(Some(byte)),
        }
    }

    /// A class of POSIX, unless the bracket is one.
    fn posix(&mut self) -> Result<Option<u8>, PatternError> {
        const NAMES: [&str; 14] = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
            "space", "upper", "word", "xdigit",
        ];
        let Some(end) = self.text.windows(2).skip(1).position(|pair| pair == b":]") else {
            return Ok(Some(b'['));
        };
        let name = String::from_utf8_lossy(&self.text[1..=end]).into_owned();
        if !NAMES.contains(&name.trim_start_matches('^')) {
            return Err(PatternError::Class(name));
        }
        let _ = write!(self.rest, "[:{name}:]");
        self.text = &self.text[end + 3..];
        Ok(None)
    }
}

/// A byte as itself, in a class or outside: letters and digits plainly, all others by number.
fn push_byte(text: &mut String, byte: u8) {
    if byte.is_ascii_alphanumeric() || byte == b'/' {
        text.push(char::from(byte));
    } else {
        let _ = write!(text, r"\x{byte:02X}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex_lite::RegexBuilder;

    fn matches(pattern: &str, name: &str) -> bool {
        let pattern = Pattern::read(pattern.as_bytes()).unwrap();
        let start = String::from_utf8(pattern.start).unwrap();
        let Some(rest) = name.strip_prefix(&start) else {
            return false;
        };
        match pattern.rest {
            Some(expression) => RegexBuilder::new(&expression)
                .dot_matches_new_line(true)
                .build()
                .unwrap()
                .is_match(rest),
            None => matches!(rest, "" | "\n"),
        }
    }

    #[test]
    fn patterns_match_as_those_of_pcre() {
        for (pattern, right, wrong) in [
            ("/a", &["/a", "/a\n"][..], &["/ab", "/a\n\n", "x/a"][..]),
            (r"/a\.b\+", &["/a.b+"], &["/axb+", "/a.bb"]),
            ("/usr(/.*)?", &["/usr", "/usr/", "/usr/a\nb"], &["/usrx"]),
            ("/ab?", &["/a", "/ab"], &["/", "/abb"]),
            ("/a{2,3}", &["/aa", "/aaa"], &["/a", "/aaaa"]),
            ("/a{2}?", &["/aa"], &["/a"]),
            ("/%{USERID}", &["/%{USERID}"], &["/%USERID"]),
            ("/a{,2}", &["/a{,2}"], &["/aa"]),
            ("/a|/b", &["/a", "/ax", "x/b"], &["/", "b"]),
            ("/(a|b)", &["/a", "/b"], &["/ax", "x/b"]),
            ("/x^/a", &[], &["/x/a", "/x^/a"]),
            ("^/a$", &["/a"], &["/", "/b"]),
            ("/[^/]+", &["/a", "/é", "/a\n"], &["/", "/a/b"]),
            ("/[]a-c-]", &["/]", "/b", "/-"], &["/d", "/["]),
            ("/[[a&&b~~]", &["/[", "/a", "/&", "/b", "/~"], &["/c"]),
            ("/[[:digit:]x]", &["/1", "/x"], &["/:", "/["]),
            ("/[[:^digit:]]", &["/x"], &["/1"]),
            (r"/[\d\-\b]", &["/1", "/-", "/\x08"], &["/d"]),
            (r"/\d\D\s\S\w\W", &["/1a b_-"], &["/aaaaaa"]),
            (r"/a\<b\_", &["/a<b_"], &["/ab"]),
            (r"/\ba\b", &["/a"], &["/ab"]),
            ("/(?:a+?)b", &["/ab", "/aab"], &["/b"]),
            ("/c++x", &[], &[]),
        ] {
            if pattern == "/c++x" {
                assert_eq!(Pattern::read(pattern.as_bytes()), Err(PatternError::Possessive));
                continue;
            }
            for name in right {
                assert!(matches(pattern, name), "{pattern} matches {name:?}");
            }
            for name in wrong {
                assert!(!matches(pattern, name), "{pattern} does not match {name:?}");
            }
        }
    }

    #[test]
    fn what_is_not_taken_is_named() {
        for (pattern, told) in [
            (r"/a\", "it ends with a backslash"),
            (r"/(a)\1", r"\1 is not supported"),
            (r"/\Qa", r"\Q is not supported"),
            ("/(?!a)", "groups that begin with (? are not supported"),
            ("/(*COMMIT)", "groups that begin with (* are not supported"),
            ("*", "there is nothing to repeat before *"),
            ("/a(+b)", "there is nothing to repeat before +"),
            ("/a**", "there is nothing to repeat before *"),
            ("/(a", "( is never closed"),
            ("/a[]", "[ is never closed"),
            ("/a)", "a ) closes nothing"),
            ("/[b-a]", "a range of a class has no two ends"),
            (r"/[a-\d]", "a range of a class has no two ends"),
            ("/[[:none:]]", "[:none:] is no class"),
        ] {
            let error = Pattern::read(pattern.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), told, "{pattern}");
        }
        let deep = "(".repeat(DEPTH_MAX + 1);
        assert_eq!(Pattern::read(deep.as_bytes()), Err(PatternError::TooDeep));
    }

    #[test]
    fn starts_are_as_long_as_they_are_certain() {
        for (pattern, start) in [
            ("/usr/bin", "/usr/bin"),
            (r"/usr/lib\.so", "/usr/lib.so"),
            ("/usr/bins?", "/usr/bin"),
            ("/usr/(a|b)", "/usr/"),
            ("/usr/a|b", ""),
            ("/usr{1}/a", "/us"),
        ] {
            let found = Pattern::read(pattern.as_bytes()).unwrap().start;
            assert_eq!(String::from_utf8(found).unwrap(), start, "{pattern}");
        }
    }

    #[test]
    fn stems_and_single_names_are_libselinuxs() {
        for (pattern, open, stem_len) in [
            ("/usr/bin/.*", true, Some(4)),
            ("/usr(/.*)?", true, None),
            ("/usr", false, None),
            (r"/a\.b/c", false, None),
            (r"/a\-b/c", false, Some(5)),
            ("/", false, None),
        ] {
            let text = pattern.as_bytes();
            assert_eq!((is_open(text), stem(text)), (open, stem_len), "{pattern}");
        }
    }
}
