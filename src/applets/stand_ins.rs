//! What `block-device.d` hooks of old call to make partitions known: here the disk is a file, and there is nothing to attach.
//!
//! | name | what it does |
//! |---|---|
//! | `losetup` | `--show FILE` prints the file itself; to detach is nothing |
//! | `partprobe` | an empty file `FILEpN` for each partition, which hooks wait for |
//! | `kpartx` | prints the lines that name `/dev/mapper/loop0pN` |
//! | `udevadm` | nothing |

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_core::read_at::ImageFile;

use crate::error;
use crate::given;
use crate::inspect::container::Bytes;
use crate::inspect::table::{self, Partition};
use crate::ui;

/// The names, which come first on the `PATH` of `block-device.d`.
pub const NAMES: [&str; 4] = ["losetup", "partprobe", "kpartx", "udevadm"];

/// `losetup`.
pub fn run_losetup(args: &[OsString]) -> u8 {
    let words = words(args);
    let letters = |letter: char| {
        let short =
            |word: &&String| word.starts_with('-') && !word.starts_with("--") && word.contains(letter);
        words.iter().any(|word| short(&word))
    };
    let long = |name: &str| words.iter().any(|word| word == name);
    if letters('d') || letters('D') || long("--detach") || long("--detach-all") {
        return 0;
    }
    if letters('f') || long("--find") {
        return end(
            "losetup",
            file(&words).map(|file| format!("{}\n", file.display())),
        );
    }
    // Nothing is attached.
    0
}

/// `partprobe`.
pub fn run_partprobe(args: &[OsString]) -> u8 {
    let made = file(&words(args)).and_then(|file| {
        for partition in partitions(&file)? {
            let path = format!("{}p{}", file.display(), partition.number);
            fs::write(&path, "").map_err(|error| format!("{path}: {error}"))?;
        }
        Ok(String::new())
    });
    end("partprobe", made)
}

/// `kpartx`.
pub fn run_kpartx(args: &[OsString]) -> u8 {
    let words = words(args);
    let options: String = words
        .iter()
        .filter(|word| word.starts_with('-'))
        .flat_map(|word| word.chars())
        .collect();
    if options.contains('d') {
        return 0;
    }
    let listed = file(&words).and_then(|file| {
        let line = |partition: &Partition| {
            let (start, len) = (
                partition.range.start / 512,
                (partition.range.end - partition.range.start) / 512,
            );
            let name = format!("loop0p{}", partition.number);
            if options.contains('l') {
                format!("{name} : 0 {len} {} {start}\n", file.display())
            } else {
                format!(
                    "add map {name} (254:{}): 0 {len} linear {} {start}\n",
                    partition.number,
                    file.display()
                )
            }
        };
        Ok(partitions(&file)?.iter().map(line).collect())
    });
    end("kpartx", listed)
}

/// `udevadm`.
pub fn run_udevadm(_args: &[OsString]) -> u8 {
    0
}

fn words(args: &[OsString]) -> Vec<String> {
    let words = args.iter().skip(1);
    words.map(|word| word.to_string_lossy().into_owned()).collect()
}

/// The last word that names a file.
fn file(words: &[String]) -> Result<PathBuf, String> {
    let named = words.iter().rev().map(Path::new);
    let found = named.into_iter().find(|path| path.is_file());
    found.map(Path::to_owned).ok_or_else(|| {
        let told = words.join(" ");
        format!("'{told}' names no file; $IMAGE_BLOCK_DEVICE is the one that there is")
    })
}

fn partitions(file: &Path) -> Result<Vec<Partition>, String> {
    let told = |error: std::io::Error| format!("{}: {error}", file.display());
    let opened = given::open(file).map_err(told)?;
    let image: Bytes = Arc::new(ImageFile::new(opened, file).map_err(told)?);
    table::read(&image).map_err(|error| error::told(&error))
}

fn end(name: &str, done: Result<String, String>) -> u8 {
    match done {
        Ok(text) => u8::from(ui::print(format_args!("{text}")).is_err()),
        Err(message) => {
            ui::note(format_args!("{name}: {message}"));
            1
        }
    }
}
