//! What a user may choose, in the words of `qemu-img convert -o`, and the text that describes a disk.

use std::fmt::Write as _;
use std::num::NonZero;

use crate::keyed::{OptionError, bad, switch, unknown, unsupported};

/// How a disk is written. The guest's bytes are the same under all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which of the forms that are one file.
    pub subformat: Subformat,
    /// Where the header of a stream says that its directory is.
    pub layout: Option<Layout>,
    /// The controller that the disk expects.
    pub adapter: &'static str,
    /// The version of the virtual machine.
    pub hardware: u32,
    /// The version of the tools in the guest: by default the one that stands for those which are none of `VMware`'s business.
    pub tools: u32,
    /// What tells one state of the disk from another.
    pub content: u32,
    /// The file's own name, which the text repeats.
    pub name: String,
    /// How hard grains are compressed, from 1 to 9.
    pub level: u8,
    /// Threads that compress. The disk has the same bytes for any number.
    pub threads: NonZero<usize>,
}

/// A form of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subformat {
    /// Sparse, to be written on by a virtual machine.
    MonolithicSparse,
    /// Compressed, to be sent.
    StreamOptimized,
}

/// Where a stream's header says that its directory is. The directory itself stands at the end in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// In a second header at the end: the first one was written before anybody knew.
    Footer,
    /// In the first one too, for readers that look at no other: it is written again when all else is.
    Front,
}

/// The controllers that there are; for the last `VMware` asks for nothing else than for the first.
const ADAPTERS: [&str; 4] = ["lsilogic", "buslogic", "ide", "legacyESX"];

impl Subformat {
    fn word(self) -> &'static str {
        match self {
            Self::MonolithicSparse => "monolithicSparse",
            Self::StreamOptimized => "streamOptimized",
        }
    }
}

impl Options {
    /// The options that a user can give.
    pub const KEYS: [&str; 11] = [
        "subformat",
        "vmdk_layout",
        "adapter_type",
        "compat6",
        "hwversion",
        "toolsversion",
        "zeroed_grain",
        "backing_file",
        "backing_fmt",
        "compression_level",
        "size",
    ];

    /// A sparse disk, in a file of this name.
    pub fn new(content: u32, name: &str) -> Self {
        Self {
            subformat: Subformat::MonolithicSparse,
            layout: None,
            adapter: ADAPTERS[0],
            hardware: 4,
            tools: i32::MAX.unsigned_abs(),
            content,
            name: name.to_owned(),
            level: 6,
            threads: std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
        }
    }

    /// Whether the options go together.
    pub fn check(&self) -> Result<(), OptionError> {
        const FOR_STREAMS: &str = "the directory of a sparse disk stands in front: it is for streamOptimized";
        match (self.subformat, self.layout) {
            (Subformat::MonolithicSparse, Some(Layout::Footer)) => {
                Err(unsupported("vmdk_layout", "footer", FOR_STREAMS))
            }
            _ => Ok(()),
        }
    }

    /// Whether a stream has to be written from its first byte to its last, and then at its start again.
    pub fn returns_to_front(&self) -> bool {
        self.subformat == Subformat::StreamOptimized && self.layout == Some(Layout::Front)
    }

    /// Follows an option of `qemu-img convert -O vmdk -o`, `compression_level` or `vmdk_layout`.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), OptionError> {
        const ONE_FILE: &str = "the image is one file: use monolithicSparse or streamOptimized";
        match key {
            "subformat" => {
                self.subformat = match value {
                    "monolithicSparse" => Subformat::MonolithicSparse,
                    "streamOptimized" => Subformat::StreamOptimized,
                    "monolithicFlat" | "twoGbMaxExtentSparse" | "twoGbMaxExtentFlat" => {
                        return Err(unsupported("subformat", value, ONE_FILE));
                    }
                    _ => return Err(bad("subformat", value, "monolithicSparse or streamOptimized")),
                }
            }
            "vmdk_layout" => {
                self.layout = Some(match value {
                    "footer" => Layout::Footer,
                    "front" => Layout::Front,
                    _ => return Err(bad("vmdk_layout", value, "footer or front")),
                });
            }
            "adapter_type" => {
                let found = ADAPTERS.into_iter().find(|adapter| *adapter == value);
                let expected = "lsilogic, buslogic, ide or legacyESX";
                self.adapter = found.ok_or_else(|| bad("adapter_type", value, expected))?;
            }
            "compat6" => {
                if switch("compat6", value)? {
                    self.hardware = 6;
                }
            }
            "hwversion" => self.hardware = number("hwversion", value)?,
            "toolsversion" => self.tools = number("toolsversion", value)?,
            "compression_level" => {
                let level = value.parse().ok().filter(|level| (1..=9).contains(level));
                self.level = level.ok_or_else(|| bad("compression_level", value, "a number from 1 to 9"))?;
            }
            "zeroed_grain" => {
                if switch("zeroed_grain", value)? {
                    return Err(unsupported("zeroed_grain", value, "grains of zeros are left out"));
                }
            }
            "backing_file" => return Err(unsupported("backing_file", value, "the image is one file")),
            "backing_fmt" => return Err(unsupported("backing_fmt", value, "the image is one file")),
            "size" => return Err(unsupported("size", value, "the size is that of the disk")),
            _ => return Err(unknown("vmdk", key)),
        }
        Ok(())
    }

    /// The text that describes a disk of so many sectors.
    ///
    /// It has the lines that QEMU writes and no others: `OpenStack` refuses what it does not know, and names that are paths.
    pub(super) fn descriptor(&self, sectors: u64) -> String {
        let heads: u64 = if self.adapter == "ide" { 16 } else { 255 };
        let cylinders = sectors / track(heads);
        let plain = |c: &char| c.is_ascii_alphanumeric() || "._-+".contains(*c);
        let name: String = self.name.chars().filter(plain).collect();
        let name = if name.is_empty() { "disk.vmdk" } else { &name };
        let mut text = String::new();
        let _ = write!(
            text,
            "# Disk DescriptorFile\n\
             version=1\n\
             CID={:08x}\n\
             parentCID=ffffffff\n\
             createType=\"{}\"\n\
             \n\
             # Extent description\n\
             RW {sectors} SPARSE \"{name}\"\n\
             \n\
             # The Disk Data Base\n\
             #DDB\n\
             \n\
             ddb.virtualHWVersion = \"{}\"\n\
             ddb.geometry.cylinders = \"{cylinders}\"\n\
             ddb.geometry.heads = \"{heads}\"\n\
             ddb.geometry.sectors = \"63\"\n\
             ddb.adapterType = \"{}\"\n\
             ddb.toolsVersion = \"{}\"\n",
            self.content,
            self.subformat.word(),
            self.hardware,
            self.adapter,
            self.tools,
        );
        text
    }
}

/// Sectors of a cylinder.
fn track(heads: u64) -> NonZero<u64> {
    NonZero::new(heads.saturating_mul(63)).unwrap_or(NonZero::<u64>::MIN)
}

fn number(key: &'static str, value: &str) -> Result<u32, OptionError> {
    value.parse().map_err(|_| bad(key, value, "a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_has_its_own_name() {
        for key in ["backing_file", "backing_fmt", "size"] {
            let error = Options::new(1, "n").set(key, "raw").unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{key}=raw is not supported: ")),
                "{error}"
            );
        }
    }

    #[test]
    fn the_text_names_no_path() {
        let options = Options::new(0x1234, "../a \"b\"\n/c.vmdk");
        let text = options.descriptor(2048);
        assert!(
            text.contains("RW 2048 SPARSE \"..ab") && text.contains("CID=00001234\n"),
            "{text}"
        );
        assert!(!text.contains('/'), "{text}");
        assert!(Options::new(1, "").descriptor(1).contains("\"disk.vmdk\""));
    }
}
