//! `source-repository-*` files: what an element wants fetched into the image, one line each.
//!
//! A line is `NAME TYPE DESTINATION LOCATION [REF]`, blanks between. Empty lines and those that begin with `#` say
//! nothing. A line is expanded as a shell would, then cut at blanks: quotes protect a `$`, never a blank.
//!
//! The caller may override each part: `DIB_REPOTYPE_N`, `DIB_REPOLOCATION_N`, `DIB_REPOREF_N`, with the name as N, every
//! character but letters, digits and `_` in it a `_`; and `DIB_GITREPOBASE`, which replaces scheme and host of git
//! locations, but not of one that `DIB_REPOLOCATION_N` gave, the more specific word.
//!
//! Why no shell expands the lines: a plan is printed without running anything, and a line is data. Commands in it are
//! refused by name; `*` stays what it is, since as a REF it means "all heads and tags", not files of some directory.

use std::fmt;
use std::str::FromStr;

use sha1::{Digest as _, Sha1};

use crate::fetch::hex;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Its name, by which variables override it.
    pub name: String,
    /// How it is fetched.
    pub kind: Kind,
    /// The path in the image where it goes.
    pub destination: String,
    /// Where it comes from.
    pub location: String,
    /// Which revision of a git repository, or which part of an archive.
    pub reference: Option<String>,
}

/// How a repository is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A revision of a git repository.
    Git,
    /// A tar archive, unpacked.
    Tar,
    /// One file.
    File,
    /// Not at all: a package of the distribution stands for it.
    Package,
}

/// Gives the value of a variable; `None` if it is not set.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It has too few words, or too many.
    #[error("expected NAME TYPE DESTINATION LOCATION [REF], found {found} words")]
    Words {
        /// How many it has.
        found: usize,
    },
    /// Nothing is fetched in such a way.
    #[error("unknown type '{word}'; types are git, tar, file and package")]
    Kind {
        /// The word.
        word: String,
    },
    /// It names a variable that is not set.
    #[error("variable {name} is not set")]
    Unset {
        /// The variable.
        name: String,
    },
    /// A quote or brace is never closed.
    #[error("an unclosed {0}")]
    Unclosed(char),
    /// It asks for a command or a calculation.
    #[error("commands and calculations are not expanded")]
    Command,
    /// It asks for an expansion of another sort.
    #[error("${{{0}}} is not expanded; $NAME, ${{NAME}}, ${{NAME:-WORD}} and ${{NAME:+WORD}} are")]
    Expansion(String),
}

/// The lines of a file that say something, with their numbers, from 1.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate();
    numbered
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// A line with its variables replaced and its quotes removed.
pub fn expand(line: &str, variable: Lookup<'_>) -> Result<String, Fault> {
    let mut rest = line;
    expand_until(&mut rest, None, 0, variable)
}

/// How deep words stand in the defaults of other words. No author comes near it; a drawn line must not exhaust the stack.
const DEPTH_MAX: usize = 16;

/// Expands up to `end`, or to the end of the line if there is none.
fn expand_until(
    rest: &mut &str,
    end: Option<char>,
    depth: usize,
    variable: Lookup<'_>,
) -> Result<String, Fault> {
    let mut out = String::new();
    let mut quoted = false;
    let mut word_begins = true;
    while let Some(letter) = take(rest) {
        let begins = std::mem::replace(&mut word_begins, letter.is_whitespace() && !quoted);
        match letter {
            _ if Some(letter) == end && !quoted => return Ok(out),
            '#' if begins && !quoted && end.is_none() => return Ok(out),
            '"' => quoted = !quoted,
            '\'' if !quoted => {
                let (text, after) = rest.split_once('\'').ok_or(Fault::Unclosed('\''))?;
                out.push_str(text);
                *rest = after;
            }
            '\\' => match take(rest) {
                Some(escaped) if !quoted || matches!(escaped, '"' | '\\' | '$' | '`') => out.push(escaped),
                other => out.extend([Some('\\'), other].into_iter().flatten()),
            },
            '`' => return Err(Fault::Command),
            '$' => expand_dollar(rest, &mut out, depth, variable)?,
            other => out.push(other),
        }
    }
    match end {
        _ if quoted => Err(Fault::Unclosed('"')),
        Some(_) => Err(Fault::Unclosed('{')),
        None => Ok(out),
    }
}

/// Expands what follows a `$`.
fn expand_dollar(rest: &mut &str, out: &mut String, depth: usize, variable: Lookup<'_>) -> Result<(), Fault> {
    if rest.starts_with(['(', '[']) {
        return Err(Fault::Command);
    }
    let braced = rest.strip_prefix('{');
    let from = braced.unwrap_or(rest);
    let name_len = from
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(from.len());
    let (name, after) = from.split_at(name_len);
    if braced.is_none() {
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            out.push('$');
            return Ok(());
        }
        *rest = after;
        out.push_str(&value(name, variable)?);
        return Ok(());
    }
    let other = || Fault::Expansion(from.split('}').next().unwrap_or_default().to_owned());
    if name.is_empty() || depth == DEPTH_MAX {
        return Err(other());
    }
    let (colon, after) = after
        .strip_prefix(':')
        .map_or((false, after), |after| (true, after));
    let set = variable(name).filter(|value| !colon || !value.is_empty());
    let mut word = after.get(1..).unwrap_or_default();
    let operator = after.chars().next();
    match operator {
        None => return Err(Fault::Unclosed('{')),
        Some('}') if !colon => {
            *rest = word;
            out.push_str(&value(name, variable)?);
            return Ok(());
        }
        Some('-' | '+') => {}
        Some(_) => return Err(other()),
    }
    // Only the word that is wanted must hold no unset variable; the other one must end somewhere, too.
    let wanted = (operator == Some('-')) == set.is_none();
    let expanded = if wanted {
        expand_until(&mut word, Some('}'), depth + 1, variable)?
    } else {
        expand_until(&mut word, Some('}'), depth + 1, &|_| Some(String::new()))?
    };
    *rest = word;
    match set {
        Some(value) if operator == Some('-') => out.push_str(&value),
        _ if wanted => out.push_str(&expanded),
        _ => {}
    }
    Ok(())
}

fn take(rest: &mut &str) -> Option<char> {
    let mut letters = rest.chars();
    let letter = letters.next();
    *rest = letters.as_str();
    letter
}

fn value(name: &str, variable: Lookup<'_>) -> Result<String, Fault> {
    variable(name).ok_or_else(|| Fault::Unset { name: name.into() })
}

impl FromStr for Kind {
    type Err = Fault;

    fn from_str(word: &str) -> Result<Self, Fault> {
        match word {
            "git" => Ok(Kind::Git),
            "tar" => Ok(Kind::Tar),
            "file" => Ok(Kind::File),
            "package" => Ok(Kind::Package),
            _ => Err(Fault::Kind { word: word.into() }),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Git => "git",
            Kind::Tar => "tar",
            Kind::File => "file",
            Kind::Package => "package",
        })
    }
}

/// Reads a line that is expanded already.
impl FromStr for Repository {
    type Err = Fault;

    fn from_str(line: &str) -> Result<Self, Fault> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, kind, destination, location, reference) = match words[..] {
            [name, kind, destination, location] => (name, kind, destination, location, None),
            [name, kind, destination, location, reference] => {
                (name, kind, destination, location, Some(reference.to_owned()))
            }
            _ => return Err(Fault::Words { found: words.len() }),
        };
        Ok(Self {
            name: name.to_owned(),
            kind: kind.parse()?,
            destination: destination.to_owned(),
            location: location.to_owned(),
            reference,
        })
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            kind,
            destination,
            location,
            reference,
        } = self;
        write!(f, "{name} {kind} {destination} {location}")?;
        match reference {
            Some(reference) => write!(f, " {reference}"),
            None => Ok(()),
        }
    }
}

impl Repository {
    /// The name of the variable that begins with `prefix` and is about this repository.
    pub fn variable(&self, prefix: &str) -> String {
        let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        prefix.chars().chain(self.name.chars().map(letter)).collect()
    }

    /// The name under which the cache keeps it, below `source-repositories`: that of the original program, whose caches
    /// serve on.
    pub fn cache_name(&self) -> String {
        let what = format!("{}_{}\n", self.kind, self.location);
        let digest = hex(&Sha1::digest(what));
        format!("{}_{digest}", self.variable(""))
    }

    /// The repository as the caller's variables want it, and the names of those that changed it.
    pub fn overridden(mut self, variable: Lookup<'_>) -> Result<(Self, Vec<String>), Fault> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let mut by = Vec::new();
        let name = self.variable("DIB_REPOTYPE_");
        if let Some(kind) = set(&name) {
            self.kind = kind.parse()?;
            by.push(name);
        }
        let name = self.variable("DIB_REPOLOCATION_");
        if let Some(location) = set(&name) {
            self.location = location;
            by.push(name);
        } else if let Some(base) = set("DIB_GITREPOBASE")
            && self.kind == Kind::Git
            && let Some((_, after)) = self.location.split_once("://")
        {
            let path = after.split_once('/').map_or("", |(_, path)| path);
            self.location = format!("{}/{path}", base.trim_end_matches('/'));
            by.push("DIB_GITREPOBASE".into());
        }
        let name = self.variable("DIB_REPOREF_");
        if let Some(reference) = set(&name) {
            self.reference = Some(reference);
            by.push(name);
        }
        Ok((self, by))
    }

    /// Whether it is fetched at all: unless a package stands for it, `DIB_INSTALLTYPE_N`, else `DIB_DEFAULT_INSTALLTYPE`,
    /// must be `source`, and `NO_SOURCE_REPOSITORIES` not be set.
    pub fn is_fetched(&self, variable: Lookup<'_>) -> bool {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let how = set(&self.variable("DIB_INSTALLTYPE_")).or_else(|| set("DIB_DEFAULT_INSTALLTYPE"));
        self.kind != Kind::Package
            && how.is_none_or(|how| how == "source")
            && set("NO_SOURCE_REPOSITORIES").is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Option<String> {
        let known = [("HOST", "example.org"), ("EMPTY", ""), ("TWO", "a b")];
        let value = known.iter().find(|(known, _)| *known == name);
        value.map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn lines_that_say_nothing_are_passed_over() {
        let text = "\n# a comment\r\n  x git /opt/x https://example.org/x\r\n\t\n#x\ny";
        assert_eq!(
            lines(text).collect::<Vec<_>>(),
            [(3, "x git /opt/x https://example.org/x"), (6, "y")]
        );
    }

    #[test]
    fn lines_are_expanded_as_a_shell_would() {
        for (line, expected) in [
            ("a $HOST ${HOST}", "a example.org example.org"),
            ("https://$HOST/x.git", "https://example.org/x.git"),
            (
                "'$HOST' \"$HOST\" \\$HOST \"\\$HOST\"",
                "$HOST example.org $HOST $HOST",
            ),
            ("${NO:-b} ${EMPTY:-b} ${EMPTY-b} ${HOST:-b}", "b b  example.org"),
            ("${NO:-${HOST}/x} ${NO-}", "example.org/x "),
            ("${HOST:+b} ${EMPTY:+b} ${EMPTY+b} ${NO+b}", "b  b "),
            ("${HOST:-$NO}", "example.org"),
            ("${NO:-\"}\"}", "}"),
            ("a * # said later", "a * "),
            ("a#b $ $1 ?x=1&y=2", "a#b $ $1 ?x=1&y=2"),
            ("\"a\\b\" \\", "a\\b \\"),
            ("$TWO", "a b"),
        ] {
            assert_eq!(expand(line, &variables).as_deref(), Ok(expected), "{line}");
        }
        for (line, told) in [
            ("$NO", "variable NO is not set"),
            ("${NO:-$ALSO}", "variable ALSO is not set"),
            ("'x", "an unclosed '"),
            ("\"x", "an unclosed \""),
            ("${HOST", "an unclosed {"),
            ("${NO:-x", "an unclosed {"),
            ("$(id)", "commands and calculations are not expanded"),
            ("`id`", "commands and calculations are not expanded"),
            (
                "${HOST%%.*}",
                "${HOST%%.*} is not expanded; $NAME, ${NAME}, ${NAME:-WORD} and ${NAME:+WORD} are",
            ),
        ] {
            assert_eq!(expand(line, &variables).unwrap_err().to_string(), told, "{line}");
        }
    }

    #[test]
    fn a_line_has_four_words_or_five() {
        let line = "x tar /opt/x https://example.org/x.tgz .";
        let parsed: Repository = line.parse().unwrap();
        assert_eq!(parsed.kind, Kind::Tar);
        assert_eq!(parsed.reference.as_deref(), Some("."));
        assert_eq!(parsed.to_string(), line);
        assert_eq!(
            parsed.cache_name(),
            // printf 'tar_https://example.org/x.tgz\n' | sha1sum
            "x_e1191d0ccb45c2ab5a14f2a13671916f338ef684"
        );
        for (line, told) in [
            ("x git /opt/x", "found 3 words"),
            ("x git /opt/x y z more", "found 6 words"),
            (
                "x hg /opt/x y",
                "unknown type 'hg'; types are git, tar, file and package",
            ),
        ] {
            let error = line.parse::<Repository>().unwrap_err().to_string();
            assert!(error.contains(told), "{line}: {error}");
        }
    }

    #[test]
    fn the_caller_overrides() {
        let line = "my.repo-x git /opt/x git://user@example.org:8/a/x.git";
        let overridden = |variables: &[(&str, &str)]| {
            let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
            let lookup = |name: &str| find(name).map(|(_, value)| (*value).to_owned());
            let parsed: Repository = line.parse().unwrap();
            let (repository, by) = parsed.overridden(&lookup).unwrap();
            (
                repository.to_string(),
                by.join(" "),
                repository.is_fetched(&lookup),
            )
        };
        assert_eq!(overridden(&[]), (line.to_owned(), String::new(), true));
        assert_eq!(
            overridden(&[("DIB_GITREPOBASE", "https://mirror.example.org/")]),
            (
                "my.repo-x git /opt/x https://mirror.example.org/a/x.git".into(),
                "DIB_GITREPOBASE".into(),
                true
            )
        );
        assert_eq!(
            overridden(&[
                ("DIB_GITREPOBASE", "https://mirror.example.org"),
                ("DIB_REPOLOCATION_my_repo_x", "/srv/x"),
                ("DIB_REPOREF_my_repo_x", "v1"),
                ("DIB_REPOTYPE_my_repo_x", "file"),
            ]),
            (
                "my.repo-x file /opt/x /srv/x v1".into(),
                "DIB_REPOTYPE_my_repo_x DIB_REPOLOCATION_my_repo_x DIB_REPOREF_my_repo_x".into(),
                true
            )
        );
        for (name, value, fetched) in [
            ("DIB_INSTALLTYPE_my_repo_x", "package", false),
            ("DIB_DEFAULT_INSTALLTYPE", "package", false),
            ("DIB_REPOTYPE_my_repo_x", "package", false),
            ("NO_SOURCE_REPOSITORIES", "1", false),
            ("NO_SOURCE_REPOSITORIES", "", true),
            ("DIB_INSTALLTYPE_other", "package", true),
        ] {
            assert_eq!(overridden(&[(name, value)]).2, fetched, "{name}={value}");
        }
        assert!(
            overridden(&[
                ("DIB_DEFAULT_INSTALLTYPE", "package"),
                ("DIB_INSTALLTYPE_my_repo_x", "source")
            ])
            .2
        );
    }
}
