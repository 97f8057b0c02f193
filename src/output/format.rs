//! The formats of images: their words, and what writes each.
//!
//! A format is a module below this one with a `Writer`, a variant, and a line in `Format::writer`. Nothing else in
//! the program tells formats apart.

mod container;
mod cpio;
mod qcow2;
mod raw;
mod squashfs;
mod tar;
mod vdi;
mod vhd;
mod vmdk;

use std::fmt;
use std::str::FromStr;

use super::Rules;
use super::digest::Digits;
use super::writing::{Image, Target};
use crate::error::{Error, Result};
use crate::suggest::nearest;

/// A format of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// QEMU's copy-on-write image.
    Qcow2,
    /// The disk itself, as a sparse file.
    Raw,
    /// `VirtualBox`'s disk.
    Vdi,
    /// Virtual PC's disk, for Xen, Azure and Hyper-V.
    Vhd,
    /// `VMware`'s disk.
    Vmdk,
    /// The tree as a tar archive.
    Tar,
    /// The same, compressed by gzip.
    Tgz,
    /// The same, compressed by zstd.
    TarZst,
    /// The same, compressed by xz.
    TarXz,
    /// The tree as a newc archive of cpio.
    Cpio,
    /// The tree as a squashfs image.
    Squashfs,
    /// The tree as a container's image, for `docker load`, `podman load` and whatever reads OCI layouts.
    Docker,
    /// The same without what only `docker load` needs.
    Oci,
    /// The tree as an image of rkt's.
    Aci,
}

/// What there is to know of a format, and what writes its files.
pub(super) trait Writer {
    /// Its word on the command line.
    fn word(&self) -> &'static str;

    /// What its files' names end with.
    fn suffix(&self) -> &'static str {
        self.word()
    }

    /// Whether it holds the tree itself, and no disk.
    fn is_of_tree(&self) -> bool {
        false
    }

    /// The options that it knows.
    fn keys(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether its options can be followed.
    fn check(&self, rules: &Rules) -> Result<()> {
        let _ = rules;
        Ok(())
    }

    /// Whether a disk may have so many bytes.
    fn check_len(&self, len: u64, rules: &Rules) -> Result<()> {
        let _ = (len, rules);
        Ok(())
    }

    /// Of how many bytes the length of the disk must be a multiple.
    fn grain(&self, rules: &Rules) -> u64 {
        let _ = rules;
        512
    }

    /// Whether it can be written from its first byte to its last.
    fn streams(&self, rules: &Rules) -> bool {
        let _ = rules;
        true
    }

    /// Writes an image into a fresh file, or to standard output, and digests it.
    fn write(&self, image: &Image<'_>, rules: &Rules, to: &Target<'_>) -> Result<Vec<Digits>>;
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 14] = [
        Format::Qcow2,
        Format::Raw,
        Format::Vdi,
        Format::Vhd,
        Format::Vmdk,
        Format::Tar,
        Format::Tgz,
        Format::TarZst,
        Format::TarXz,
        Format::Cpio,
        Format::Squashfs,
        Format::Docker,
        Format::Oci,
        Format::Aci,
    ];

    /// Whether it holds the tree itself, and no disk: then sizes and file systems do not matter.
    pub fn is_of_tree(self) -> bool {
        self.writer().is_of_tree()
    }

    /// What its files' names end with, behind a dot.
    pub fn suffix(self) -> &'static str {
        self.writer().suffix()
    }

    /// What writes it.
    pub(super) fn writer(self) -> &'static dyn Writer {
        match self {
            Format::Qcow2 => &qcow2::Qcow2,
            Format::Raw => &raw::Raw,
            Format::Vdi => &vdi::Vdi,
            Format::Vhd => &vhd::Vhd,
            Format::Vmdk => &vmdk::Vmdk,
            Format::Tar => &tar::Tar::Plain,
            Format::Tgz => &tar::Tar::Gzip,
            Format::TarZst => &tar::Tar::Zstd,
            Format::TarXz => &tar::Tar::Xz,
            Format::Cpio => &cpio::Cpio,
            Format::Squashfs => &squashfs::Squashfs,
            Format::Docker => &container::Container::Docker,
            Format::Oci => &container::Container::Oci,
            Format::Aci => &tar::Aci,
        }
    }
}

/// Its word on the command line.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.writer().word())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let found = Format::ALL.into_iter().find(|format| format.to_string() == word);
        found.ok_or_else(|| {
            let all = Format::ALL.map(|format| format.to_string());
            let error = Error::usage(format!("unknown image type '{word}'"));
            match nearest(&word.to_lowercase(), all.iter().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean {near}?")),
                None => error.hint(format!("the types are {}", all.join(", "))),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_formats_name_the_known() {
        let error = Format::from_str("parallels").unwrap_err().to_string();
        assert!(
            error.contains("parallels") && error.contains("qcow2, raw"),
            "{error}"
        );
    }
}
