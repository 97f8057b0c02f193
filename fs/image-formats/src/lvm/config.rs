//! The form in which LVM describes things: names with values, and sections of them.
//!
//! Spec: lvm.conf(5), "SYNTAX".
//!
//! The text is hostile: no section stands deeper than [`DEPTH_MAX`], and there are no more values than its bytes, which the
//! reader bounds.

use super::ReadError;

/// How deep sections and lists may stand in each other: those of a volume group reach five.
const DEPTH_MAX: usize = 8;
/// What ends a word, besides blanks.
const MARKS: &[u8] = b"{}[]=,#\"";

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A whole number.
    Number(u64),
    /// What stands in quotes, or a word that is no whole number.
    Text(String),
    /// Values in brackets.
    List(Vec<Value>),
    /// Names in braces.
    Section(Section),
}

/// Names with what they stand for, in order. Of one name that stands twice the first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Section(Vec<(String, Value)>);

impl Section {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    /// The number of a name.
    pub(super) fn number(&self, name: &'static str) -> Result<u64, ReadError> {
        match self.get(name) {
            Some(Value::Number(number)) => Ok(*number),
            _ => Err(ReadError::Lacks(name)),
        }
    }

    /// The text of a name.
    pub(super) fn text(&self, name: &'static str) -> Result<&str, ReadError> {
        match self.get(name) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(ReadError::Lacks(name)),
        }
    }

    /// The values of a name.
    pub(super) fn list(&self, name: &str) -> Option<&[Value]> {
        match self.get(name) {
            Some(Value::List(values)) => Some(values),
            _ => None,
        }
    }

    /// The section of a name.
    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections()
            .find(|(known, _)| *known == name)
            .map(|(_, section)| section)
    }

    /// All sections in it.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&str, &Section)> {
        self.0.iter().filter_map(|(name, value)| match value {
            Value::Section(section) => Some((name.as_str(), section)),
            _ => None,
        })
    }
}

/// Reads a text, up to the zero that ends it.
pub(super) fn parse(text: &[u8]) -> Result<Section, ReadError> {
    let mut parser = Parser { text, at: 0 };
    parser.section(0)
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Mark(u8),
    End,
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn wrong<T>(&self) -> Result<T, ReadError> {
        Err(ReadError::Syntax(self.at))
    }

    /// What stands up to the brace that closes a section, or to the end of the text.
    fn section(&mut self, depth: usize) -> Result<Section, ReadError> {
        let below = deeper(depth)?;
        let mut entries = Vec::new();
        loop {
            let name = match self.token()? {
                Token::Mark(b'}') if depth > 0 => break,
                Token::End if depth == 0 => break,
                Token::Word(name) | Token::Quoted(name) => name,
                _ => return self.wrong(),
            };
            let value = match self.token()? {
                Token::Mark(b'{') => Value::Section(self.section(below)?),
                Token::Mark(b'=') => {
                    let first = self.token()?;
                    self.value(first, below)?
                }
                _ => return self.wrong(),
            };
            entries.push((name, value));
        }
        Ok(Section(entries))
    }

    fn value(&mut self, first: Token, depth: usize) -> Result<Value, ReadError> {
        let below = deeper(depth)?;
        match first {
            Token::Quoted(text) => Ok(Value::Text(text)),
            Token::Word(word) => Ok(word.parse().map_or(Value::Text(word), Value::Number)),
            Token::Mark(b'[') => {
                let mut values = Vec::new();
                loop {
                    match self.token()? {
                        Token::Mark(b']') => return Ok(Value::List(values)),
                        Token::Mark(b',') => {}
                        first => values.push(self.value(first, below)?),
                    }
                }
            }
            Token::Mark(_) | Token::End => self.wrong(),
        }
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at = self.at.saturating_add(1);
        Some(byte)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied().filter(|byte| *byte != 0)
    }

    fn token(&mut self) -> Result<Token, ReadError> {
        loop {
            let start = self.at;
            let Some(byte) = self.next() else {
                return Ok(Token::End);
            };
            match byte {
                b'#' => while self.next().is_some_and(|byte| byte != b'\n') {},
                b'"' => return self.quoted(),
                mark if MARKS.contains(&mark) => return Ok(Token::Mark(mark)),
                blank if blank.is_ascii_whitespace() => {}
                graphic if graphic.is_ascii_graphic() => {
                    let goes_on = |byte: u8| byte.is_ascii_graphic() && !MARKS.contains(&byte);
                    while self.peek().is_some_and(goes_on) {
                        self.at = self.at.saturating_add(1);
                    }
                    let word = self.text.get(start..self.at).unwrap_or_default();
                    return Ok(Token::Word(String::from_utf8_lossy(word).into_owned()));
                }
                _ => return self.wrong(),
            }
        }
    }

    /// What stands up to the next quote; a backslash takes the meaning of what follows.
    fn quoted(&mut self) -> Result<Token, ReadError> {
        let mut text = Vec::new();
        loop {
            match self.next() {
                Some(b'"') => return Ok(Token::Quoted(String::from_utf8_lossy(&text).into_owned())),
                Some(b'\\') => text.extend(self.next()),
                Some(byte) => text.push(byte),
                None => return self.wrong(),
            }
        }
    }
}

fn deeper(depth: usize) -> Result<usize, ReadError> {
    if depth >= DEPTH_MAX {
        return Err(ReadError::Deep(DEPTH_MAX));
    }
    Ok(depth.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_numbers_texts_lists_and_sections() {
        let text = b"# who\nvg { seqno = 3 # three\nid=\"a\\\"b\" flags = [] list = [\"pv0\", 7]\nempty {\n}\n}\nversion = 1\n\0 {";
        let top = parse(text).unwrap();
        assert_eq!(top.number("version").unwrap(), 1);
        let group = top.section("vg").unwrap();
        assert_eq!(group.number("seqno").unwrap(), 3);
        assert_eq!(group.text("id").unwrap(), "a\"b");
        assert_eq!(group.list("flags").unwrap(), []);
        let values = [Value::Text("pv0".to_owned()), Value::Number(7)];
        assert_eq!(group.list("list").unwrap(), values);
        assert_eq!(group.sections().count(), 1);
        assert!(matches!(group.number("id"), Err(ReadError::Lacks("id"))));
    }

    #[test]
    fn what_makes_no_sense_is_refused_where_it_stands() {
        for (text, at) in [
            (&b"a = }"[..], 5),
            (b"a {", 3),
            (b"a", 1),
            (b"}", 1),
            (b"a = \"x", 6),
            (b"a = [1", 6),
            (b"\x01", 1),
        ] {
            match parse(text) {
                Err(ReadError::Syntax(found)) => assert_eq!(found, at, "{}", text.escape_ascii()),
                other => panic!("{}: {other:?}", text.escape_ascii()),
            }
        }
        for text in [b"a {".repeat(100), [b"a = ", &b"[".repeat(1 << 16)[..]].concat()] {
            assert!(matches!(parse(&text), Err(ReadError::Deep(_))));
        }
    }
}
