//! Words as a shell reads them.

/// A word that a shell reads as this text: in quotes unless nothing in it could mean anything to a shell.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    always_quoted(text)
}

/// The same, in quotes in any case.
pub(super) fn always_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_text_back() {
        let words = [
            "",
            "a/b-c_d.e:f,g=h@i%+",
            "a b",
            "it's",
            "$x `y` \"z\"",
            "é",
            "*\n",
        ];
        assert_eq!(
            words.map(quoted),
            [
                "''",
                "a/b-c_d.e:f,g=h@i%+",
                "'a b'",
                "'it'\"'\"'s'",
                "'$x `y` \"z\"'",
                "'é'",
                "'*\n'"
            ]
        );
        assert_eq!(always_quoted("a"), "'a'");
    }
}
