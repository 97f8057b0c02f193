//! Boot loaders without a disk: what stands in for GRUB's tools while hooks run, and what a disk boots of their work.
//!
//! GRUB's own tools ask the kernel for the device that holds a directory. Here no such device exists: the disk is a
//! plan. So the names of these tools lead to this program, which answers from the plan
//! (`block-device.json`), has the *tree's own* `grub-mkimage` make the images, lays files as `grub-install` does and
//! leaves a record of what shall be embedded in the disk. Who writes the partition table embeds it.
//!
//! | module | what it is |
//! |---|---|
//! | `words` | command lines as GRUB's tools read them |
//! | `answers` | what `grub-probe` and `grub-mkrelpath` say of a planned disk; pure |
//! | `install` | `grub-install`: images made, files laid, boot code recorded |
//! | `efi` | the way by which firmware boots removable disks; signed loaders where the tree has them |
//! | `substitute` | `grub-mkconfig` of the tree, with `grub-probe` answered by us for its one call |
//! | `uki` | a kernel and all that it needs as one program of UEFI |
//!
//! Facts about GRUB only, none of its code: <https://www.gnu.org/software/grub/manual/grub/grub.html>.

pub mod answers;
pub mod efi;
pub mod install;
pub mod substitute;
pub mod uki;
pub mod words;

use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::blockdevice::facts::{FILE, Facts};
use crate::error::{Context as _, Error, Kind, Result};
use crate::sandbox::rooted::Rooted;

/// Where the hooks are while they run in the tree, and beside them the plan of the disks.
const HOOKS: &str = "/tmp/in_target.d";

/// What stood for the record of boot code, below the tree.
const RECORD: &str = "tmp/.dib-boot-code.json";

/// Where the programs of a tree are.
const PROGRAMS: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Bytes of a record: a few names.
const RECORD_MAX: u64 = 64 << 10;

/// Bytes of `boot.img`, which is one sector.
const BOOT_LEN: u64 = 512;

/// Bytes of the longest `core.img`: what GRUB has room for between 0x9000 and 0x78000 of a PC's memory.
const CORE_MAX: u64 = 0x78000 - 0x9000;

/// What a disk shall begin with, for the BIOS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootCode {
    /// Which disk of the layout.
    pub disk: String,
    /// `boot.img`: what goes into its first sector, around the partition table.
    pub boot: Vec<u8>,
    /// `core.img`: what goes where nothing else is.
    pub core: Vec<u8>,
    /// Whether the second has codes by which it repairs itself.
    pub reed_solomon: bool,
}

/// The record of it in the tree.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    disk: String,
    boot: PathBuf,
    core: PathBuf,
    reed_solomon: bool,
}

/// Takes the boot code that hooks left in the tree, if they left any; its record goes.
pub fn collect(tree: &Rooted) -> Result<Option<BootCode>> {
    let tried = || format!("cannot read the record of boot code, /{RECORD} of the tree");
    let Some(text) = read(tree, Path::new(RECORD), RECORD_MAX).host(tried)? else {
        return Ok(None);
    };
    let (dir, name) = split(Path::new(RECORD)).host(tried)?;
    if let Some(dir) = tree.dir(dir).host(tried)? {
        dir.remove(name.as_bytes()).host(tried)?;
    }
    let record: Record =
        serde_json::from_slice(&text).map_err(|error| Error::new(Kind::Elements, tried()).because(error))?;
    let image = |path: &Path, limit: u64| {
        let tried = || format!("cannot read the boot code {} of the tree", path.display());
        let bytes = read(tree, path, limit).host(tried)?;
        bytes.ok_or_else(|| {
            Error::new(Kind::Elements, tried()).because(io::Error::from(io::ErrorKind::NotFound))
        })
    };
    let boot = image(&record.boot, BOOT_LEN)?;
    if boot.len() as u64 != BOOT_LEN {
        let what = format!("{} of the tree has {} bytes", record.boot.display(), boot.len());
        return Err(Error::new(Kind::Elements, what).hint("a boot sector has 512"));
    }
    Ok(Some(BootCode {
        disk: record.disk,
        boot,
        core: image(&record.core, CORE_MAX)?,
        reed_solomon: record.reed_solomon,
    }))
}

/// The bytes of a regular file of a tree; `None` if there is nothing of that name.
fn read(tree: &Rooted, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let (dir, name) = split(path)?;
    let Some(dir) = tree.dir(dir)? else {
        return Ok(None);
    };
    if dir.stat(name)?.is_none() {
        return Ok(None);
    }
    let file = dir.file(name, false)?;
    let len = file.metadata()?.len();
    if len > limit {
        let message = format!("it has {len} bytes, more than {limit}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// The directory of a path and the name in it. Only the last name may not be a link.
fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((parent.unwrap_or(Path::new(".")), name))
}

/// Leaves the record of boot code, for [`collect`]. This program runs in the tree.
fn leave(record: &Record) -> Result<()> {
    let tried = || format!("cannot write /{RECORD}");
    let text = serde_json::to_vec(record).expect("a record is plain data");
    let (dir, name) = split(Path::new(RECORD)).host(tried)?;
    let root = Rooted::open(Path::new("/")).host(tried)?;
    let dir = root.dir(dir).host(tried)?;
    let dir = dir.ok_or_else(|| Error::new(Kind::Elements, "/tmp of the tree is no directory"))?;
    let name = name.to_str().expect("the name is a constant");
    dir.write(name, 0o600, &text).host(tried)
}

/// What `grub-bios-setup` does: names the boot code of a disk.
pub(crate) fn setup(
    device: &str,
    boot: PathBuf,
    core: PathBuf,
    reed_solomon: bool,
    facts: &Facts,
) -> Result<()> {
    let disk = install::embeddable(device, facts, "grub-bios-setup")?
        .name
        .clone();
    leave(&Record {
        disk,
        boot,
        core,
        reed_solomon,
    })
}

/// The plan of the disks, for what hooks call.
pub(crate) fn facts(tool: &str) -> Result<Facts> {
    let path = Path::new(HOOKS).join(FILE);
    let text = crate::given::read_text(&path).map_err(|error| {
        Error::new(Kind::Elements, format!("{tool}: cannot read {}", path.display()))
            .because(error)
            .hint("this stands in for GRUB's tool where a build runs hooks in the image, after its disks are planned")
    })?;
    serde_json::from_str(&text)
        .map_err(|error| Error::new(Kind::Elements, format!("{tool}: {}", path.display())).because(error))
}

/// A program of the tree, which this program runs in: under the first of these names that there is.
fn program(names: &[&str]) -> Option<PathBuf> {
    let places = names
        .iter()
        .flat_map(|name| PROGRAMS.map(|dir| Path::new(dir).join(name)));
    places.into_iter().find(|path| path.is_file())
}

/// Whether a tree calls GRUB's tools `grub2-…`, as distributions of RPM packages do.
pub fn says_grub2(tree: &Rooted) -> io::Result<bool> {
    let has = |name: &str| -> io::Result<bool> {
        match tree.dir("usr/bin")? {
            Some(dir) => Ok(dir.stat(OsStr::from_bytes(name.as_bytes()))?.is_some()),
            None => Ok(false),
        }
    };
    Ok(has("rpm")? && !has("dpkg")?)
}

#[cfg(test)]
mod tests;
