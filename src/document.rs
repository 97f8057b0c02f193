//! A YAML or JSON document as a value that knows its lines.
//!
//! Not a derived struct: a reader of the schema wants every fault of a file at once, each with key and line, and a
//! suggestion for a key that is misspelt. Types are those that the text shows: `5` is a number, `"5"` a text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A value and the line where it begins, from 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) line: u64,
}

/// What a document can hold.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Nothing,
    Truth(bool),
    Whole(i128),
    Fraction(f64),
    Text(String),
    List(Vec<Placed<Value>>),
    Map(Vec<(Placed<String>, Placed<Value>)>),
}

impl Value {
    /// What sort of value it is, for messages.
    pub(crate) fn sort(&self) -> &'static str {
        match self {
            Value::Nothing => "nothing",
            Value::Truth(_) => "true or false",
            Value::Whole(_) | Value::Fraction(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// Why a text is no document: the line, if it is known, and what is wrong.
pub(crate) type Unreadable = (Option<u64>, String);

/// Reads the one document of a text, which `holds` something. A text without one is nothing.
pub(crate) fn parse(text: &str, holds: &str) -> Result<Placed<Value>, Unreadable> {
    let documents: Vec<Spanned<Value>> = serde_saphyr::from_multiple(text).map_err(|error| {
        let error = error.without_snippet();
        let line = error.location().map(|location| location.line());
        (line.filter(|line| *line > 0), error.to_string())
    })?;
    let mut documents = documents.into_iter().map(Placed::from);
    let nothing = Placed {
        value: Value::Nothing,
        line: 1,
    };
    let first = documents.next().unwrap_or(nothing);
    match documents.next() {
        None => Ok(first),
        Some(second) => Err((
            Some(second.line),
            format!("a second document; a file holds one {holds}"),
        )),
    }
}

impl<T> From<Spanned<T>> for Placed<T> {
    fn from(spanned: Spanned<T>) -> Self {
        Self {
            line: spanned.referenced.line(),
            value: spanned.value,
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Whatever)
    }
}

/// Takes what comes.
struct Whatever;

impl<'de> Visitor<'de> for Whatever {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Truth(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Whole(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Whole(number.into()))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
        Ok(Value::Whole(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Fraction(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<Spanned<Value>>()? {
            items.push(item.into());
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, Spanned<Value>>()? {
            entries.push((key.into(), value.into()));
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_their_lines_and_sorts() {
        let document = parse(
            "# images\n- a: 1\n  b: [x,\n    yes, \"5\", 1.5]\n-\n  c:\n",
            "list of images",
        )
        .unwrap();
        let Value::List(entries) = document.value else {
            panic!("a list")
        };
        let Value::Map(first) = &entries[0].value else {
            panic!("a map")
        };
        let keys: Vec<_> = first
            .iter()
            .map(|(key, value)| (key.value.as_str(), key.line, value.line))
            .collect();
        assert_eq!(keys, [("a", 2, 2), ("b", 3, 3)]);
        let Value::List(items) = &first[1].1.value else {
            panic!("a list")
        };
        let items: Vec<_> = items.iter().map(|item| (item.value.clone(), item.line)).collect();
        // `yes` is a truth, as it is to the reader of the original program.
        let text = |text: &str| Value::Text(text.into());
        assert_eq!(
            items,
            [
                (text("x"), 3),
                (Value::Truth(true), 4),
                (text("5"), 4),
                (Value::Fraction(1.5), 4)
            ]
        );
        assert_eq!(entries[1].line, 6);
        assert_eq!(
            parse("{\"a\":\t[true, null]}", "list of images")
                .unwrap()
                .value
                .sort(),
            "a map"
        );
    }

    #[test]
    fn a_text_is_one_document_or_none() {
        assert_eq!(parse("", "list of images").unwrap().value, Value::Nothing);
        assert_eq!(
            parse("# nothing\n", "list of images").unwrap().value,
            Value::Nothing
        );
        let (line, told) = parse("- a: 1\n---\n- b: 2\n", "list of images").unwrap_err();
        assert_eq!(
            (line, told.as_str()),
            (Some(3), "a second document; a file holds one list of images")
        );
        let (line, told) = parse("- a: 1\n- [\n", "list of images").unwrap_err();
        assert!(line.is_some() && !told.is_empty(), "{line:?} {told}");
        let (line, told) = parse("- a: 1\n  a: 2\n", "list of images").unwrap_err();
        assert_eq!(line, Some(2), "{told}");
    }
}
