//! `.deb`: an `ar` archive of two tar archives, what a package says of itself and what it brings.
//!
//! Spec: deb(5). Both may be compressed by gzip, xz or zstd; their first bytes say by which.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use tar::Archive;

use super::deb822::Paragraph;
use crate::unpack::{UnpackError, decompressed};

/// More than a package says of itself.
const CONTROL_MAX: u64 = 64 << 20;

/// A package file.
#[derive(Clone, Debug)]
pub struct Deb {
    file: Arc<File>,
    control: Range<u64>,
    data: Range<u64>,
}

/// What a package says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// The paragraph.
    pub text: String,
    /// The files beside it: scripts, lists, triggers.
    pub files: Vec<ControlFile>,
}

/// A file of the control archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlFile {
    /// Its name.
    pub name: String,
    /// Its mode.
    pub mode: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Why a file is no package.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// It is no `ar` archive, or ends early.
    #[error("it is no Debian package: {0}")]
    Form(&'static str),
}

impl Control {
    /// The bytes of a file.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        let found = self.files.iter().find(|file| file.name == name);
        found.map(|file| file.bytes.as_slice())
    }

    /// The lines of a file, without blanks around them.
    pub fn lines(&self, name: &str) -> impl Iterator<Item = &str> {
        let text = self
            .file(name)
            .map_or("", |bytes| std::str::from_utf8(bytes).unwrap_or_default());
        text.lines().map(str::trim).filter(|line| !line.is_empty())
    }

    /// A field of the paragraph.
    pub fn field(&self, name: &str) -> &str {
        Paragraph::first(&self.text)
            .and_then(|paragraph| paragraph.get(name))
            .unwrap_or_default()
    }
}

impl Deb {
    /// Opens a package and finds its two archives.
    pub fn open(path: &Path) -> Result<Self, DebError> {
        Self::of(File::open(path)?)
    }

    /// Finds the two archives of an open package.
    pub fn of(file: File) -> Result<Self, DebError> {
        let len = file.metadata()?.len();
        let mut magic = [0; 8];
        file.read_exact_at(&mut magic, 0)
            .map_err(|_| DebError::Form("it is too short"))?;
        if &magic != b"!<arch>\n" {
            return Err(DebError::Form("it does not begin as one"));
        }
        let (mut at, mut control, mut data, mut first) = (8, None, None, true);
        while at < len && data.is_none() {
            let mut header = [0; 60];
            file.read_exact_at(&mut header, at)
                .map_err(|_| DebError::Form("a member ends early"))?;
            let (name, size) = member(&header).ok_or(DebError::Form("a member has no header"))?;
            let start = at + 60;
            let end = start.checked_add(size).filter(|end| *end <= len);
            let end = end.ok_or(DebError::Form("a member ends early"))?;
            if first && name != "debian-binary" {
                return Err(DebError::Form("its first member is not debian-binary"));
            }
            first = false;
            match name.split('.').next() {
                Some("control") if name.starts_with("control.tar") => control = Some(start..end),
                Some("data") if name.starts_with("data.tar") => data = Some(start..end),
                _ => {}
            }
            at = end + size % 2;
        }
        Ok(Self {
            file: Arc::new(file),
            control: control.ok_or(DebError::Form("it has no control.tar"))?,
            data: data.ok_or(DebError::Form("it has no data.tar"))?,
        })
    }

    /// What it says of itself.
    pub fn control(&self) -> Result<Control, DebError> {
        let reader = decompressed(self.section(&self.control))?;
        let mut archive = Archive::new(reader.take(CONTROL_MAX));
        let mut control = Control::default();
        for entry in archive.entries()? {
            let mut entry = entry?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let name = path.trim_start_matches("./").to_owned();
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+.".contains(&byte);
            if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
                return Err(DebError::Form("its control.tar has a file of an odd name"));
            }
            let mode = entry.header().mode()? & 0o7777;
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            if name == "control" {
                control.text =
                    String::from_utf8(bytes).map_err(|_| DebError::Form("its control is not UTF-8"))?;
            } else {
                control.files.push(ControlFile { name, mode, bytes });
            }
        }
        if control.text.trim().is_empty() {
            return Err(DebError::Form("its control.tar has no control"));
        }
        Ok(control)
    }

    /// The archive of what it brings.
    pub fn data(&self) -> Result<Archive<Box<dyn Read>>, DebError> {
        Ok(Archive::new(decompressed(self.section(&self.data))?))
    }

    fn section(&self, range: &Range<u64>) -> Section {
        Section {
            file: Arc::clone(&self.file),
            range: range.clone(),
        }
    }
}

/// Name and size of a member, from its header.
fn member(header: &[u8; 60]) -> Option<(&str, u64)> {
    let text = std::str::from_utf8(header).ok()?;
    let magic = text.get(58..)?;
    let name = text.get(..16)?.trim_end().trim_end_matches('/');
    let size = text.get(48..58)?.trim_end().parse().ok()?;
    (magic == "`\n").then_some((name, size))
}

/// A part of a file.
struct Section {
    file: Arc<File>,
    range: Range<u64>,
}

impl Read for Section {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.range.end.saturating_sub(self.range.start);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let read = self.file.read_at(&mut buf[..len], self.range.start)?;
        if read == 0 && len > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.range.start += read as u64;
        Ok(read)
    }
}
