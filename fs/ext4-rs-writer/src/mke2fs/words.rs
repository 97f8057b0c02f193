//! Words of a command line, as a shell splits them, but for everything that a shell expands.

use super::Error;

/// Splits text at white space outside quotes.
///
/// A backslash keeps the next character as it is, except in single quotes; in double quotes only before `"` and `\`.
pub(super) fn split(text: &str) -> Result<Vec<String>, Error> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if c == open => quote = None,
            (None, '\\') => word.get_or_insert_default().extend(chars.next()),
            (Some('"'), '\\') if matches!(chars.peek(), Some('"' | '\\')) => {
                word.get_or_insert_default().extend(chars.next());
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(Error::OpenQuote);
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does() {
        let cases: [(&str, &[&str]); 7] = [
            ("", &[]),
            ("  -i 4096\t-J\nsize=64 ", &["-i", "4096", "-J", "size=64"]),
            ("-L 'a b' ''", &["-L", "a b", ""]),
            (r#"-L"a \"b\" \c""#, &[r#"-La "b" \c"#]),
            (r"a\ b 'c\d'", &["a b", r"c\d"]),
            ("x'y'\"z\"", &["xyz"]),
            ("'\"'", &["\""]),
        ];
        for (text, words) in cases {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
        assert_eq!(split("-L 'a"), Err(Error::OpenQuote));
    }
}
