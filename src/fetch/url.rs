//! Addresses: what can be fetched, and how it is named where others read it.
//!
//! Spec: RFC 3986, as much of it as `http`, `https` and `file` need.
//!
//! - Printed, an address has no user information: messages, manifests and caches must not hold passwords.
//! - What programs write carelessly, a space or a letter beyond ASCII, is percent-encoded; control characters are refused.

use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// Printable characters that no address holds as they are.
const CARELESS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// An address that can be fetched.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    scheme: Scheme,
    user: Option<String>,
    /// Host and port; empty for files.
    authority: String,
    /// Path and query, from the first `/` on.
    target: String,
}

/// How it is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// By TLS.
    Https,
    /// From this machine.
    File,
}

/// Why a text is no such address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It has no scheme.
    #[error("no scheme: an address begins with http://, https:// or file://")]
    NoScheme,
    /// Its scheme is not among them.
    #[error("only http, https and file can be fetched")]
    Scheme,
    /// It names no host, or a port that is none.
    #[error("no host, or no number for its port")]
    Host,
    /// A file of another machine.
    #[error("a file of another machine")]
    Elsewhere,
    /// It holds a control character.
    #[error("a control character")]
    Control,
}

impl Scheme {
    fn word(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::File => "file",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let all = [Scheme::Http, Scheme::Https, Scheme::File];
        all.into_iter()
            .find(|scheme| scheme.word().eq_ignore_ascii_case(word))
    }
}

impl Url {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.chars().any(char::is_control) {
            return Err(UrlError::Control);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::NoScheme)?;
        let scheme = Scheme::parse(scheme).ok_or(UrlError::Scheme)?;
        let rest = rest.split('#').next().unwrap_or_default();
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(at);
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => (Some(user.to_owned()), authority),
            None => (None, authority),
        };
        if scheme == Scheme::File {
            if !matches!(authority, "" | "localhost") {
                return Err(UrlError::Elsewhere);
            }
        } else {
            require_authority(authority)?;
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            scheme,
            user,
            authority: match scheme {
                Scheme::File => String::new(),
                _ => authority.to_ascii_lowercase(),
            },
            target: format!("{slash}{}", utf8_percent_encode(target, CARELESS)),
        })
    }

    /// How it is fetched.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, without port and brackets.
    pub fn host(&self) -> &str {
        let (host, _) = split_port(&self.authority);
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Host and port, as they were given.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// The port, given or the scheme's.
    pub fn port(&self) -> u16 {
        let default = if self.scheme == Scheme::Https { 443 } else { 80 };
        let (_, port) = split_port(&self.authority);
        port.and_then(|port| port.parse().ok()).unwrap_or(default)
    }

    /// The file that a `file` address names.
    pub fn path(&self) -> PathBuf {
        use std::os::unix::ffi::OsStringExt as _;
        let bytes: Vec<u8> = percent_decode_str(&self.target).collect();
        PathBuf::from(std::ffi::OsString::from_vec(bytes))
    }

    /// The value of the `Authorization` header that its user information asks for.
    pub fn authorization(&self) -> Option<String> {
        let user: Vec<u8> = percent_decode_str(self.user.as_deref()?).collect();
        let pair = if user.contains(&b':') {
            user
        } else {
            [&user[..], b":"].concat()
        };
        Some(format!("Basic {}", BASE64_STANDARD.encode(pair)))
    }

    /// The address that a redirection leads to: another whole one, or one that is relative to this.
    ///
    /// The user information goes along to the same host and port by the same scheme, and nowhere else.
    pub fn join(&self, location: &str) -> Result<Self, UrlError> {
        let location = location.trim();
        let colon = location.find(':').unwrap_or(usize::MAX);
        let mut next = if location.find(['/', '?', '#']).unwrap_or(usize::MAX) > colon {
            Self::parse(location)?
        } else if location.starts_with("//") {
            Self::parse(&format!("{}:{location}", self.scheme.word()))?
        } else {
            let path = self.target.split('?').next().unwrap_or_default();
            let target = match location.chars().next() {
                None | Some('#') => self.target.clone(),
                Some('/') => location.to_owned(),
                Some('?') => format!("{path}{location}"),
                Some(_) => {
                    let (dir, _) = path.rsplit_once('/').unwrap_or_default();
                    format!("{dir}/{location}")
                }
            };
            Self::parse(&format!("{}://{}{target}", self.scheme.word(), self.authority))?
        };
        next.target = without_dots(&next.target);
        if next.user.is_none() && next.scheme == self.scheme && next.authority == self.authority {
            next.user.clone_from(&self.user);
        }
        Ok(next)
    }
}

/// The address without its user information.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.word(), self.authority, self.target)
    }
}

/// As it is printed, so that no log of a value shows a password.
impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

/// Any text that may be an address, a Git repository's too, without what stands before the `@` of its host.
pub fn without_user(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..at].rfind('@') {
        Some(user) => format!("{scheme}://{}", &rest[user + 1..]),
        None => text.to_owned(),
    }
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn require_authority(authority: &str) -> Result<(), UrlError> {
    let (host, port) = split_port(authority);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let literal = |host: &str| host.parse::<std::net::Ipv6Addr>().is_ok();
    let named = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => literal(host),
        None => !host.is_empty() && host.bytes().all(plain),
    };
    let numbered = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
    if named && numbered {
        Ok(())
    } else {
        Err(UrlError::Host)
    }
}

/// A path, and the query after it, without the segments `.` and `..`.
fn without_dots(target: &str) -> String {
    let at = target.find('?').unwrap_or(target.len());
    let (path, query) = target.split_at(at);
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        kept.push("");
    }
    format!("/{}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_printed_without_secrets() {
        let table = [
            ("http://h", "http://h/"),
            ("HTTPS://Me:Pw@Host:8443/A b?c=d#e", "https://host:8443/A%20b?c=d"),
            ("http://h?q", "http://h/?q"),
            ("http://[::1]:80/x", "http://[::1]:80/x"),
            ("file:///tmp/a%20b", "file:///tmp/a%20b"),
            ("file://localhost/x", "file:///x"),
            ("http://h/\u{e9}", "http://h/%C3%A9"),
        ];
        for (text, printed) in table {
            assert_eq!(Url::parse(text).unwrap().to_string(), printed, "{text}");
        }
        let wrong = [
            ("host/path", UrlError::NoScheme),
            ("ftp://h/", UrlError::Scheme),
            ("http:///x", UrlError::Host),
            ("http://h:port/", UrlError::Host),
            ("http://a b/", UrlError::Host),
            ("http://[::1/", UrlError::Host),
            ("file://other/x", UrlError::Elsewhere),
            ("http://h/\n", UrlError::Control),
        ];
        for (text, error) in wrong {
            assert_eq!(Url::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn user_information_becomes_a_header() {
        let header = |text| Url::parse(text).unwrap().authorization();
        assert_eq!(header("http://h/"), None);
        // printf 'me:p@ss' | base64
        assert_eq!(header("http://me:p%40ss@h/").unwrap(), "Basic bWU6cEBzcw==");
        assert_eq!(header("http://me@h/").unwrap(), "Basic bWU6");
        assert_eq!(without_user("ssh://git:pw@h:22/x@y"), "ssh://h:22/x@y");
        assert_eq!(without_user("git@h:x"), "git@h:x");
    }

    #[test]
    fn redirections_lead_where_they_say() {
        let from = Url::parse("http://me:pw@h:81/a/b?c").unwrap();
        let table = [
            ("x", "http://h:81/a/x"),
            ("../../x/./y", "http://h:81/x/y"),
            ("/x?y", "http://h:81/x?y"),
            ("?y", "http://h:81/a/b?y"),
            ("", "http://h:81/a/b?c"),
            ("//other/x", "http://other/x"),
            ("https://h:81/x", "https://h:81/x"),
            ("x?u=http://y", "http://h:81/a/x?u=http://y"),
            (".", "http://h:81/a/"),
        ];
        for (location, to) in table {
            let next = from.join(location).unwrap();
            assert_eq!(next.to_string(), to, "{location}");
            assert_eq!(next.user.is_some(), to.starts_with("http://h:81/"), "{location}");
        }
        assert!(from.join("ftp://h/").is_err());
    }

    #[test]
    fn hosts_and_ports_come_apart() {
        for (text, host, port) in [
            ("http://h/", "h", 80),
            ("https://h/", "h", 443),
            ("http://[::1]/", "::1", 80),
            ("http://[::1]:8080/", "::1", 8080),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.host(), url.port()), (host, port), "{text}");
        }
    }
}
