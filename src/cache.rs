//! The cache: files that were fetched once, under `DIB_IMAGE_CACHE`, for builds to come and builds at the same time.
//!
//! Beside an entry `NAME` stands `NAME.dib-meta`, a line of JSON that says where it came from, its length and its SHA-256.
//! It is a file, not an attribute, so that it goes along when a cache is packed, copied or restored.
//!
//! Invariants:
//! - An entry appears whole or not at all: it is written as `.NAME.dib-part`, synced, then renamed.
//! - In between there is a moment without `NAME.dib-meta`, but never one with another entry's.
//! - Who makes or judges an entry holds its lock, so that of two builds one waits, and then finds it.
//!
//! An entry that is not what its meta says is damaged: it is fetched again. One without a meta, made by other programs or
//! by a hook, is taken as it is, and gets its meta when the server says that it is still right.

pub mod lock;
pub mod registry;

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::fetch::error::FetchError;
use crate::fetch::part::{Part, digest_of};
use crate::fetch::url::Url;
use crate::fetch::{Answer, Fetcher, Known, Request, Version, hex};
use crate::ui;
use lock::Lock;

/// What is said of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The address that it came from, without user information.
    pub url: String,
    /// Its bytes.
    pub size: u64,
    /// Their SHA-256.
    pub sha256: String,
    /// The server's name for the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// When the server says that it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

/// A place in the cache.
#[derive(Clone, Debug)]
pub struct Entry {
    path: PathBuf,
}

/// What is in a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing, or an empty file.
    Absent,
    /// A file that nothing is said of.
    Unknown,
    /// A file that is what its meta says.
    Sound(Meta),
    /// A file that is not.
    Damaged {
        /// How it differs.
        how: String,
    },
}

/// How an entry is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish<'a> {
    /// Whether it must come from the server itself, now.
    pub force: bool,
    /// Whether what is there is taken without asking.
    pub offline: bool,
    /// Whether the address never names anything else: what is sound is taken without asking.
    pub fixed: bool,
    /// The SHA-256 that it must have.
    pub sha256: Option<&'a str>,
    /// How many bytes it may have.
    pub len_max: Option<u64>,
}

/// What was done for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was there, and nobody was asked.
    Found,
    /// The server has no other.
    Kept,
    /// It was fetched.
    Fetched,
}

/// Why there is no entry.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The cache itself is at fault.
    #[error(transparent)]
    Cache(#[from] Error),
}

impl Entry {
    /// The entry at `path`, if that lies in the cache of this environment.
    pub fn in_cache(path: &Path, environment: &Environment) -> Option<Self> {
        let cache = Path::new(environment.non_empty("DIB_IMAGE_CACHE")?)
            .canonicalize()
            .ok()?;
        let parent = match path.parent()? {
            parent if parent.as_os_str().is_empty() => Path::new("."),
            parent => parent,
        };
        let parent = parent.canonicalize().ok()?;
        let path = parent.join(path.file_name()?);
        parent.starts_with(&cache).then_some(Self { path })
    }

    /// The entry at a path of which the caller knows that it lies in a cache.
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file beside it.
    fn beside(&self, before: &str, after: &str) -> PathBuf {
        let mut name = std::ffi::OsString::from(before);
        name.push(self.path.file_name().unwrap_or_default());
        name.push(after);
        self.path.with_file_name(name)
    }

    fn meta_path(&self) -> PathBuf {
        self.beside("", ".dib-meta")
    }

    /// What is there. Reads all of it.
    pub fn state(&self) -> Result<State> {
        let tried = || format!("cannot read {} of the cache", self.path.display());
        let file = match File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&self.path)
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Absent),
            other => other.host(tried)?,
        };
        let found = file.metadata().host(tried)?;
        if !found.is_file() {
            let message = format!("{} of the cache is no regular file", self.path.display());
            return Err(Error::new(Kind::Host, message).hint("remove it"));
        }
        if found.len() == 0 {
            return Ok(State::Absent);
        }
        let text = match fs::read(self.meta_path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Unknown),
            other => other.host(tried)?,
        };
        let Ok(meta) = serde_json::from_slice::<Meta>(&text) else {
            let how = format!("{} makes no sense", self.meta_path().display());
            return Ok(State::Damaged { how });
        };
        if found.len() != meta.size {
            let how = format!("it has {} bytes, not {}", found.len(), meta.size);
            return Ok(State::Damaged { how });
        }
        let (_, digest) = digest_of(file).host(tried)?;
        let sha256 = hex(&sha2::Digest::finalize(digest));
        if sha256 != meta.sha256 {
            let how = format!("its SHA-256 is {sha256}, not {}", meta.sha256);
            return Ok(State::Damaged { how });
        }
        Ok(State::Sound(meta))
    }

    /// Makes the entry what the server has, as far as the wish goes.
    pub fn obtain(
        &self,
        fetcher: &Fetcher,
        url: &Url,
        wish: Wish<'_>,
        environment: &Environment,
    ) -> Result<Done, CacheError> {
        let _lock = Lock::of_entry(&self.path, environment)?;
        let state = self.state()?;
        let known = self.known(&state, url, wish)?;
        if (wish.offline || wish.fixed) && !wish.force && known.is_some() {
            return Ok(Done::Found);
        }
        let request = Request {
            url,
            unless: known.filter(|_| !wish.force),
            reload: wish.force,
            sha256: wish.sha256.map(str::to_owned),
            len_max: wish.len_max,
        };
        let (path, notes) = (self.beside(".", ".dib-part"), self.beside(".", ".dib-part-meta"));
        let tried = || format!("cannot write {}", path.display());
        let mut part = open_part(&path)
            .and_then(|file| Part::resume(file, &notes, &url.to_string()))
            .host(tried)?;
        let answer = fetcher.fetch(&request, &mut part);
        if matches!(answer, Ok(Answer::Fetched(_))) || part.is_empty() || answer.is_ok() {
            part.forget().host(tried)?;
        }
        match answer {
            Ok(Answer::Fetched(version)) => {
                self.put(&part, &path, url, version)?;
                Ok(Done::Fetched)
            }
            Ok(Answer::Kept) => {
                fs::remove_file(&path).host(tried)?;
                if state == State::Unknown {
                    self.adopt(url)?;
                }
                Ok(Done::Kept)
            }
            Err(error) => {
                if !notes.exists() {
                    fs::remove_file(&path).host(tried)?;
                }
                Err(error.into())
            }
        }
    }

    /// The SHA-256 of what is there, as its meta says, or as it is where nothing says that.
    pub fn sha256(&self) -> Result<String> {
        let text = fs::read(self.meta_path()).unwrap_or_default();
        if let Ok(meta) = serde_json::from_slice::<Meta>(&text) {
            return Ok(meta.sha256);
        }
        let tried = || format!("cannot read {} of the cache", self.path.display());
        let (_, digest) = File::open(&self.path).and_then(digest_of).host(tried)?;
        Ok(hex(&sha2::Digest::finalize(digest)))
    }

    /// What the server may be asked to spare us; `None`: nothing that is there can be used.
    fn known(&self, state: &State, url: &Url, wish: Wish<'_>) -> Result<Option<Known>> {
        let etag = match state {
            State::Absent => return Ok(None),
            State::Damaged { how } => {
                let message = format!("{} of the cache is damaged: {how}", self.path.display());
                if wish.offline && !wish.force {
                    let error = Error::new(Kind::Host, message);
                    return Err(error.hint("without --offline it is fetched again"));
                }
                ui::warn(format_args!("{message}; fetching it again"));
                return Ok(None);
            }
            // Another address has other versions; offline nobody can be asked which is meant.
            State::Sound(meta) if meta.url != url.to_string() && !wish.offline && !wish.fixed => {
                return Ok(None);
            }
            State::Sound(meta)
                if wish
                    .sha256
                    .is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&meta.sha256)) =>
            {
                return Ok(None);
            }
            State::Sound(meta) => meta.etag.clone(),
            State::Unknown if wish.sha256.is_some() => return Ok(None),
            State::Unknown => None,
        };
        known_file(&self.path, etag).host(|| format!("cannot read {} of the cache", self.path.display()))
    }

    /// Puts a whole part into the place.
    fn put(&self, part: &Part, path: &Path, url: &Url, version: Version) -> Result<()> {
        let tried = || format!("cannot put {} into the cache", self.path.display());
        let meta = Meta {
            url: url.to_string(),
            size: part.len(),
            sha256: part.sha256(),
            etag: version.etag,
            last_modified: version.last_modified,
        };
        self.place(part.file(), path, &meta).host(tried)
    }

    /// Puts a whole file at `path` into the place.
    fn place(&self, file: &File, path: &Path, meta: &Meta) -> io::Result<()> {
        file.sync_all()?;
        match fs::remove_file(self.meta_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(path, &self.path)?;
        self.write_meta(meta)
    }

    /// Makes the entry of what somebody writes, whole or not at all. `what` stands where other entries have an address.
    pub fn keep(
        &self,
        what: &str,
        environment: &Environment,
        write: impl FnOnce(&mut dyn io::Write) -> Result<()>,
    ) -> Result<()> {
        let _lock = Lock::of_entry(&self.path, environment)?;
        let tried = || format!("cannot put {} into the cache", self.path.display());
        let path = self.beside(".", ".dib-part");
        let mut file = open_part(&path).host(tried)?;
        file.set_len(0).host(tried)?;
        let mut digested = Digested {
            file: io::BufWriter::new(&mut file),
            digest: Sha256::default(),
            len: 0,
        };
        let written = write(&mut digested).and_then(|()| io::Write::flush(&mut digested).host(tried));
        let meta = Meta {
            url: what.to_owned(),
            size: digested.len,
            sha256: hex(&sha2::Digest::finalize(digested.digest.clone())),
            etag: None,
            last_modified: None,
        };
        drop(digested);
        let placed = written.and_then(|()| self.place(&file, &path, &meta).host(tried));
        if placed.is_err() {
            // What is told is why it failed, not that a rest of it stays.
            let _ = fs::remove_file(&path);
        }
        placed
    }

    /// Says of an entry without a meta what it is.
    fn adopt(&self, url: &Url) -> Result<()> {
        let tried = || format!("cannot read {} of the cache", self.path.display());
        let (size, digest) = File::open(&self.path).and_then(digest_of).host(tried)?;
        let meta = Meta {
            url: url.to_string(),
            size,
            sha256: hex(&sha2::Digest::finalize(digest)),
            etag: None,
            last_modified: None,
        };
        self.write_meta(&meta).host(tried)
    }

    fn write_meta(&self, meta: &Meta) -> io::Result<()> {
        let path = self.beside(".", ".dib-meta-part");
        let mut text = serde_json::to_vec(meta)?;
        text.push(b'\n');
        write_part(&path, &text)?;
        fs::rename(&path, self.meta_path())?;
        match self.path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }
}

/// A file that is digested while it is written.
struct Digested<'a> {
    file: io::BufWriter<&'a mut File>,
    digest: Sha256,
    len: u64,
}

impl io::Write for Digested<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        sha2::Digest::update(&mut self.digest, &bytes[..written]);
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// What a file is to a server that is asked whether it has another; `None`: nothing.
pub(crate) fn known_file(path: &Path, etag: Option<String>) -> io::Result<Option<Known>> {
    let meta = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if !meta.is_file() || meta.len() == 0 {
        return Ok(None);
    }
    let time = meta.modified()?;
    Ok(Some(Known {
        time,
        len: meta.len(),
        etag,
    }))
}

/// Opens a file to write, whatever is in it, and follows no link. What root makes belongs to whose the directory is:
/// a build that was started through sudo leaves its user a cache of his own.
fn open_part(path: &Path) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.nlink() > 1 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a file of our own",
        ));
    }
    belong_to_parent(&file, path)?;
    Ok(file)
}

/// Puts a text in the place of a file, whole or not at all.
pub(crate) fn replace_text(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut part = std::ffi::OsString::from(".");
    part.push(name);
    part.push(".dib-part");
    let part = path.with_file_name(part);
    write_part(&part, text.as_bytes())?;
    fs::rename(&part, path)
}

/// Writes what is to be renamed; nothing of it stays where it cannot be written whole.
fn write_part(part: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = open_part(part)?;
    let write = || {
        file.set_len(0)?;
        io::Write::write_all(&mut &file, bytes)?;
        file.sync_all()
    };
    write().inspect_err(|_| {
        // What is told is why it failed, not that a rest of it stays.
        let _ = fs::remove_file(part);
    })
}

/// Gives a file that root made to the owner of its directory.
pub(crate) fn belong_to_parent(file: &File, path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    let (dir, own) = (fs::metadata(parent)?, file.metadata()?);
    if !rustix::process::geteuid().is_root()
        || (dir.uid(), dir.gid()) == (own.uid(), own.gid())
        || dir.uid() == 0
    {
        return Ok(());
    }
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(dir.uid()),
        rustix::fs::Gid::from_raw(dir.gid()),
    );
    Ok(rustix::fs::fchown(file.as_fd(), Some(uid), Some(gid))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn entry(dir: &Path, bytes: &str) -> Entry {
        let entry = Entry::at(&dir.join("entry"));
        fs::write(entry.path(), bytes).unwrap();
        entry.adopt(&Url::parse("http://h/x").unwrap()).unwrap();
        entry
    }

    #[test]
    fn every_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let damages = [
            ("it has 6 bytes, not 7", "entry", "conten"),
            ("its SHA-256 is", "entry", "cantent"),
            ("makes no sense", "entry.dib-meta", "{}"),
            ("makes no sense", "entry.dib-meta", ""),
        ];
        for (told, file, damage) in damages {
            let entry = entry(dir.path(), "content");
            assert!(matches!(entry.state().unwrap(), State::Sound(_)));
            fs::write(dir.path().join(file), damage).unwrap();
            let State::Damaged { how } = entry.state().unwrap() else {
                panic!("{told}")
            };
            assert!(how.contains(told), "{how}");
        }
        let entry = entry(dir.path(), "content");
        fs::remove_file(entry.meta_path()).unwrap();
        assert_eq!(entry.state().unwrap(), State::Unknown);
        fs::write(entry.path(), "").unwrap();
        assert_eq!(entry.state().unwrap(), State::Absent);
        fs::remove_file(entry.path()).unwrap();
        assert_eq!(entry.state().unwrap(), State::Absent);
        fs::create_dir(entry.path()).unwrap();
        assert!(entry.state().unwrap_err().to_string().contains("no regular file"));
    }

    #[test]
    fn only_what_lies_in_the_cache_is_an_entry() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        fs::create_dir_all(cache.join("below")).unwrap();
        symlink(&cache, dir.path().join("link")).unwrap();
        let mut environment = Environment::default();
        let within = |path: &str, environment: &Environment| {
            Entry::in_cache(&dir.path().join(path), environment).is_some()
        };
        assert!(!within("cache/x", &environment));
        environment.set("DIB_IMAGE_CACHE", dir.path().join("link"));
        for (path, is) in [
            ("cache/x", true),
            ("cache/below/x", true),
            ("link/x", true),
            ("cache/../x", false),
            ("x", false),
            ("cache/absent/x", false),
        ] {
            assert_eq!(within(path, &environment), is, "{path}");
        }
    }

    #[test]
    fn parts_are_files_of_our_own() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, "x").unwrap();
        symlink(&target, &link).unwrap();
        assert!(open_part(&link).is_err());
        fs::remove_file(&link).unwrap();
        fs::hard_link(&target, &link).unwrap();
        assert!(open_part(&link).is_err());
        fs::remove_file(&target).unwrap();
        assert!(open_part(&link).is_ok());
    }
}
