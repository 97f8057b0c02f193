//! What a user may choose, in the words of `qemu-img convert -o`.

use std::num::NonZero;
use std::ops::RangeInclusive;

use super::geometry::ClusterSize;
use crate::keyed::{OptionError, bad, switch, unknown, unsupported};

/// Windows of zlib, least and largest.
const WINDOWS: (u8, u8) = (12, 15);

/// How an image is written. The guest's bytes are the same under all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes in a cluster.
    pub cluster_size: ClusterSize,
    /// Version of the format.
    pub compat: Compat,
    /// How compressed clusters are compressed.
    pub compression_type: CompressionType,
    /// How hard compressed clusters are compressed; `None` for what suits the type.
    pub compression_level: Option<u8>,
    /// How far back zlib's matches may lie, as a power of two of bytes, from 12 to 15.
    ///
    /// QEMU writes 12, and so does the default. QEMU inflates a cluster in one go, so that it reads any, as everybody does
    /// who reads RFC 1951 to its end; 15 is about a tenth smaller. A reader that keeps no more than a window of 4 KiB of what
    /// it has inflated could not follow it.
    pub compression_window: u8,
    /// Whether the guest's writes may leave reference counts stale until the image is closed.
    pub lazy_refcounts: bool,
    /// What is allocated where the guest is zero. An image can't be preallocated and compressed.
    pub preallocation: Preallocation,
    /// Threads that compress. The image has the same bytes for any number.
    pub threads: NonZero<usize>,
}

/// Version of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compat {
    /// Version 2, `compat=0.10`: for readers older than QEMU 1.1.
    V2,
    /// Version 3, `compat=1.1`.
    V3,
}

/// How compressed clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionType {
    /// Raw deflate, which every reader knows.
    Zlib,
    /// zstd, for QEMU 5.1 and later; several other readers don't know it, so it is never chosen unasked.
    Zstd,
}

impl CompressionType {
    /// The levels that there are.
    pub fn levels(self) -> RangeInclusive<u8> {
        match self {
            Self::Zlib => 1..=9,
            Self::Zstd => 1..=19,
        }
    }

    /// The level that is taken when none is asked for.
    ///
    /// Why 5 for zlib: measured on a Debian root, it is within 2 % of qemu-img's size for less than half of its
    /// processor time; 6 saves a tenth of a percent and costs an eighth more, and only 9 ends below qemu-img's size.
    pub fn default_level(self) -> u8 {
        match self {
            Self::Zlib => 5,
            Self::Zstd => 3,
        }
    }
}

/// What is allocated where the guest is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preallocation {
    /// Nothing.
    Off,
    /// A host cluster for every guest cluster, as a hole of the file: the guest's writes change no table.
    Metadata,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cluster_size: ClusterSize::DEFAULT,
            compat: Compat::V3,
            compression_type: CompressionType::Zlib,
            compression_level: None,
            compression_window: WINDOWS.0,
            lazy_refcounts: false,
            preallocation: Preallocation::Off,
            threads: std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
        }
    }
}

/// Why options can't be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Not of the form `key=value`.
    #[error("'{option}' is not of the form key=value")]
    NotAnOption {
        /// The words in question.
        option: String,
    },
    /// An option, or its value, that can't be followed.
    #[error(transparent)]
    Keyed(#[from] OptionError),
    /// No such level.
    #[error("compression level {level} is not between {} and {}", .levels.start(), .levels.end())]
    BadLevel {
        /// The level.
        level: u8,
        /// The levels that there are.
        levels: RangeInclusive<u8>,
    },
    /// Two options exclude each other.
    #[error("{option} needs {needs}")]
    Conflict {
        /// An option.
        option: &'static str,
        /// What it needs, and doesn't have.
        needs: &'static str,
    },
}

impl Options {
    /// The options that a user can give, those that are refused with a reason included.
    pub const KEYS: [&str; 17] = [
        "backing_file",
        "backing_fmt",
        "cluster_size",
        "compat",
        "compression_level",
        "compression_type",
        "compression_window",
        "data_file",
        "data_file_raw",
        "encrypt.format",
        "encryption",
        "extended_l2",
        "lazy_refcounts",
        "nocow",
        "preallocation",
        "refcount_bits",
        "size",
    ];

    /// Reads `key=value,key=value`, the argument of `--qemu-img-options`; of two values of one key, the last counts.
    ///
    /// The keys are those of `qemu-img convert -O qcow2 -o`, `compression_level` and `compression_window`.
    pub fn parse(text: &str) -> Result<Self, OptionsError> {
        let mut options = Self::default();
        for option in text.split(',').filter(|option| !option.is_empty()) {
            let Some((key, value)) = option.split_once('=') else {
                let option = option.to_owned();
                return Err(OptionsError::NotAnOption { option });
            };
            options.set(key, value)?;
        }
        options.check()?;
        Ok(options)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), OptionError> {
        match key {
            "cluster_size" => {
                let expected = "a power of two from 512 to 2M";
                let size = bytes(value).and_then(ClusterSize::new);
                self.cluster_size = size.ok_or_else(|| bad("cluster_size", value, expected))?;
            }
            "compat" => {
                self.compat = match value {
                    "0.10" | "v2" => Compat::V2,
                    "1.1" | "v3" => Compat::V3,
                    _ => return Err(bad("compat", value, "0.10 or 1.1")),
                }
            }
            "compression_type" => {
                self.compression_type = match value {
                    "zlib" => CompressionType::Zlib,
                    "zstd" => CompressionType::Zstd,
                    _ => return Err(bad("compression_type", value, "zlib or zstd")),
                }
            }
            "compression_level" => {
                let level = value.parse().ok();
                let level = level.ok_or_else(|| bad("compression_level", value, "a number"))?;
                self.compression_level = Some(level);
            }
            "compression_window" => {
                let bits = value.parse().ok();
                let bits = bits.filter(|bits| (WINDOWS.0..=WINDOWS.1).contains(bits));
                self.compression_window =
                    bits.ok_or_else(|| bad("compression_window", value, "12, 13, 14 or 15"))?;
            }
            "lazy_refcounts" => self.lazy_refcounts = switch("lazy_refcounts", value)?,
            "preallocation" => {
                self.preallocation = match value {
                    "off" => Preallocation::Off,
                    "metadata" => Preallocation::Metadata,
                    "falloc" | "full" => {
                        let why =
                            "the image is written without asking its file system for room; use metadata";
                        return Err(unsupported("preallocation", value, why));
                    }
                    _ => return Err(bad("preallocation", value, "off or metadata")),
                }
            }
            _ => refuse(key, value)?,
        }
        Ok(())
    }

    /// Whether the options can be followed together.
    pub(super) fn check(&self) -> Result<(), OptionsError> {
        let levels = self.compression_type.levels();
        if let Some(level) = self.compression_level.filter(|level| !levels.contains(level)) {
            return Err(OptionsError::BadLevel { level, levels });
        }
        let zstd = self.compression_type == CompressionType::Zstd;
        let conflict = match self.compat {
            _ if zstd && self.compression_window != WINDOWS.0 => {
                Some(("compression_window", "compression_type=zlib"))
            }
            Compat::V2 if zstd => Some(("compression_type=zstd", "compat=1.1")),
            Compat::V2 if self.lazy_refcounts => Some(("lazy_refcounts=on", "compat=1.1")),
            _ if zstd && !cfg!(feature = "zstd") => Some(("compression_type=zstd", "a build with zstd")),
            _ => None,
        };
        match conflict {
            Some((option, needs)) => Err(OptionsError::Conflict { option, needs }),
            None => Ok(()),
        }
    }

    /// Whether the options can be followed for a compressed image.
    pub fn check_compressed(&self) -> Result<(), OptionsError> {
        self.check()?;
        if self.preallocation == Preallocation::Off {
            return Ok(());
        }
        Err(OptionsError::Conflict {
            option: "preallocation",
            needs: "an image that is not compressed",
        })
    }

    /// How hard compressed clusters are compressed.
    pub fn level(&self) -> u8 {
        self.compression_level
            .unwrap_or(self.compression_type.default_level())
    }
}

/// Options of qemu-img that we know, but write one value of.
fn refuse(key: &str, value: &str) -> Result<(), OptionError> {
    let known: [(&'static str, &str, &'static str); 10] = [
        ("extended_l2", "off", "OpenStack refuses such images"),
        ("data_file", "", "OpenStack refuses such images"),
        ("data_file_raw", "off", "OpenStack refuses such images"),
        ("backing_file", "", "OpenStack refuses such images"),
        ("backing_fmt", "", "OpenStack refuses such images"),
        ("encryption", "off", "images are not encrypted"),
        ("encrypt.format", "", "images are not encrypted"),
        ("refcount_bits", "16", "the width is always 16"),
        (
            "nocow",
            "off",
            "the image is written without asking its file system",
        ),
        ("size", "", "the size is that of the disk"),
    ];
    match known.iter().find(|(known, ..)| *known == key) {
        Some((_, only, _)) if *only == value => Ok(()),
        Some((key, _, why)) => Err(unsupported(key, value, why)),
        None => Err(unknown("qcow2", key)),
    }
}

/// A number of bytes as qemu-img reads it: `65536`, `64k`, `2M`.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text.get(digits.len()..)? {
        "" | "b" | "B" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_qemu_img() {
        let options =
            Options::parse("compat=0.10,cluster_size=2M,,compression_level=9,refcount_bits=16").unwrap();
        assert_eq!(options.compat, Compat::V2);
        assert_eq!(options.cluster_size.bytes().get(), 2 << 20);
        assert_eq!(options.level(), 9);
        assert_eq!(Options::parse("").unwrap(), Options::default());
        let last = Options::parse("cluster_size=4k,cluster_size=65536").unwrap();
        assert_eq!(last.cluster_size, ClusterSize::DEFAULT);
        assert!(Options::parse("lazy_refcounts=on").unwrap().lazy_refcounts);
        let metadata = Options::parse("preallocation=metadata").unwrap();
        assert_eq!(metadata.preallocation, Preallocation::Metadata);
        assert!(metadata.check_compressed().is_err());
    }

    #[test]
    fn each_refusal_names_what_it_refuses() {
        let table = [
            ("compat", "'compat' is not of the form key=value"),
            ("colour=red", "qcow2 has no option 'colour'"),
            (
                "cluster_size=3k",
                "'3k' is no value of cluster_size, which is a power of two from 512 to 2M",
            ),
            ("compat=2", "'2' is no value of compat, which is 0.10 or 1.1"),
            (
                "lazy_refcounts=1",
                "'1' is no value of lazy_refcounts, which is on or off",
            ),
            (
                "extended_l2=on",
                "extended_l2=on is not supported: OpenStack refuses such images",
            ),
            (
                "compression_level=0",
                "compression level 0 is not between 1 and 9",
            ),
            (
                "compression_level=x",
                "'x' is no value of compression_level, which is a number",
            ),
            (
                "compression_window=16",
                "'16' is no value of compression_window, which is 12, 13, 14 or 15",
            ),
            (
                "compression_window=15,compression_type=zstd",
                "compression_window needs compression_type=zlib",
            ),
            (
                "compat=0.10,lazy_refcounts=on",
                "lazy_refcounts=on needs compat=1.1",
            ),
            (
                "compat=0.10,compression_type=zstd",
                "compression_type=zstd needs compat=1.1",
            ),
        ];
        for (text, message) in table {
            assert_eq!(Options::parse(text).unwrap_err().to_string(), message);
        }
    }
}
