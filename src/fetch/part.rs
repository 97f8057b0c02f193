//! What a download has so far: bytes in a file, and enough beside them to go on where it stopped.
//!
//! Invariants:
//! - `digest` is that of the first `len` bytes of `file`, which is no longer than that.
//! - `validator` names the version that they belong to; without one nothing is ever appended to them.
//!
//! Within one run a broken connection costs nothing. Across runs, notes beside the file say up to where the bytes are
//! known to be on the disk, and their digest: what a crash left behind is only taken if it has that digest.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::hex;

/// How many bytes may pass between two notes.
const NOTE_EVERY: u64 = 16 << 20;

/// A download under way.
#[derive(Debug)]
pub struct Part {
    file: File,
    len: u64,
    digest: Sha256,
    validator: Option<String>,
    notes: Option<Notes>,
}

/// Where the notes are, and how far they are behind.
#[derive(Debug)]
struct Notes {
    path: PathBuf,
    url: String,
    noted: u64,
}

/// The notes on the disk.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    url: String,
    validator: String,
    len: u64,
    sha256: String,
}

impl Part {
    /// A download into an empty file.
    pub fn new(file: File) -> Self {
        Self {
            file,
            len: 0,
            digest: Sha256::new(),
            validator: None,
            notes: None,
        }
    }

    /// A download into a file which an earlier run may have left, with notes at `notes`.
    pub fn resume(file: File, notes: &Path, url: &str) -> io::Result<Self> {
        let mut part = Self::new(file);
        part.notes = Some(Notes {
            path: notes.to_owned(),
            url: url.to_owned(),
            noted: 0,
        });
        let text = std::fs::read(notes).unwrap_or_default();
        let note = serde_json::from_slice(&text).ok();
        if let Some(note) = note.filter(|note: &Note| note.url == url) {
            part.file.seek(SeekFrom::Start(0))?;
            let (len, digest) = digest_of(Read::by_ref(&mut part.file).take(note.len))?;
            if len == note.len && hex(&digest.clone().finalize()) == note.sha256 {
                part.len = len;
                part.digest = digest;
                part.validator = Some(note.validator);
                part.file.set_len(len)?;
                part.file.seek(SeekFrom::Start(len))?;
                return Ok(part);
            }
        }
        part.restart()?;
        Ok(part)
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The SHA-256 of the bytes.
    pub fn sha256(&self) -> String {
        hex(&self.digest.clone().finalize())
    }

    /// The version that the bytes belong to, where that is known.
    pub(super) fn validator(&self) -> Option<&str> {
        self.validator.as_deref()
    }

    /// Forgets the bytes.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.validator = None;
        self.len = 0;
        self.digest = Sha256::new();
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.forget()
    }

    /// Begins with the first byte of a version.
    pub(crate) fn begin(&mut self, validator: Option<String>) -> io::Result<()> {
        self.restart()?;
        self.validator = validator;
        Ok(())
    }

    /// Takes the next bytes.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.digest.update(bytes);
        self.len += bytes.len() as u64;
        self.note()
    }

    /// Removes the notes: there is nothing to go on with.
    pub fn forget(&mut self) -> io::Result<()> {
        let Some(notes) = &mut self.notes else {
            return Ok(());
        };
        notes.noted = 0;
        match std::fs::remove_file(&notes.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn note(&mut self) -> io::Result<()> {
        let (Some(notes), Some(validator)) = (&mut self.notes, &self.validator) else {
            return Ok(());
        };
        if self.len < notes.noted + NOTE_EVERY {
            return Ok(());
        }
        notes.noted = self.len;
        self.file.sync_data()?;
        let note = Note {
            url: notes.url.clone(),
            validator: validator.clone(),
            len: self.len,
            sha256: hex(&self.digest.clone().finalize()),
        };
        std::fs::write(&notes.path, serde_json::to_vec(&note)?)
    }
}

/// The length of what a reader has, and the state of its SHA-256.
pub(crate) fn digest_of(mut reader: impl Read) -> io::Result<(u64, Sha256)> {
    let (mut digest, mut len) = (Sha256::new(), 0);
    let mut buf = vec![0; 256 * 1024];
    loop {
        match reader.read(&mut buf) {
            Ok(0) => return Ok((len, digest)),
            Ok(read) => {
                digest.update(&buf[..read]);
                len += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> File {
        File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .unwrap()
    }

    #[test]
    fn only_what_the_notes_vouch_for_is_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        let (path, notes) = (dir.path().join("part"), dir.path().join("notes"));
        let begin = || {
            let mut part = Part::resume(open(&path), &notes, "http://h/x").unwrap();
            part.begin(Some("\"v1\"".into())).unwrap();
            let piece = vec![7; 10 << 20];
            (0..3).for_each(|_| part.append(&piece).unwrap());
        };
        begin();
        // Notes were taken at 20 MiB of 30.
        let again = Part::resume(open(&path), &notes, "http://h/x").unwrap();
        assert_eq!((again.len(), again.validator()), (20 << 20, Some("\"v1\"")));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 20 << 20);
        let other = Part::resume(open(&path), &notes, "http://h/y").unwrap();
        assert!(other.is_empty() && other.validator().is_none());
        begin();
        let damaged = open(&path);
        std::os::unix::fs::FileExt::write_all_at(&damaged, b"x", 5).unwrap();
        assert!(
            Part::resume(open(&path), &notes, "http://h/x")
                .unwrap()
                .is_empty()
        );
        assert!(!notes.exists());
    }
}
