//! A shell script line by line: where a line begins a command, and what of it is code.
//!
//! No parser of a shell: quotes, comments, substitutions and here-documents are told apart, which is what the checks need.
//! What it misjudges can be left out by a comment in the file.

/// A line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Its number, from 1.
    pub(super) number: usize,
    /// As it is.
    pub(super) text: &'a str,
    /// Whether it begins in the open: not within a text, a here-document or a command that goes on.
    pub(super) fresh: bool,
    /// Whether it lies in a here-document.
    pub(super) document: bool,
    /// Its code: no comments, of texts only the commands in them.
    pub(super) code: String,
}

/// What the reader is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    /// Commands, and so many parentheses in them.
    Commands(usize),
    /// Commands between backquotes.
    Backquotes,
    /// A text in double quotes.
    Double,
    /// A text in single quotes.
    Single,
}

/// The end of a here-document, and whether tabs may stand before it.
struct End {
    word: String,
    tabs: bool,
}

/// The lines of a script.
pub(super) fn lines(text: &str) -> Vec<Line<'_>> {
    let mut within = vec![Within::Commands(0)];
    let mut documents: Vec<End> = Vec::new();
    let mut goes_on = false;
    let mut lines = Vec::new();
    for (index, text) in text.lines().enumerate() {
        let mut line = Line {
            number: index + 1,
            text,
            fresh: within.len() == 1 && !goes_on,
            document: false,
            code: String::new(),
        };
        if let Some(end) = documents.first() {
            let body = if end.tabs {
                text.trim_start_matches('\t')
            } else {
                text
            };
            if body == end.word {
                documents.remove(0);
            }
            line.document = true;
            line.fresh = false;
        } else {
            goes_on = read(text, &mut within, &mut documents, &mut line.code);
        }
        lines.push(line);
    }
    lines
}

/// Reads a line; whether the command goes on behind its end.
fn read(text: &str, within: &mut Vec<Within>, documents: &mut Vec<End>, code: &mut String) -> bool {
    let mut rest = text.char_indices();
    while let Some((at, letter)) = rest.next() {
        let next = text[at + letter.len_utf8()..].chars().next();
        let inside = within.last().copied().unwrap_or(Within::Commands(0));
        match (inside, letter) {
            (Within::Single, '\'') | (Within::Double, '"') | (Within::Backquotes, '`') => {
                within.pop();
                code.push(letter);
            }
            (Within::Single, _) => {}
            (_, '\\') => {
                if rest.next().is_none() {
                    return true;
                }
            }
            (Within::Commands(_) | Within::Double, '`') => {
                within.push(Within::Backquotes);
                code.push('`');
            }
            (_, '$') if next == Some('(') => {
                rest.next();
                within.push(Within::Commands(0));
                code.push_str("$(");
            }
            (Within::Double, _) => {}
            (_, '\'' | '"') => {
                within.push(if letter == '"' {
                    Within::Double
                } else {
                    Within::Single
                });
                code.push(letter);
            }
            (_, '#') if comment_begins(&text[..at]) => break,
            (_, '<') if next == Some('<') => {
                let after = &text[at + 2..];
                rest.next();
                if after.starts_with('<') {
                    rest.next();
                } else {
                    documents.extend(here_document(after));
                }
                code.push_str("<<");
            }
            (Within::Commands(depth), '(') => {
                replace(within, Within::Commands(depth + 1));
                code.push('(');
            }
            (Within::Commands(0), ')') if within.len() > 1 => {
                within.pop();
                code.push(')');
            }
            (Within::Commands(depth), ')') => {
                replace(within, Within::Commands(depth.saturating_sub(1)));
                code.push(')');
            }
            (_, other) => code.push(other),
        }
    }
    let code = code.trim_end();
    code.ends_with('|') || code.ends_with("&&")
}

fn replace(within: &mut [Within], with: Within) {
    if let Some(last) = within.last_mut() {
        *last = with;
    }
}

/// Whether a `#` behind this begins a comment.
fn comment_begins(before: &str) -> bool {
    before.is_empty() || before.ends_with(|c: char| c.is_whitespace() || ";|&(".contains(c))
}

/// The end of a here-document whose `<<` stands before this.
fn here_document(after: &str) -> Option<End> {
    let (tabs, after) = match after.strip_prefix('-') {
        Some(after) => (true, after),
        None => (false, after),
    };
    let after = after.trim_start();
    let quote = after.chars().next()?;
    let word: &str = match quote {
        '\'' | '"' => after[1..].split(quote).next()?,
        _ => after
            .trim_start_matches('\\')
            .split(|c: char| !c.is_alphanumeric() && !"_-.".contains(c))
            .next()?,
    };
    let quoted = matches!(quote, '\'' | '"');
    // A shift of bits has a number there.
    let named = word.starts_with(|c: char| c.is_alphabetic() || c == '_') || quoted;
    named.then(|| End {
        word: word.to_owned(),
        tabs,
    })
}

/// Commands, each as one text of its lines, with the number of the first: as they are, and their code.
pub(super) fn commands(lines: &[Line<'_>]) -> Vec<(usize, String, String)> {
    let mut commands: Vec<(usize, String, String)> = Vec::new();
    for line in lines.iter().filter(|line| !line.document) {
        match commands.last_mut() {
            Some((_, text, code)) if !line.fresh => {
                text.push(' ');
                text.push_str(line.text);
                code.push(' ');
                code.push_str(&line.code);
            }
            _ => commands.push((line.number, line.text.to_owned(), line.code.clone())),
        }
    }
    commands
}

/// The words of code that stand where a command does, each with all that follows it.
pub(super) fn command_words(code: &str) -> Vec<Vec<&str>> {
    const STARTS: [&str; 12] = [
        "if", "then", "else", "elif", "while", "until", "do", "!", "{", "time", "exec", "sudo",
    ];
    let mut words: Vec<Vec<&str>> = Vec::new();
    for simple in code.split([';', '|', '&', '(', ')', '`', '\n']) {
        let mut rest: Vec<&str> = simple.split_whitespace().collect();
        let assigns = |word: &str| {
            let name = word.split('=').next().unwrap_or_default();
            word.contains('=') && !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')
        };
        while let Some(first) = rest.first() {
            if STARTS.contains(first) {
                words.push(rest.clone());
            } else if !assigns(first) {
                break;
            }
            rest.remove(0);
        }
        if !rest.is_empty() {
            words.push(rest);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_comments_and_documents_are_told_apart() {
        let script = "\
a 'x # y' # z
b \"x $(c \"d\" 'e') `f`\" g
h 'two
lines' i \\
  j
cat <<E <<-'F' # k
 $(not code)
E
\tdata
\tF
l ${#m} $((1 << 2)) <<<n
case o in p) q;; esac
";
        let found: Vec<(usize, bool, bool, String)> = lines(script)
            .into_iter()
            .map(|line| (line.number, line.fresh, line.document, line.code))
            .collect();
        let expected = [
            (1, true, false, "a '' "),
            (2, true, false, "b \"$(c \"\" '')`f`\" g"),
            (3, true, false, "h '"),
            (4, false, false, "' i "),
            (5, false, false, "  j"),
            (6, true, false, "cat <<E <<-'F' "),
            (7, false, true, ""),
            (8, false, true, ""),
            (9, false, true, ""),
            (10, false, true, ""),
            (11, true, false, "l ${#m} $((1 << 2)) <<n"),
            (12, true, false, "case o in p) q;; esac"),
        ];
        for (found, expected) in found.iter().zip(expected) {
            let (number, fresh, document, code) = expected;
            // What stands between quotes behind << is no code, but where it was does not matter.
            let plain = |code: &str| code.replace("'F'", "''");
            assert_eq!(
                (found.0, found.1, found.2),
                (number, fresh, document),
                "{found:?}"
            );
            assert_eq!(plain(&found.3), plain(code));
        }
        assert_eq!(found.len(), 12);
        let commands = commands(&lines(script));
        assert_eq!(
            (commands[2].0, commands[2].1.as_str()),
            (3, "h 'two lines' i \\   j")
        );
    }

    #[test]
    fn commands_stand_where_a_shell_looks_for_them() {
        let firsts = |code: &str| {
            let words = command_words(code);
            let firsts = words.iter().map(|words| words[0]).collect::<Vec<_>>();
            firsts.join(" ")
        };
        assert_eq!(firsts("if a b; then c | d; fi"), "if a then c d fi");
        assert_eq!(firsts("X=1 Y= a=b e $(f g)"), "e f");
        assert_eq!(firsts("sudo a b"), "sudo a");
        assert_eq!(firsts("x=$(y)"), "y");
    }
}
