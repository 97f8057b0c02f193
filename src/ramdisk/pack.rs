//! The root of a ramdisk → an archive, compressed in a form that the kernel takes.
//!
//! The nodes that a process needs before anything is mounted on `/dev` are added here: whoever builds need not be allowed
//! to make any.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::str::FromStr;

use image_core::scan::StandIns;
use image_core::tree::{Content, Device, Meta, NewContent, NodeId, Time, TreeError};
use image_core::{Store, Tree, copy, scan, sink::StreamSink};
use image_formats::compress::{CompressingSink, Method};
use image_formats::cpio;

use super::source::Source;
use crate::error::{Context, Error, Result};
use crate::inspect::find::matches;
use crate::suggest::nearest;
use crate::ui;
use crate::unpack;

/// Device nodes of every ramdisk: name in `/dev`, mode, number.
const NODES: [(&str, u16, (u32, u32)); 3] = [
    ("console", 0o600, (5, 1)),
    ("kmsg", 0o600, (1, 11)),
    ("null", 0o666, (1, 3)),
];

/// Where the kernel looks for microcode in what stands before the ramdisk, where that lies in the firmware, and the names
/// that it has.
const MICROCODE: [(&str, &str, &str); 2] = [
    (
        "kernel/x86/microcode/AuthenticAMD.bin",
        "amd-ucode",
        "microcode_amd*.bin",
    ),
    (
        "kernel/x86/microcode/GenuineIntel.bin",
        "intel-ucode",
        "[0-9a-f][0-9a-f]-[0-9a-f][0-9a-f]-[0-9a-f][0-9a-f]",
    ),
];

/// Bytes of the longest file of microcode.
const MICROCODE_MAX: u64 = 64 << 20;

/// How a ramdisk is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression(Option<Method>);

impl Compression {
    /// The words for it.
    pub const WORDS: [&str; 5] = ["gzip", "xz", "zstd", "lz4", "none"];
}

impl Default for Compression {
    fn default() -> Self {
        Self(Some(Method::Gzip(6)))
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (word, level) = match text.split_once(':') {
            Some((word, level)) => (word, Some(level)),
            None => (text, None),
        };
        let number = |or: u8, levels: std::ops::RangeInclusive<u8>| {
            match level {
            None => Ok(or),
            Some(level) => level
                .parse()
                .ok()
                .filter(|level| levels.contains(level))
                .ok_or_else(|| {
                    let (first, last) = levels.into_inner();
                    let message = format!(
                        "--ramdisk-compression (DIB_RAMDISK_COMPRESSION): '{text}': levels of {word} go from {first} to {last}"
                    );
                    Error::usage(message)
                }),
        }
        };
        let method = match word {
            "gzip" => Some(Method::Gzip(number(6, 1..=9)?)),
            "xz" => Some(Method::Xz(number(6, 0..=9)?)),
            "zstd" => Some(Method::Zstd(number(9, 1..=22)?)),
            "lz4" => Some(Method::Lz4(number(1, 1..=1)?)),
            "none" if level.is_none() => None,
            _ => {
                let error = Error::usage(format!(
                    "--ramdisk-compression (DIB_RAMDISK_COMPRESSION): '{text}' is unknown"
                ));
                return Err(match nearest(word, Self::WORDS) {
                    Some(near) if near != word => error.hint(format!("did you mean {near}?")),
                    _ => error.hint(format!(
                        "the words are {}; a level follows a colon",
                        Self::WORDS.join(", ")
                    )),
                });
            }
        };
        Ok(Self(method))
    }
}

/// Its word, and its level.
impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("none"),
            Some(Method::Gzip(level)) => write!(f, "gzip:{level}"),
            Some(Method::Xz(level) | Method::SmallXz(level)) => write!(f, "xz:{level}"),
            Some(Method::Zstd(level)) => write!(f, "zstd:{level}"),
            Some(Method::Lz4(_)) => f.write_str("lz4"),
        }
    }
}

/// How a ramdisk is packed.
#[derive(Clone, Debug, Default)]
pub struct Packing {
    /// How it is compressed.
    pub compression: Compression,
    /// Later times become this one.
    pub latest: Option<Time>,
    /// What stands before it, uncompressed.
    pub early: Option<Vec<u8>>,
    /// The files that stand for devices.
    pub stand_ins: StandIns,
}

/// Packs a directory.
pub fn pack(root: &Path, output: &Path, packing: &Packing) -> Result<()> {
    let options = scan::Options {
        stand_ins: packing.stand_ins.clone(),
        ..scan::Options::default()
    };
    // Not every chroot has a proc. Then nothing tells what is lost.
    let scanned = match scan(root, &options) {
        Err(scan::Error::NoProc { .. }) => scan::scan_bare(root, &options),
        scanned => scanned,
    };
    let (tree, store) = scanned.image(|| "cannot read the ramdisk".to_owned())?;
    let tree = with_nodes(&tree).image(|| "cannot add device nodes to the ramdisk".to_owned())?;
    let lost = cpio::without_xattrs(&tree);
    if let Some(first) = lost.first() {
        ui::note(format_args!(
            "extended attributes of {} {}, such as /{}, are left out: a ramdisk has none",
            lost.len(),
            if lost.len() == 1 { "file" } else { "files" },
            first.escape_ascii()
        ));
    }
    write(&tree, &store, output, packing)
}

fn write(tree: &Tree, store: &impl Store, output: &Path, packing: &Packing) -> Result<()> {
    let options = cpio::Options {
        latest: packing.latest,
    };
    let map = cpio::plan(tree, &options).image(|| "cannot plan the ramdisk".to_owned())?;
    let tried = || format!("cannot write {}", output.display());
    let mut file = File::create(output).image(tried)?;
    if let Some(early) = &packing.early {
        file.write_all(early).image(tried)?;
    }
    match packing.compression.0 {
        None => copy(&map, store, &mut StreamSink(file)).image(tried),
        Some(method) => {
            let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
            let mut sink = CompressingSink::new(file, method, threads).image(tried)?;
            copy(&map, store, &mut sink).image(tried)
        }
    }
}

/// Whether the word of `DIB_RAMDISK_MICROCODE` asks for it.
pub fn wants_microcode(word: Option<&str>) -> Result<bool> {
    match word {
        None | Some("" | "none") => Ok(false),
        Some("all") => Ok(true),
        Some(word) => {
            let error = Error::usage(format!("DIB_RAMDISK_MICROCODE: '{word}' is unknown"));
            Err(error.hint("the words are all and none"))
        }
    }
}

/// The microcode among the firmware of the tree as what stands before a ramdisk, if there is any.
pub fn microcode(source: &Source, firmware: &Path) -> Result<Option<Vec<u8>>> {
    let mut files: Vec<(&[u8], Vec<u8>)> = Vec::new();
    for (name, directory, pattern) in MICROCODE {
        let mut all = Vec::new();
        let directory = firmware.join(directory);
        for file in source
            .list(&directory)
            .host(|| format!("cannot read {}", directory.display()))?
        {
            let bare = [".xz", ".zst"].iter().fold(file.as_bytes(), |name, end| {
                name.strip_suffix(end.as_bytes()).unwrap_or(name)
            });
            // Beside it lie licences and signatures: one byte of these, and the kernel takes none of it.
            let path = directory.join(&file);
            if matches(pattern.as_bytes(), bare) && source.file(&path).is_some() {
                let tried = || format!("cannot read {}", path.display());
                let packed = source.open(&path).host(tried)?;
                let plain = unpack::decompressed(packed).host(tried)?;
                plain.take(MICROCODE_MAX).read_to_end(&mut all).host(tried)?;
            }
        }
        if !all.is_empty() {
            files.push((name.as_bytes(), all));
        }
    }
    if files.is_empty() {
        return Ok(None);
    }
    let files: Vec<(&[u8], &[u8])> = files
        .iter()
        .map(|(name, bytes)| (*name, bytes.as_slice()))
        .collect();
    let archive = cpio::early(&files).image(|| "cannot pack the microcode".to_owned())?;
    Ok(Some(archive))
}

/// The tree with device nodes, as far as there is nothing by their names.
fn with_nodes(tree: &Tree) -> Result<Tree, TreeError> {
    let mut builder = Tree::builder(tree.node(NodeId::ROOT).meta);
    let mut twins: Vec<Option<NodeId>> = vec![None; tree.nodes().len()];
    twins[NodeId::ROOT.index()] = Some(NodeId::ROOT);
    let mut stack = vec![(NodeId::ROOT, NodeId::ROOT)];
    let mut dev = None;
    let mut there: Vec<Vec<u8>> = Vec::new();
    while let Some((directory, twin)) = stack.pop() {
        let Content::Directory(entries) = tree.node(directory).content else {
            continue;
        };
        for (name, id) in tree.entries(entries) {
            let node = tree.node(id);
            let known = twins[id.index()];
            let child = if let Some(child) = known {
                child
            } else {
                let xattrs = builder.xattrs(tree.xattrs(node.meta.xattrs).to_vec())?;
                builder.node(Meta { xattrs, ..node.meta }, tree.new_content(node))?
            };
            twins[id.index()] = Some(child);
            builder.link(twin, name, child)?;
            if Some(twin) == dev {
                there.push(name.to_vec());
            }
            if directory == NodeId::ROOT && name == b"dev" {
                dev = Some(child);
            }
            if known.is_none() {
                stack.push((id, child));
            }
        }
    }
    let dev = if let Some(dev) = dev {
        dev
    } else {
        let dev = builder.node(Meta::root(0o755), NewContent::Directory)?;
        builder.link(NodeId::ROOT, b"dev", dev)?;
        dev
    };
    for (name, mode, (major, minor)) in NODES {
        if !there.iter().any(|known| known == name.as_bytes()) {
            let device = NewContent::CharDevice(Device { major, minor });
            let node = builder.node(Meta::root(mode), device)?;
            builder.link(dev, name.as_bytes(), node)?;
        }
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn words_of_compression_are_read_and_printed() {
        for (text, printed) in [
            ("gzip", "gzip:6"),
            ("gzip:9", "gzip:9"),
            ("xz:0", "xz:0"),
            ("zstd", "zstd:9"),
            ("zstd:19", "zstd:19"),
            ("lz4", "lz4"),
            ("none", "none"),
        ] {
            assert_eq!(text.parse::<Compression>().unwrap().to_string(), printed);
        }
        for (text, told) in [
            ("gzip:10", "'gzip:10': levels of gzip go from 1 to 9"),
            ("zstd:x", "'zstd:x': levels of zstd go from 1 to 22"),
            ("gzpi", "'gzpi' is unknown\nhint: did you mean gzip?"),
            (
                "none:1",
                "'none:1' is unknown\nhint: the words are gzip, xz, zstd, lz4, none; a level follows a colon",
            ),
        ] {
            let error = text.parse::<Compression>().unwrap_err().to_string();
            assert_eq!(
                error,
                format!("--ramdisk-compression (DIB_RAMDISK_COMPRESSION): {told}")
            );
        }
    }

    #[test]
    fn nodes_are_added_where_there_are_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("dev")).unwrap();
        fs::write(dir.path().join("dev/null"), "a hook's").unwrap();
        fs::hard_link(dir.path().join("dev/null"), dir.path().join("link")).unwrap();
        let (tree, _) = scan(dir.path(), &scan::Options::default()).unwrap();
        let with = with_nodes(&tree).unwrap();
        let told = |name: &[u8]| {
            let found = with.iter().find(|(id, _)| with.path(*id) == name);
            found.map(|(_, node)| (node.content.clone(), node.meta.mode, node.links))
        };
        let console = Content::CharDevice(Device { major: 5, minor: 1 });
        assert_eq!(told(b"dev/console"), Some((console, 0o600, 1)));
        let null = told(b"dev/null").or_else(|| told(b"link")).unwrap();
        assert!(matches!(null.0, Content::File(_)) && null.2 == 2, "{null:?}");
        let again = with_nodes(&with).unwrap();
        assert_eq!(again.nodes().len(), with.nodes().len());
        let empty = tempfile::tempdir().unwrap();
        let (tree, _) = scan(empty.path(), &scan::Options::default()).unwrap();
        assert_eq!(with_nodes(&tree).unwrap().nodes().len(), 5);
    }

    #[test]
    fn microcode_stands_before_uncompressed() {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::new(dir.path());
        let firmware = Path::new("/lib/firmware");
        assert_eq!(microcode(&source, firmware).unwrap(), None);
        let place = dir.path().join("lib/firmware/intel-ucode");
        let amd = dir.path().join("lib/firmware/amd-ucode");
        for (place, name, text) in [
            (&place, "06-01-01", "one "),
            (&place, "06-02-02", "two"),
            (&place, "LICENSE", "no code"),
            (&amd, "README", "no code"),
            (&amd, "microcode_amd_fam17h.bin", "amd"),
            (&amd, "microcode_amd_fam17h.bin.asc", "no code"),
        ] {
            fs::create_dir_all(place).unwrap();
            fs::write(place.join(name), text).unwrap();
        }
        let archive = microcode(&source, firmware).unwrap().unwrap();
        let text = String::from_utf8(archive).unwrap();
        assert!(
            text.contains("GenuineIntel.bin\0") && text.contains("one two"),
            "{text}"
        );
        assert!(
            text.contains("AuthenticAMD.bin\0") && text.contains("amd\0"),
            "{text}"
        );
        assert!(!text.contains("no code"), "{text}");
    }
}
