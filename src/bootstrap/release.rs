//! `Release`: what a suite of an archive holds, and until when to believe it.
//!
//! Spec: <https://wiki.debian.org/DebianRepository/Format>. Only SHA-256 sums count.

use std::collections::HashMap;
use std::time::SystemTime;

use super::deb822::Paragraph;

/// A suite, as its archive describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// Who says so.
    pub origin: String,
    /// Its name, `stable` say.
    pub suite: String,
    /// Its other name, `trixie` say.
    pub codename: String,
    /// When it was made.
    pub date: Option<SystemTime>,
    /// When it is too old to be believed.
    pub valid_until: Option<SystemTime>,
    /// Whether files can be had by their digest, however the suite moves on meanwhile.
    pub by_hash: bool,
    /// Whether packages for all architectures stand in the index of each.
    pub all_in_each: bool,
    /// The architectures.
    pub architectures: Vec<String>,
    /// The components.
    pub components: Vec<String>,
    /// Length and SHA-256 of its files, by path.
    pub files: HashMap<String, (u64, String)>,
}

/// Why a text is no description of a suite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// There is no paragraph.
    #[error("it is empty")]
    Empty,
    /// No sums that count.
    #[error("it has no SHA-256 sums")]
    NoSums,
    /// A line of the sums makes no sense.
    #[error("'{0}' is no SHA-256, length and path")]
    Sum(String),
    /// A date makes no sense.
    #[error("{0}: '{1}' is no date")]
    Date(&'static str, String),
}

impl Release {
    /// Reads a text.
    pub fn parse(text: &str) -> Result<Self, ReleaseError> {
        let paragraph = Paragraph::first(text).ok_or(ReleaseError::Empty)?;
        let text = |name| paragraph.get(name).unwrap_or_default().to_owned();
        let words = |name: &str| {
            let words = paragraph.get(name).unwrap_or_default().split_whitespace();
            words.map(str::to_owned).collect::<Vec<_>>()
        };
        let date = |name: &'static str| {
            let written = paragraph.get(name);
            let read = written
                .map(|written| date(written).ok_or_else(|| ReleaseError::Date(name, written.to_owned())));
            read.transpose()
        };
        let sums = paragraph.get("SHA256").ok_or(ReleaseError::NoSums)?;
        let architectures = words("Architectures");
        let unsupported = text("No-Support-for-Architecture-all");
        Ok(Self {
            origin: text("Origin"),
            suite: text("Suite"),
            codename: text("Codename"),
            date: date("Date")?,
            valid_until: date("Valid-Until")?,
            by_hash: text("Acquire-By-Hash") == "yes",
            all_in_each: !architectures.iter().any(|name| name == "all") || unsupported.contains("Packages"),
            architectures,
            components: words("Components"),
            files: sums
                .lines()
                .filter(|line| !line.trim().is_empty())
                .map(sum)
                .collect::<Result<_, _>>()?,
        })
    }
}

fn sum(line: &str) -> Result<(String, (u64, String)), ReleaseError> {
    let wrong = || ReleaseError::Sum(line.trim().to_owned());
    let mut words = line.split_whitespace();
    let (digest, len, path) = (words.next(), words.next(), words.next());
    let digest = digest.filter(|digest| is_sha256(digest)).ok_or_else(wrong)?;
    let len = len.and_then(|len| len.parse().ok()).ok_or_else(wrong)?;
    let path = path.filter(|path| is_below(path)).ok_or_else(wrong)?;
    Ok((path.to_owned(), (len, digest.to_ascii_lowercase())))
}

/// Whether a word is a SHA-256 in hexadecimal digits.
pub fn is_sha256(word: &str) -> bool {
    word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a path leads to something below where it starts, and can stand in an address as it is.
pub fn is_below(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#%\\\"".contains(&byte);
    !path.is_empty()
        && path.bytes().all(plain)
        && path.split('/').all(|name| !matches!(name, "" | "." | ".."))
}

/// A date as archives write it: RFC 2822 with the zone `UTC`, which HTTP calls `GMT`.
fn date(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    let text = text
        .strip_suffix("UTC")
        .or(text.strip_suffix("+0000"))
        .or(text.strip_suffix("GMT"))?;
    let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    // Some write the day, or the hour, without its zero.
    for at in [1, 4] {
        let word = words.get_mut(at)?;
        if word.find(':').unwrap_or(word.len()) == 1 {
            word.insert(0, '0');
        }
    }
    httpdate::parse_http_date(&format!("{} GMT", words.join(" "))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_suite_is_read() {
        let text = format!(
            "Origin: Debian\nSuite: stable\nCodename: x\nDate: Sat, 01 Jan 2000  0:00:00 UTC\n\
             Valid-Until: Sat, 1 Jan 2000 00:00:01 UTC\nAcquire-By-Hash: yes\nArchitectures: all amd64\n\
             Components: main contrib\nNo-Support-for-Architecture-all: Packages\nMD5Sum:\n 0 0 x\n\
             SHA256:\n {SUM} 0 main/binary-amd64/Packages\n {SUM}        7 a/b\n"
        );
        let release = Release::parse(&text).unwrap();
        assert_eq!(
            (&*release.origin, &*release.suite, &*release.codename),
            ("Debian", "stable", "x")
        );
        assert!(release.by_hash && release.all_in_each);
        assert_eq!(release.components, ["main", "contrib"]);
        assert_eq!(release.files["a/b"], (7, SUM.to_owned()));
        let since = |time: Option<SystemTime>| time.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(since(release.date), Duration::from_hours(262_968));
        assert_eq!(since(release.valid_until), Duration::from_secs(946_684_801));
        let plain = Release::parse("Architectures: all amd64\nSHA256:\n").unwrap();
        assert!(!plain.all_in_each && !plain.by_hash && plain.date.is_none());
    }

    #[test]
    fn nonsense_is_named() {
        let wrong = |text: &str| Release::parse(text).unwrap_err().to_string();
        assert_eq!(wrong("\n"), "it is empty");
        assert_eq!(wrong("Suite: x\n"), "it has no SHA-256 sums");
        assert_eq!(
            wrong("SHA256:\n abc 1 x\n"),
            "'abc 1 x' is no SHA-256, length and path"
        );
        assert!(wrong(&format!("SHA256:\n {SUM} 1 ../x\n")).contains("../x"));
        assert_eq!(wrong("Date: soon\nSHA256:\n"), "Date: 'soon' is no date");
    }
}
