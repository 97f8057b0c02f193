//! Paragraphs of fields: the form of `Release`, `Packages`, `control` and dpkg's `status`.
//!
//! Spec: deb822(5).
//!
//! A paragraph is a slice of the text, and is only taken apart when asked: an index has tens of thousands of them, of
//! which a bootstrap reads a hundred.

/// One paragraph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paragraph<'a> {
    text: &'a str,
}

impl<'a> Paragraph<'a> {
    /// The first paragraph of a text.
    pub fn first(text: &'a str) -> Option<Self> {
        paragraphs(text).next()
    }

    /// Its text, as it stands.
    pub fn text(self) -> &'a str {
        self.text
    }

    /// Its fields in order: a name, and the value with its continuation lines, each with the blank that it begins with.
    pub fn fields(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut rest = self.text;
        std::iter::from_fn(move || {
            loop {
                if rest.is_empty() {
                    return None;
                }
                let mut end = rest.find('\n').map_or(rest.len(), |at| at + 1);
                while rest[end..].starts_with([' ', '\t']) {
                    end += rest[end..].find('\n').map_or(rest.len() - end, |at| at + 1);
                }
                let (field, after) = rest.split_at(end);
                rest = after;
                // A line that is no field, a comment say, is passed over.
                if let Some((name, value)) = field.split_once(':')
                    && !name.is_empty()
                    && !name.contains(|c: char| c.is_whitespace() || c == '#')
                {
                    return Some((name, value.trim()));
                }
            }
        })
    }

    /// The value of a field.
    pub fn get(self, name: &str) -> Option<&'a str> {
        let mut fields = self.fields();
        fields
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// The paragraphs of a text.
pub fn paragraphs(text: &str) -> impl Iterator<Item = Paragraph<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(['\n', '\r']);
        if rest.is_empty() {
            return None;
        }
        let end = rest.find("\n\n").map_or(rest.len(), |at| at + 1);
        let (text, after) = rest.split_at(end);
        rest = after;
        Some(Paragraph { text })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_come_apart_into_fields() {
        let text = "\nPackage: a\n# said by nobody\nDescription: short\n long\n .\n\tmore\nno field\nEmpty:\n\n\n\nPackage: b";
        let all: Vec<_> = paragraphs(text).collect();
        assert_eq!(all.len(), 2);
        let fields: Vec<_> = all[0].fields().collect();
        assert_eq!(
            fields,
            [
                ("Package", "a"),
                ("Description", "short\n long\n .\n\tmore"),
                ("Empty", "")
            ]
        );
        assert_eq!((all[1].get("package"), all[1].get("x")), (Some("b"), None));
        assert!(Paragraph::first("\n\n").is_none());
    }
}
