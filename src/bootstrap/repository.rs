//! What a build installs after its root is there, written down, and given back: a small archive inside the tree, of the
//! locked packages and no others, which the tree's own apt then takes for the only one there is.
//!
//! The archive is flat: package files, and one index. It is not signed; every file in it has the digest of the lock.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use percent_encoding::percent_decode_str;

use super::lock::{Chosen, Lock};
use super::release::{is_below, is_sha256};
use super::sources::Source;
use super::store::Store;
use super::{FETCHES, deb::Deb, fetch};
use crate::error::{Context as _, Error, Kind, Result};
use crate::fetch::url::Url;
use crate::sandbox::rooted::Rooted;

/// Where it lies in the tree.
pub const PLACE: &str = "var/cache/dib-locked";

/// Lays the packages of a lock that come later into the tree.
pub fn lay(sources: &[Source], later: &[Chosen], store: &Store, tree: &Rooted) -> Result<()> {
    let tried = || format!("cannot make /{PLACE} of the tree");
    let names: Vec<&[u8]> = PLACE.split('/').map(str::as_bytes).collect();
    let place = tree.make_dirs(&names, 0o755).host(tried)?;
    let paragraphs = Mutex::new(vec![String::new(); later.len()]);
    at_once(later.len(), &|number| {
        let paragraph = lay_one(sources, &later[number], store, &place)?;
        paragraphs.lock().expect("nobody panics with it")[number] = paragraph;
        Ok(())
    })?;
    let index = paragraphs.into_inner().expect("nobody panics with it").join("\n");
    place.write("Packages", 0o644, index.as_bytes()).host(tried)
}

/// Puts packages into the store, from the directory where apt's own are kept if they are there.
pub fn keep(sources: &[Source], later: &[Chosen], store: &Store, kept: &Path) -> Result<()> {
    at_once(later.len(), &|number| {
        let package = &later[number];
        let version = package.version.replace(':', "%3a");
        let file = kept.join(format!("{}_{version}_{}.deb", package.name, package.architecture));
        let here = format!("file://{}", file.display().to_string().replace('%', "%25"));
        let what = format!("package {} {}", package.name, package.version);
        let taken = Url::parse(&here).ok().filter(|_| file.exists()).map(|url| {
            // What is damaged there is fetched from the archive.
            store.by_digest(&url, &package.sha256, package.size, &what)
        });
        match taken {
            Some(Ok(_)) => Ok(()),
            _ => fetch(sources, package, store).map(drop),
        }
    })
}

/// Does something for each number below a count, several at once.
fn at_once(count: usize, each: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..FETCHES)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        match next.fetch_add(1, Ordering::Relaxed) {
                            number if number < count => each(number)?,
                            _ => return Ok(()),
                        }
                    }
                })
            })
            .collect();
        let mut joined = workers
            .into_iter()
            .map(|one| one.join().expect("a worker does not panic"));
        joined.try_for_each(|done| done)
    })
}

/// Lays one package there; its paragraph of the index.
fn lay_one(sources: &[Source], package: &Chosen, store: &Store, place: &Rooted) -> Result<String> {
    let tried = || {
        format!(
            "cannot lay package {} {} into the tree",
            package.name, package.version
        )
    };
    let path = fetch(sources, package, store)?;
    let control = Deb::open(&path).and_then(|deb| deb.control()).host(tried)?;
    let name = format!("{}.deb", package.sha256);
    let mut copy = place.create(name.as_bytes(), 0o644).host(tried)?;
    io::copy(&mut File::open(&path).host(tried)?, &mut copy).host(tried)?;
    Ok(format!(
        "{}\nFilename: ./{name}\nSize: {}\nSHA256: {}\n",
        control.text.trim(),
        package.size,
        package.sha256
    ))
}

/// Adds to a lock what `apt-get download --print-uris` says of packages that were installed since.
pub fn add(lock: &mut Lock, uris: &str) -> Result<()> {
    for line in uris.lines().filter(|line| line.starts_with('\'')) {
        let wrong = || Error::new(Kind::Host, format!("apt's line makes no sense: {line}"));
        let package = printed(line).ok_or_else(wrong)?;
        let same = |other: &Chosen| other.sha256 == package.sha256;
        if !lock.packages.iter().chain(&lock.later).any(same) {
            lock.later.push(package);
        }
    }
    lock.later
        .sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    Ok(())
}

/// A package as apt prints it: `'ADDRESS' NAME_VERSION_ARCHITECTURE.deb SIZE SHA256:DIGEST`.
fn printed(line: &str) -> Option<Chosen> {
    let (address, rest) = line.strip_prefix('\'')?.split_once("' ")?;
    let mut words = rest.split_whitespace();
    let (file, size, digest) = (words.next()?, words.next()?, words.next()?);
    let sha256 = digest
        .strip_prefix("SHA256:")
        .filter(|digest| is_sha256(digest))?;
    let decode = |text: &str| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
    let file = decode(file.strip_suffix(".deb")?)?;
    let mut parts = file.split('_');
    let (name, version, architecture) = (parts.next()?, parts.next()?, parts.next()?);
    let at = address.find("/pool/").or_else(|| address.rfind('/'))?;
    let filename = decode(&address[at + 1..])?;
    is_below(&filename).then_some(())?;
    Some(Chosen {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: architecture.to_owned(),
        sha256: sha256.to_ascii_lowercase(),
        size: size.parse().ok()?,
        archive: crate::fetch::url::without_user(&address[..at]),
        filename,
        essential: false,
        automatic: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_prints_is_added_once() {
        let sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let line = |name: &str, sum: &str| {
            format!(
                "'http://u:p@h/debian/pool/main/l/{name}_2%2bx~1_all.deb' {name}_1%3a2+x~1_all.deb 7 SHA256:{sum}"
            )
        };
        let mut lock = Lock::new("x", "amd64", &[], Vec::new());
        let other = sum.replace('e', "f");
        let text = format!("Reading\n{}\n{}\n{0}\n", line("b", sum), line("a", &other));
        add(&mut lock, &text.replace("{0}", &line("b", sum))).unwrap();
        let names: Vec<_> = lock.later.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let first = &lock.later[0];
        assert_eq!(
            (first.version.as_str(), first.archive.as_str()),
            ("1:2+x~1", "http://h/debian")
        );
        assert_eq!(first.filename, "pool/main/l/a_2+x~1_all.deb");
        assert_eq!(Lock::parse(&lock.text()).unwrap(), lock);
        assert!(add(&mut lock, "'http://h/x' x 1 MD5:abc\n").is_err());
    }
}
