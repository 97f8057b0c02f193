//! Which kernel and which initial ramdisk of a root are meant: the rules of `baremetal` and `disk-image-get-kernel`.
//!
//! "Newest" is the first that `ls -1rv` would list: runs of digits count as numbers.

use std::cmp::Ordering;

use super::InspectError;
use super::compose::joined;
use super::find::{Finder, matches};
use super::report::printable;

/// Links of `/boot` that are followed to see what they lead to: a system has a few.
const LINKS_MAX: usize = 64;
/// Texts of a root that are read.
const TEXT_MAX: usize = 64 << 10;

/// Bytes of a kernel at most: a hundred times what the largest has, and less than hurts a disk.
pub const KERNEL_MAX: u64 = 1 << 30;
/// Bytes of a ramdisk at most: a machine of x86 loads none from 2 GiB on.
pub const RAMDISK_MAX: u64 = 2 << 30;

/// A kernel and its initial ramdisk, by paths without links and without a leading `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The kernel.
    pub kernel: Vec<u8>,
    /// Its ramdisk.
    pub initrd: Vec<u8>,
}

impl Pair {
    /// Whether the ramdisk is of another version than the kernel, as their names say.
    pub fn differs(&self) -> bool {
        let kernel = version(&self.kernel, b"vmlinu", b".efi.signed");
        let initrd = version(&self.initrd, b"init", b".img");
        kernel
            .zip(initrd)
            .is_some_and(|(kernel, initrd)| kernel != initrd)
    }
}

/// What follows the first hyphen of a file's name, without a suffix, if the name begins as it should.
fn version<'a>(path: &'a [u8], begins: &[u8], suffix: &[u8]) -> Option<&'a [u8]> {
    let name = path.rsplit(|byte| *byte == b'/').next()?;
    let at = name.iter().position(|byte| *byte == b'-')?;
    let version = &name[at + 1..];
    name.starts_with(begins)
        .then(|| version.strip_suffix(suffix).unwrap_or(version))
}

/// What of its environment the choice depends on.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Patterns for both below `/boot`, which go before all rules.
    pub patterns: Option<(Vec<u8>, Vec<u8>)>,
    /// The name of the distribution, where it is known.
    pub distribution: Option<String>,
}

/// Why there is no choice.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] InspectError),
    /// None of the rules applies.
    #[error("Unable to detect operating system: /etc has none of {}", SIGNS.map(|(sign, _)| sign).join(", "))]
    NoSystem,
    /// A rule applies, and what it looks for is not there.
    #[error("/boot has no {0}: {1} is there")]
    NoFile(String, String),
    /// What is chosen claims to be what none can be.
    #[error("/{path} has {len} bytes, and {what} has {max} at most")]
    TooLong {
        /// Which.
        path: String,
        /// Bytes that it claims.
        len: u64,
        /// What it should be.
        what: &'static str,
        /// Bytes that such a one may have.
        max: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    RedHat,
    Debian,
    Suse,
    Gentoo,
}

/// Files of `/etc` by which systems are known.
const SIGNS: [(&str, Rule); 4] = [
    ("redhat-release", Rule::RedHat),
    ("debian_version", Rule::Debian),
    ("SuSE-release", Rule::Suse),
    ("gentoo-release", Rule::Gentoo),
];

/// Chooses.
pub fn choose(finder: &mut Finder, wanted: &Wanted) -> Result<Pair, Missing> {
    let boot = finder.one(b"/boot")?.map(|(path, _)| path).unwrap_or_default();
    let names = files(finder, &boot)?;
    let (kernel, initrd) = if let Some((kernel, initrd)) = &wanted.patterns {
        (any(&names, &[kernel])?, any(&names, &[initrd])?)
    } else {
        match rule(finder, wanted)? {
            Rule::RedHat => red_hat(&names)?,
            Rule::Debian => debian(finder, &names)?,
            Rule::Suse => (b"vmlinuz".to_vec(), b"initrd".to_vec()),
            Rule::Gentoo => (any(&names, &[b"vmlinuz-*"])?, any(&names, &[b"initramfs-*"])?),
        }
    };
    let mut path = |name: &[u8], what, max| {
        let found = finder.one(&[b"/", &joined(&boot, name)[..]].concat())?;
        let length = |(path, spot)| Some((path, finder.view().length(spot)?));
        let (path, len) = found.and_then(length).ok_or_else(|| no_file(name, &names))?;
        if len > max {
            let path = printable(&path);
            return Err(Missing::TooLong { path, len, what, max });
        }
        Ok(path)
    };
    Ok(Pair {
        kernel: path(&kernel, "a kernel", KERNEL_MAX)?,
        initrd: path(&initrd, "a ramdisk", RAMDISK_MAX)?,
    })
}

/// The names of a directory's regular files, and of links to such.
fn files(finder: &mut Finder, dir: &[u8]) -> Result<Vec<Vec<u8>>, InspectError> {
    let (mut names, mut links) = (Vec::new(), Vec::new());
    for (name, spot) in finder.list(dir)? {
        if finder.view().length(spot).is_some() {
            names.push(name);
        } else if finder.view().target(spot).is_some() && links.len() < LINKS_MAX {
            links.push(name);
        }
    }
    for name in links {
        let led = finder.one(&[b"/", &joined(dir, &name)[..]].concat())?;
        if led.is_some_and(|(_, spot)| finder.view().length(spot).is_some()) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn rule(finder: &mut Finder, wanted: &Wanted) -> Result<Rule, Missing> {
    for (sign, rule) in SIGNS {
        if finder.one(format!("/etc/{sign}").as_bytes())?.is_some() {
            return Ok(rule);
        }
    }
    let named = wanted.distribution.as_deref() == Some("opensuse");
    // SuSE-release is gone from what SUSE made after 2018.
    let suse = |value: Option<&String>| value.is_some_and(|value| value.contains("suse"));
    let release = os_release(finder)?;
    let get = |name: &str| {
        release
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    };
    if named || suse(get("ID")) || suse(get("ID_LIKE")) {
        return Ok(Rule::Suse);
    }
    Err(Missing::NoSystem)
}

fn red_hat(names: &[Vec<u8>]) -> Result<(Vec<u8>, Vec<u8>), Missing> {
    let has = |name: &[u8], word: &[u8]| name.windows(word.len()).any(|part| part == word);
    let kernels = names
        .iter()
        .filter(|name| matches(b"vmlinuz*", name) && !has(name, b"debug"));
    let pae = kernels.clone().filter(|name| has(name, b"PAE"));
    let kernel = newest(pae).or_else(|| newest(kernels));
    let kernel = kernel.ok_or_else(|| no_file(b"vmlinuz*", names))?;
    let version = kernel.strip_prefix(b"vmlinuz-").unwrap_or_default();
    let initrd = [b"initramfs-", version, b".img"].concat();
    if names.contains(&initrd) {
        Ok((kernel, initrd))
    } else {
        Err(no_file(&initrd, names))
    }
}

fn debian(finder: &mut Finder, names: &[Vec<u8>]) -> Result<(Vec<u8>, Vec<u8>), Missing> {
    let signed = finder.one(b"/dib-signed-kernel-version")?;
    let signed = signed.and_then(|(_, spot)| finder.view().read(spot, TEXT_MAX));
    let signed = signed
        .transpose()
        .map_err(InspectError::from)?
        .unwrap_or_default();
    let initrd = any(names, &[b"initrd*generic", b"initrd*"])?;
    let kernels: [&[u8]; 3] = [b"vmlinu*generic.efi.signed", b"vmlinu*generic", b"vmlinu*"];
    let unsigned = usize::from(signed.trim_ascii().is_empty());
    Ok((any(names, &kernels[unsigned..])?, initrd))
}

/// The newest that the first of some patterns matches that matches any.
fn any(names: &[Vec<u8>], patterns: &[&[u8]]) -> Result<Vec<u8>, Missing> {
    let found = patterns
        .iter()
        .find_map(|pattern| newest(names.iter().filter(|name| matches(pattern, name))));
    found.ok_or_else(|| no_file(patterns.last().copied().unwrap_or_default(), names))
}

fn no_file(wanted: &[u8], names: &[Vec<u8>]) -> Missing {
    let all: Vec<String> = names.iter().map(|name| name.escape_ascii().to_string()).collect();
    let there = if all.is_empty() {
        "nothing".to_owned()
    } else {
        all.join(", ")
    };
    Missing::NoFile(wanted.escape_ascii().to_string(), there)
}

fn newest<'a>(names: impl Iterator<Item = &'a Vec<u8>>) -> Option<Vec<u8>> {
    names.max_by(|a, b| by_version(a, b)).cloned()
}

/// The order of `ls -v`: names without what looks like suffixes of files first, then all of them.
pub fn by_version(a: &[u8], b: &[u8]) -> Ordering {
    runs(stem(a), stem(b))
        .then_with(|| runs(a, b))
        .then_with(|| a.cmp(b))
}

/// A name without `.deb`, `.tar.gz` and the like at its end.
fn stem(name: &[u8]) -> &[u8] {
    let mut stem = name;
    while let Some(dot) = stem.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0) {
        let suffix = &stem[dot + 1..];
        let begins = suffix
            .first()
            .is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'~');
        let goes_on = suffix
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'~');
        if !begins || !goes_on {
            break;
        }
        stem = &stem[..dot];
    }
    stem
}

/// Runs of digits as numbers, what is between them byte by byte: `~` before the end, the end before letters, letters
/// before the rest.
fn runs(a: &[u8], b: &[u8]) -> Ordering {
    let rank = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_digit() => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    let is_text = |rest: &[u8]| rest.first().is_some_and(|byte| !byte.is_ascii_digit());
    let (mut a, mut b) = (a, b);
    while !a.is_empty() || !b.is_empty() {
        while is_text(a) || is_text(b) {
            let order = rank(a.first()).cmp(&rank(b.first()));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (a.get(1..).unwrap_or_default(), b.get(1..).unwrap_or_default());
        }
        let (number_a, rest_a) = number(a);
        let (number_b, rest_b) = number(b);
        let order = number_a
            .len()
            .cmp(&number_b.len())
            .then_with(|| number_a.cmp(number_b));
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

/// The digits at the start, without zeros before them, and what follows.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let first = digits
        .iter()
        .position(|byte| *byte != b'0')
        .unwrap_or(digits.len());
    (&digits[first..], rest)
}

/// A kernel of a root, and the ramdisk of its version, if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// What follows `vmlinuz-`.
    pub version: Vec<u8>,
    /// The kernel's path.
    pub path: Vec<u8>,
    /// The ramdisk's path.
    pub initrd: Option<Vec<u8>>,
}

/// All kernels below `/boot`, the newest first.
pub fn all(finder: &mut Finder) -> Result<Vec<Kernel>, InspectError> {
    let boot = finder.one(b"/boot")?.map(|(path, _)| path).unwrap_or_default();
    let names: Vec<Vec<u8>> = finder.list(&boot)?.into_iter().map(|(name, _)| name).collect();
    let mut kernels: Vec<Kernel> = Vec::new();
    for name in &names {
        let Some(at) = name.iter().position(|byte| *byte == b'-') else {
            continue;
        };
        if !matches!(&name[..at], b"vmlinuz" | b"vmlinux" | b"Image") {
            continue;
        }
        let version = name[at + 1..].to_vec();
        let ramdisks = [
            [b"initrd.img-", &version[..]].concat(),
            [b"initramfs-", &version[..], b".img"].concat(),
            [b"initrd-", &version[..]].concat(),
            [b"initramfs-", &version[..]].concat(),
        ];
        let initrd = ramdisks.into_iter().find(|ramdisk| names.contains(ramdisk));
        let full = |name: &[u8]| [b"/boot/", name].concat();
        kernels.push(Kernel {
            path: full(name),
            initrd: initrd.map(|name| full(&name)),
            version,
        });
    }
    kernels.sort_by(|a, b| by_version(&b.version, &a.version));
    Ok(kernels)
}

/// The lines of the root's `os-release`, unquoted, in order.
pub fn os_release(finder: &mut Finder) -> Result<Vec<(String, String)>, InspectError> {
    for name in ["/etc/os-release", "/usr/lib/os-release"] {
        let Some((_, spot)) = finder.one(name.as_bytes())? else {
            continue;
        };
        if let Some(text) = finder.view().read(spot, TEXT_MAX) {
            return Ok(assignments(&text?));
        }
    }
    Ok(Vec::new())
}

fn assignments(text: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(text);
    let pairs = text.lines().filter_map(|line| {
        let (name, value) = line.trim().split_once('=')?;
        let known = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        known.then(|| (name.to_owned(), unquoted(value)))
    });
    pairs.collect()
}

/// A value as a shell would read it: quotes and backslashes taken away.
fn unquoted(value: &str) -> String {
    let inner = ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    let mut text = String::new();
    let mut chars = inner.unwrap_or(value).chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => text.extend(chars.next()),
            char => text.push(char),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<Vec<u8>> {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    #[test]
    fn versions_order_as_ls_lists_them() {
        let sorted = [
            "vmlinuz-0-rescue-f3a",
            "vmlinuz-4.9.0-13-generic",
            "vmlinuz-5.10.0-8-generic",
            "vmlinuz-5.10.0-28-generic",
            "vmlinuz-6.1.0-18-cloud-amd64",
            "vmlinuz-10",
        ];
        for (at, name) in sorted.iter().enumerate() {
            for (other, than) in sorted.iter().enumerate() {
                let order = by_version(name.as_bytes(), than.as_bytes());
                assert_eq!(order, at.cmp(&other), "{name} {than}");
            }
        }
        assert_eq!(by_version(b"a-1~rc1", b"a-1"), Ordering::Less);
        assert_eq!(by_version(b"a-1.img", b"a-1.1.img"), Ordering::Less);
    }

    #[test]
    fn red_hat_prefers_pae_and_never_takes_debug() {
        let all = names(&[
            "vmlinuz-5.1.i686",
            "vmlinuz-5.0.i686.PAE",
            "vmlinuz-5.2.i686.PAEdebug",
            "initramfs-5.0.i686.PAE.img",
        ]);
        let (kernel, initrd) = red_hat(&all).unwrap();
        assert_eq!(kernel, b"vmlinuz-5.0.i686.PAE");
        assert_eq!(initrd, b"initramfs-5.0.i686.PAE.img");
        let told = red_hat(&names(&["vmlinuz-5.1"])).unwrap_err().to_string();
        assert_eq!(told, "/boot has no initramfs-5.1.img: vmlinuz-5.1 is there");
    }

    #[test]
    fn a_ramdisk_of_another_version_is_noticed() {
        for (kernel, initrd, differs) in [
            ("boot/vmlinuz-6.2", "boot/initrd.img-6.1", true),
            ("boot/vmlinuz-6.2", "boot/initrd.img-6.2", false),
            ("vmlinuz-5.generic.efi.signed", "initrd.img-5.generic", false),
            ("boot/vmlinux-6.2", "boot/initramfs-6.2.img", false),
            ("boot/vmlinuz", "boot/initrd-6.2", false),
            ("boot/own-5.bin", "boot/initrd.img-6", false),
        ] {
            let [kernel, initrd] = [kernel, initrd].map(|name| name.as_bytes().to_vec());
            let pair = Pair { kernel, initrd };
            assert_eq!(pair.differs(), differs, "{pair:?}");
        }
    }

    #[test]
    fn release_files_are_read_as_a_shell_does() {
        let text = b"NAME=\"Debian \\\"GNU\\\"\"\n# x=y\nID=debian\nV='12'\nno line\n";
        let pairs = assignments(text);
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(pairs, [("NAME", "Debian \"GNU\""), ("ID", "debian"), ("V", "12")]);
    }
}
