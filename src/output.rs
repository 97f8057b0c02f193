//! Outputs: an image in its format, written beside its final name, synced, digested, and only then given the name.
//!
//! Whoever looks at the name sees the old image or the whole new one, never a part, whatever ends the program: the
//! new one is a file without a name until it is complete. Where the file system knows no such files it has a hidden
//! name, which the next save of the same output takes over.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use image_core::sink::FileSink;
use image_core::{Map, Store};
use image_formats::qcow2;
use md5::{Digest, Md5};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
use sha2::Sha256;

use crate::clock::Moment;
use crate::error::{Context, Error, Kind, Result};
use crate::settings::Checksums;
use crate::suggest::nearest;
use crate::ui;

/// A format of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// QEMU's copy-on-write image.
    Qcow2,
    /// The disk itself, as a sparse file.
    Raw,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 2] = [Format::Qcow2, Format::Raw];
}

/// Types that the original program names in its help, and this one does not write.
const ELSEWHERE: [&str; 6] = ["aci", "docker", "squashfs", "tar", "tgz", "vhd"];

/// Its word on the command line, which is also the suffix of its files.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Qcow2 => "qcow2",
            Format::Raw => "raw",
        })
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let found = Format::ALL.into_iter().find(|format| format.to_string() == word);
        found.ok_or_else(|| {
            let all = Format::ALL.map(|format| format.to_string());
            if ELSEWHERE.contains(&word) {
                return Error::usage(format!("this version writes no image of type '{word}'"))
                    .hint(format!("the types are {}", all.join(", ")));
            }
            let error = Error::usage(format!("unknown image type '{word}'"));
            match nearest(word, all.iter().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean {near}?")),
                None => error.hint(format!("the types are {}", all.join(", "))),
            }
        })
    }
}

/// How outputs are written and saved.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The name of the outputs without the suffix.
    pub name: String,
    /// Whether formats that can compress do.
    pub compress: bool,
    /// Options of qcow2.
    pub qcow2: qcow2::Options,
    /// Which digests are written beside each output.
    pub checksums: Checksums,
    /// Whether an older output goes instead of getting another name.
    pub overwrite: bool,
    /// The permissions of outputs.
    pub mode: u32,
}

/// Reads the options of qcow2.
pub fn qcow2_options(text: Option<&str>) -> Result<qcow2::Options> {
    let parsed = text.map(qcow2::Options::parse).transpose();
    let parsed = parsed.map_err(|error| Error::usage("--qemu-img-options").because(error))?;
    Ok(parsed.unwrap_or_default())
}

/// Writes and saves an image in every format asked for.
pub fn write_all(map: &Map, store: &impl Store, formats: &[Format], rules: &Rules) -> Result<()> {
    for format in formats {
        let path = PathBuf::from(format!("{}.{format}", rules.name));
        save(&path, rules, |file| write(map, store, *format, rules, file))
            .map_err(|error| error.within(&path))?;
        ui::note(format_args!("Image file {} created...", path.display()));
    }
    Ok(())
}

/// Writes an image into a fresh file.
fn write(map: &Map, store: &impl Store, format: Format, rules: &Rules, file: File) -> Result<File> {
    let tried = || "cannot write the image".to_owned();
    match format {
        Format::Qcow2 if rules.compress => {
            let mut sink = qcow2::CompressedSink::new(file, map.len(), &rules.qcow2).image(tried)?;
            image_core::copy(map, store, &mut sink).image(tried)?;
            Ok(sink.into_inner())
        }
        Format::Qcow2 => {
            let map = qcow2::plan(map, &rules.qcow2).image(tried)?;
            let mut sink = FileSink::new(file);
            image_core::copy(&map, store, &mut sink).image(tried)?;
            Ok(sink.into_inner())
        }
        Format::Raw => {
            let mut sink = FileSink::new(file);
            image_core::copy(map, store, &mut sink).image(tried)?;
            Ok(sink.into_inner())
        }
    }
}

/// Saves what `write` makes of a fresh file under its final name, and its digests beside it.
fn save(path: &Path, rules: &Rules, write: impl FnOnce(File) -> Result<File>) -> Result<()> {
    let tried = || format!("cannot save {}", path.display());
    let fresh = Fresh::create(path, rules.mode).image(tried)?;
    let mut file = write(fresh.file.try_clone().image(tried)?)?;
    file.sync_all().image(tried)?;
    let digests = digests(&mut file, path, rules.checksums).image(tried)?;
    if !rules.overwrite {
        keep_old(path).image(tried)?;
    }
    fresh.publish(path).image(tried)?;
    for suffix in ["md5", "sha256"] {
        let beside = suffixed(path, suffix);
        match digests.iter().find(|(name, _)| *name == suffix) {
            Some((_, line)) => {
                let fresh = Fresh::create(&beside, rules.mode).image(tried)?;
                io::Write::write_all(&mut &fresh.file, line.as_bytes()).image(tried)?;
                fresh.publish(&beside).image(tried)?;
            }
            // A digest of an image that is no more would only mislead.
            None => match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).image(tried),
                _ => {}
            },
        }
    }
    Ok(())
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// Gives an older output and its digests a name with the time in it. The old name stays until the new image takes it.
fn keep_old(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file()) {
        return Ok(());
    }
    let stem = path.file_stem().unwrap_or_default();
    let mut kept = stem.to_owned();
    kept.push(format!("-{}", Moment::now().in_file_name()));
    if let Some(extension) = path.extension() {
        kept.push(".");
        kept.push(extension);
    }
    let kept = path.with_file_name(kept);
    for suffix in [None, Some("md5"), Some("sha256")] {
        let named = |path: &Path| suffix.map_or_else(|| path.to_owned(), |suffix| suffixed(path, suffix));
        let (from, to) = (named(path), named(&kept));
        if !from.exists() {
            continue;
        }
        match fs::hard_link(&from, &to) {
            // Two builds in one second: the later old image is the one to keep.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::rename(&from, &to)?,
            // A file system without hard links: for a moment there is no image of the old name.
            Err(_) => fs::rename(&from, &to)?,
            Ok(()) => {}
        }
    }
    ui::note(format_args!(
        "the old {} is now {}",
        path.display(),
        kept.display()
    ));
    Ok(())
}

/// A file that is not yet what it will be called.
struct Fresh {
    file: File,
    /// Its hidden name, where the file system knows no files without names.
    hidden: Option<PathBuf>,
}

impl Fresh {
    fn create(path: &Path, mode: u32) -> io::Result<Self> {
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let mode = Mode::from_raw_mode(mode);
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let (file, name) = match open(dir, flags | OFlags::TMPFILE, mode) {
            Ok(fd) => (File::from(fd), None),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
                let name = hidden(path);
                let _ = fs::remove_file(&name);
                let fd = open(&name, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
                (File::from(fd), Some(name))
            }
            Err(error) => return Err(error.into()),
        };
        rustix::fs::fchmod(&file, mode)?;
        Ok(Self { file, hidden: name })
    }

    /// Gives the file its name, in one step.
    fn publish(self, path: &Path) -> io::Result<()> {
        let Some(name) = &self.hidden else {
            let magic = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
            let link = |to: &Path| linkat(CWD, &magic, CWD, to, AtFlags::SYMLINK_FOLLOW);
            return match link(path) {
                Err(rustix::io::Errno::EXIST) => {
                    let name = hidden(path);
                    let _ = fs::remove_file(&name);
                    link(&name)?;
                    fs::rename(&name, path)
                }
                other => Ok(other?),
            };
        };
        fs::rename(name, path)
    }
}

fn hidden(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().as_bytes().to_vec();
    let name = [b".", &name[..], b".dib-new"].concat();
    path.with_file_name(<std::ffi::OsStr as OsStrExt>::from_bytes(&name))
}

/// The lines of the digests' files, in the format of coreutils. What is digested is what the file holds.
fn digests(file: &mut File, path: &Path, which: Checksums) -> io::Result<Vec<(&'static str, String)>> {
    if which == Checksums::default() {
        return Ok(Vec::new());
    }
    io::Seek::rewind(file)?;
    let (mut md5, mut sha256) = (which.md5.then(Md5::new), which.sha256.then(Sha256::new));
    let mut buf = vec![0; 1 << 20];
    loop {
        let len = file.read(&mut buf)?;
        if len == 0 {
            break;
        }
        std::thread::scope(|scope| {
            let bytes = &buf[..len];
            if let Some(md5) = &mut md5 {
                scope.spawn(move || md5.update(bytes));
            }
            if let Some(sha256) = &mut sha256 {
                sha256.update(bytes);
            }
        });
    }
    let hex = |bytes: &[u8]| {
        let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        digits.concat()
    };
    let line = |digest: String| format!("{digest}  {}\n", path.display());
    let md5 = md5.map(|md5| ("md5", line(hex(&md5.finalize()))));
    let sha256 = sha256.map(|sha256| ("sha256", line(hex(&sha256.finalize()))));
    Ok(md5.into_iter().chain(sha256).collect())
}

impl Error {
    /// Says which output it was.
    fn within(self, path: &Path) -> Self {
        match self.kind() {
            Kind::Image => Error::new(Kind::Image, path.display().to_string()).because(self),
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn rules(overwrite: bool, md5: bool) -> Rules {
        Rules {
            name: String::new(),
            compress: true,
            qcow2: qcow2::Options::default(),
            checksums: Checksums { md5, sha256: md5 },
            overwrite,
            mode: 0o644,
        }
    }

    fn put(path: &Path, rules: &Rules, text: &str) {
        save(path, rules, |mut file| {
            file.write_all(text.as_bytes()).unwrap();
            Ok(file)
        })
        .unwrap();
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_old_output_is_kept_with_its_digests_or_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n.raw");
        put(&path, &rules(false, true), "one");
        let line = format!("{}  {}\n", "f97c5d29941bfb1b2fdab0874906ab82", path.display());
        assert_eq!(fs::read_to_string(dir.path().join("n.raw.md5")).unwrap(), line);
        put(&path, &rules(false, true), "two");
        let kept = names(dir.path());
        assert_eq!(kept.len(), 6, "{kept:?}");
        let old = kept
            .iter()
            .find(|name| name.starts_with("n-20") && !name.contains(".raw."))
            .unwrap();
        assert_eq!(fs::read(dir.path().join(old)).unwrap(), b"one");
        assert_eq!(fs::read(&path).unwrap(), b"two");
        put(&path, &rules(true, false), "three");
        assert_eq!(
            names(dir.path()).len(),
            4,
            "the digests of what was replaced are gone"
        );
        assert_eq!(fs::read(&path).unwrap(), b"three");
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n.raw");
        let failed = save(&path, &rules(false, true), |_| Err(Error::new(Kind::Image, "no")));
        assert!(failed.is_err());
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[test]
    fn unknown_formats_name_the_known() {
        let error = Format::from_str("vhdx").unwrap_err().to_string();
        assert!(error.contains("vhdx") && error.contains("qcow2, raw"), "{error}");
    }
}
