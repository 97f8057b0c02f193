//! The record of a build that goes into its image, without the secrets that the caller's variables hold.
//!
//! Hooks see the variables as they are. The record of them, `DIB_ENV` and `DIB_ARGS`, is made without secrets in the
//! first place, so that no element can leave one in an image, nor beside it, by writing the record down.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use regex_lite::Regex;

use crate::environment::Environment;

/// What stands for a secret.
const REDACTED: &str = "REDACTED";

/// Names of variables whose values are secret.
const NAMES: &str =
    "(?i)PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|PRIVATE|API_?KEY|_(KEY|PWD|PASS|PW|AUTH)$";

/// Texts that are secret wherever they stand, and what is left of each: private keys, what stands before the host of a
/// URL, and values after a word that says what they are.
const TEXTS: [(&str, &str); 3] = [
    (
        r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)",
        REDACTED,
    ),
    (r#"://[^/\s"'<>]*@"#, "://REDACTED@"),
    (
        r#"(?i)((?:password|passwd|passphrase|secret|token|credential|private[_-]?key|api[_-]?key|access[_-]?key)[\w-]*["']?\s*[=:]\s*["']?)[^\s"'&,;]+"#,
        "${1}REDACTED",
    ),
];

/// Variables that name a file of the host by a path that we made whole: where it lies is no part of an image, which would
/// otherwise differ when a lock is used in another directory.
const FILES: [&str; 2] = ["DIB_LOCK", "DIB_LOCKED"];

/// The variables whose names begin with `DIB_`, as `declare -p` of a shell prints them.
pub fn environment(all: &Environment) -> OsString {
    let names = Regex::new(NAMES).expect("the pattern is a constant");
    let mut record = Environment::default();
    for (name, value) in all
        .iter()
        .filter(|(name, _)| name.as_bytes().starts_with(b"DIB_"))
    {
        let secret = names.is_match(&name.to_string_lossy()) && !value.is_empty();
        let file = Path::new(value)
            .file_name()
            .filter(|_| FILES.iter().any(|file| *name == **file));
        let value = if secret {
            REDACTED.into()
        } else {
            text(file.unwrap_or(value))
        };
        record.set(name, value);
    }
    record.declarations("DIB_")
}

/// A text without its secrets.
pub fn text(text: &OsStr) -> OsString {
    let mut clean = text.to_string_lossy();
    for (pattern, rest) in TEXTS {
        let pattern = Regex::new(pattern).expect("the pattern is a constant");
        if pattern.is_match(&clean) {
            clean = pattern.replace_all(&clean, rest).into_owned().into();
        }
    }
    if clean == text.to_string_lossy() {
        return text.to_owned();
    }
    clean.into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    #[test]
    fn secrets_leave_the_record_and_nothing_else_does() {
        let table = [
            ("http://user:pw@host:80/a?b=c", "http://REDACTED@host:80/a?b=c"),
            ("git+ssh://me@host/x", "git+ssh://REDACTED@host/x"),
            (
                "https://u:p@ss@host/ https://v:q@w",
                "https://REDACTED@host/ https://REDACTED@w",
            ),
            ("http://host/a@b", "http://host/a@b"),
            ("mail me@host: now", "mail me@host: now"),
            (
                "{\"password\": \"hunter2\", \"user\": \"me\"}",
                "{\"password\": \"REDACTED\", \"user\": \"me\"}",
            ),
            (
                "https://host/?access_token=abc&x=1",
                "https://host/?access_token=REDACTED&x=1",
            ),
            ("root_password = pw; next", "root_password = REDACTED; next"),
            ("Secret-Id: 17\nline two", "Secret-Id: REDACTED\nline two"),
            (
                "first\n-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nlast",
                "first\nREDACTED\nlast",
            ),
            ("-----BEGIN PRIVATE KEY-----\ncut sho", "REDACTED"),
            ("tokenring", "tokenring"),
            ("two\nlines", "two\nlines"),
        ];
        for (given, expected) in table {
            assert_eq!(text(OsStr::new(given)), expected, "{given}");
        }
        let odd = OsString::from_vec(b"\xff\xfe".to_vec());
        assert_eq!(text(&odd), odd, "what holds no secret stays byte for byte");
    }

    #[test]
    fn variables_named_like_secrets_keep_their_names_only() {
        let mut all = Environment::default();
        for (name, value) in [
            ("DIB_DEV_USER_PASSWORD", "two\nlines"),
            ("DIB_rhsm_activation_key", "k"),
            ("DIB_TOKEN", ""),
            ("DIB_ADD_APT_KEYS", "/keys"),
            ("DIB_ARGS", "-o x http://a:b@c/"),
            ("DIB_PYPI_MIRROR_URL", "https://u:p@pypi/\nhttps://u:q@pypi/"),
            ("OTHER", "not of the family"),
        ] {
            all.set(name, value);
        }
        let record = environment(&all).into_string().unwrap();
        assert_eq!(
            record,
            "declare -x DIB_ADD_APT_KEYS=\"/keys\"\n\
             declare -x DIB_ARGS=\"-o x http://REDACTED@c/\"\n\
             declare -x DIB_DEV_USER_PASSWORD=\"REDACTED\"\n\
             declare -x DIB_PYPI_MIRROR_URL=\"https://REDACTED@pypi/\nhttps://REDACTED@pypi/\"\n\
             declare -x DIB_TOKEN=\"\"\n\
             declare -x DIB_rhsm_activation_key=\"REDACTED\""
        );
    }

    #[test]
    fn where_a_lock_lies_is_not_recorded() {
        let mut all = Environment::default();
        all.set("DIB_LOCKED", "/home/me/web.lock");
        all.set("DIB_IMAGE_CACHE", "/cache");
        assert_eq!(
            environment(&all),
            "declare -x DIB_IMAGE_CACHE=\"/cache\"\ndeclare -x DIB_LOCKED=\"web.lock\""
        );
    }
}
