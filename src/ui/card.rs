//! The card of a failed hook: all that is needed to go on from there.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

/// What is known about a hook that failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// The phase: `install.d`.
    pub phase: String,
    /// The hook, or the file of `environment.d` that failed: `environment.d/10-x`.
    pub hook: String,
    /// The element that brought it; `environment.d`, `install-packages` and hooks that another hook wrote have none.
    pub element: Option<String>,
    /// Where that element keeps it.
    pub path: Option<String>,
    /// Its status, as a shell tells it.
    pub status: u8,
    /// The same in words.
    pub ending: String,
    /// How long it ran.
    pub seconds: f64,
    /// The last lines that it wrote.
    pub output: Vec<String>,
    /// The command that opens a shell where it failed.
    pub shell: String,
}

impl Card {
    /// Bytes of a line of output that are shown: a line can be as long as a file.
    const SHOWN: usize = 400;
}

/// A fact a line, then the output.
impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hook.contains('/') {
            writeln!(f, "    file     {}, sourced for {}", self.hook, self.phase)?;
        } else {
            writeln!(f, "    hook     {}/{}", self.phase, self.hook)?;
        }
        if let Some(element) = &self.element {
            writeln!(f, "    element  {element}")?;
        }
        if let Some(path) = &self.path {
            writeln!(f, "    path     {path}")?;
        }
        let how = if self.ending == format!("ended with status {}", self.status) {
            String::new()
        } else {
            format!(": it {}", self.ending)
        };
        writeln!(
            f,
            "    status   {}{how}, after {:.3} s",
            self.status, self.seconds
        )?;
        match self.output.len() {
            0 => writeln!(f, "    output   none")?,
            1 => writeln!(f, "    output   its last line")?,
            lines => writeln!(f, "    output   its last {lines} lines")?,
        }
        for line in &self.output {
            writeln!(f, "      | {}", shown(line))?;
        }
        write!(f, "    a shell where it failed:\n      {}", self.shell)
    }
}

/// A line of a hook's output as it may stand among ours: what a carriage return overwrote is left out, and nothing in
/// it moves the cursor.
fn shown(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    let line = line.rsplit('\r').next().unwrap_or_default();
    let mut shown = String::new();
    for character in line.chars() {
        if shown.len() >= Card::SHOWN {
            shown.push_str("...");
            break;
        }
        match character {
            '\t' => shown.push_str("    "),
            control if control.is_control() => shown.extend(control.escape_default()),
            other => shown.push(other),
        }
    }
    shown
}

/// The command that opens a shell at the point of failure: the same command again, with a break point.
pub fn shell_command(words: &[OsString]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("break=after-error {}", words.join(" "))
}

/// A word as a shell reads it.
fn quoted(word: &OsStr) -> String {
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./=:,@%+".contains(byte);
    let Some(text) = word.to_str().filter(|text| !text.chars().any(char::is_control)) else {
        let escaped = |byte: &u8| match byte {
            byte if safe(byte) => char::from(*byte).to_string(),
            byte => format!("\\x{byte:02x}"),
        };
        return format!("$'{}'", word.as_bytes().iter().map(escaped).collect::<String>());
    };
    if !text.is_empty() && text.bytes().all(|byte| safe(&byte)) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    #[test]
    fn the_command_is_the_callers_words() {
        let words = [
            &b"./dib"[..],
            b"build",
            b"-o",
            b"it's",
            b"a b",
            b"",
            b"K=V,w",
            b"\xff\n",
        ];
        let words = words.map(|word| OsString::from_vec(word.to_vec()));
        assert_eq!(
            shell_command(&words),
            r"break=after-error ./dib build -o 'it'\''s' 'a b' '' K=V,w $'\xff\x0a'"
        );
    }

    #[test]
    fn output_cannot_move_the_cursor() {
        assert_eq!(shown("10 %\r20 %\r100 %\r"), "100 %");
        assert_eq!(shown("a\tb\u{1b}[2Jc\u{7}"), r"a    b\u{1b}[2Jc\u{7}");
        assert_eq!(shown(&"x".repeat(1000)).len(), 403);
    }
}
