//! `dib check`: whether container, partition table and file systems of an image are consistent.

use std::fmt;
use std::fs::File;
use std::path::Path;

use image_core::ReadAt as _;
use image_formats::oci::Choice;
use image_formats::{lvm, qcow2, vdi, vhd, vmdk};
use serde::Serialize;

use super::contents::Contents;
use super::image::{Image, Volume};
use super::kind::{Wrapping, kind};
use super::report::printable;
use super::unseen::{self, Unseen};
use super::{InspectError, container, contents, subvolumes, table, unreadable};
use crate::error::told;

/// What the JSON of `dib check` holds.
pub const SCHEMA: &str = "\
JSON, version 1:
  version   1; within a version fields are only added
  image     the path as it was given
  checked   what was checked: {structure, place}; structure is qcow2, vhd, vdi, vmdk, table, lvm, ext4, xfs, btrfs,
            vfat, squashfs, cpio, archive, or what the whole file is compressed by: gzip, bzip2, xz or zstd
  findings  what is wrong: {structure, place, what}
  unchecked what was not checked: {place, why}";

/// What may compress a whole file: reading it to its end is what checks its sums.
const COMPRESSIONS: [&str; 4] = ["gzip", "bzip2", "xz", "zstd"];

/// What was checked, and what is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    version: u32,
    image: String,
    checked: Vec<Checked>,
    findings: Vec<Finding>,
    unchecked: Vec<Unchecked>,
}

/// Something that was not checked.
#[derive(Clone, Debug, Serialize)]
struct Unchecked {
    place: String,
    why: String,
}

#[derive(Clone, Debug, Serialize)]
struct Checked {
    structure: &'static str,
    place: String,
}

/// Something that is wrong.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    structure: &'static str,
    place: String,
    what: String,
}

impl Verdict {
    /// Checks an image. An error is one of what cannot be checked at all.
    pub fn of(path: &Path, choice: &Choice, scratch: &Path) -> Result<Self, InspectError> {
        let mut verdict = Self {
            version: 1,
            image: path.display().to_string(),
            checked: Vec::new(),
            findings: Vec::new(),
            unchecked: Vec::new(),
        };
        let opened = if path.is_dir() {
            Image::open(path, choice, scratch)
        } else {
            let file = match container::unpacked(path, scratch) {
                Err(error @ InspectError::Compression(_)) => {
                    let found = std::iter::once(told(&error));
                    verdict.add(Wrapping::of(path)?.kind, "the whole file", found);
                    return Ok(verdict);
                }
                file => file?,
            };
            verdict.container(&file, path)?;
            Image::open_unpacked(file, path, choice, scratch)
        };
        let mut image = match opened {
            Err(InspectError::Table(what)) => {
                verdict.add("table", "the partition table", [what].into_iter());
                return Ok(verdict);
            }
            // The guest of a damaged container need not be there.
            Err(_) if !verdict.is_clean() => return Ok(verdict),
            image => image?,
        };
        if image.packed.take().is_some() {
            verdict.add("archive", "the whole", std::iter::empty());
        }
        if let Some(disk) = &image.disk
            && !image.volumes.iter().any(Volume::is_whole)
        {
            let found = match table::check::check(disk) {
                Err(_) if !verdict.is_clean() => return Ok(verdict),
                found => found?,
            };
            verdict.checked("table", "the disk");
            verdict
                .findings
                .extend(found.into_iter().map(|(place, what)| Finding {
                    structure: "table",
                    place,
                    what,
                }));
        }
        let unread = unseen::unread(&image).into_iter();
        let unread = unread.map(|Unseen { place, why }| Unchecked { place, why });
        verdict.unchecked.extend(unread);
        for volume in 0..image.volumes.len() {
            match verdict.volume(&image, volume) {
                Err(_) if !verdict.is_clean() => {}
                checked => checked?,
            }
        }
        Ok(verdict)
    }

    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    fn checked(&mut self, structure: &'static str, place: &str) {
        let place = place.to_owned();
        self.checked.push(Checked { structure, place });
    }

    fn add(&mut self, structure: &'static str, place: &str, found: impl Iterator<Item = String>) {
        self.checked(structure, place);
        self.findings.extend(found.map(|what| Finding {
            structure,
            place: place.to_owned(),
            what,
        }));
    }

    /// Checks the container that a file is, which may be what another one decompressed to.
    fn container(&mut self, file: &File, path: &Path) -> Result<(), InspectError> {
        fn texts<F: ToString>(found: &[F]) -> Vec<String> {
            found.iter().map(F::to_string).collect()
        }
        let outer = Wrapping::of(path)?.kind;
        if COMPRESSIONS.contains(&outer) {
            self.checked(outer, "the whole file");
        }
        let image = container::image_of(file, path)?;
        let kind = kind(file, image.len());
        if !["qcow2", "vhd", "vdi", "vmdk"].contains(&kind) {
            return Ok(());
        }
        let found = match kind {
            "qcow2" => texts(&qcow2::check(&image)?),
            "vhd" => texts(&vhd::check(&image)?),
            "vdi" => texts(&vdi::check(image)?),
            _ => texts(&vmdk::check(image)?),
        };
        self.add(kind, "the container", found.into_iter());
        Ok(())
    }

    fn volume(&mut self, image: &Image, at: usize) -> Result<(), InspectError> {
        let volume = &image.volumes[at];
        let place = image.place(at);
        match volume.contents {
            Contents::Ext => {
                let found = ext4_rs_writer::reader::check(&volume.bytes);
                let found = found.map_err(unreadable(&place))?;
                self.add("ext4", &place, found.iter().map(ToString::to_string));
            }
            // Reading all of its names is what can be said of these.
            Contents::Xfs | Contents::Btrfs | Contents::Fat | Contents::Squashfs | Contents::Cpio => {
                let structure = match volume.contents {
                    Contents::Xfs => "xfs",
                    Contents::Btrfs => "btrfs",
                    Contents::Fat => "vfat",
                    Contents::Squashfs => "squashfs",
                    _ => "cpio",
                };
                let apart = subvolumes::beside(volume, image.volumes.iter());
                let read = contents::read(volume, &place, &apart, |_| true);
                self.add(
                    structure,
                    &place,
                    read.err().as_ref().into_iter().map(|error| told(error)),
                );
            }
            Contents::Physical => self.checked("lvm", &place),
            Contents::Other(contents::PHYSICAL) => match lvm::read(&volume.bytes) {
                // Of another version: that it is not read is told where that is told of all.
                Ok(_) | Err(lvm::ReadError::NoLabel) => {}
                Err(error) => self.add("lvm", &place, std::iter::once(error.to_string())),
            },
            Contents::Tar | Contents::Other(_) | Contents::Unknown => {}
        }
        Ok(())
    }
}

/// A line for each finding, or one that says that there is none and what was checked; and one for what was not.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let Finding {
                structure,
                place,
                what,
            } = finding;
            writeln!(f, "{structure}: {place}: {}", printable(what.as_bytes()))?;
        }
        if self.is_clean() {
            let checked = self
                .checked
                .iter()
                .map(|it| format!("{} ({})", it.structure, it.place));
            let checked = checked.collect::<Vec<_>>().join(", ");
            let checked = if checked.is_empty() {
                "no structure that is known".to_owned()
            } else {
                checked
            };
            writeln!(
                f,
                "{}: nothing is wrong with {checked}",
                printable(self.image.as_bytes())
            )?;
        }
        for Unchecked { place, why } in &self.unchecked {
            writeln!(
                f,
                "{}: {place} is not checked: {why}",
                printable(self.image.as_bytes())
            )?;
        }
        Ok(())
    }
}
