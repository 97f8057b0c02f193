//! Laws of disks that nobody vouches for: their tables, what partitions hold, and all that the tools tell of them.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::OnceLock;

use image_core::laws::{Draw, copied, filler};
use image_core::store::MemoryStore;
use image_core::tree::{Data, Meta, NewContent, NodeId, Time};
use image_core::{Identity, Tree, copy};
use image_formats::squashfs::{self, SquashfsSink};
use image_formats::{fat, gpt, mbr, swap};
use uuid::Uuid;

use crate::environment::Environment;
use crate::inspect::check::Verdict;
use crate::inspect::copied::copied_into;
use crate::inspect::diff::compare;
use crate::inspect::find::Finder;
use crate::inspect::image::Image;
use crate::inspect::kernels::{self, Wanted};
use crate::inspect::layout::choice;
use crate::inspect::report::Report;

const MIB: u64 = 1 << 20;
/// Bytes of the disk.
const LEN: u64 = 9 * MIB;
/// Where its partitions are. Behind the second and the third are the boot records of the logical ones.
const PARTITIONS: [Range<u64>; 4] = [MIB..2 * MIB, 2 * MIB..4 * MIB, 5 * MIB..6 * MIB, 7 * MIB..8 * MIB];

/// A disk with a table of some kind and file systems of all kinds is told of, listed and found whole; and whatever is
/// changed of it, all that the tools do with it ends, with what they tell or a reason. Its file is made in `dir`.
pub fn disk_images(bytes: &[u8], dir: &Path) {
    let mut draw = Draw::new(bytes);
    let kind = draw.below(4);
    let turn = usize::from(draw.byte());
    let path = dir.join("disk");
    let file = File::create(&path).expect("the directory is the law's");
    file.set_len(LEN).expect("the disk is sparse");
    let write = |bytes: &[u8], at: u64| file.write_all_at(bytes, at).expect("there is room");
    for (at, byte) in (0_u64..).zip(table(kind)).filter(|(_, byte)| *byte != 0) {
        write(&[byte], at);
    }
    let holds = holds();
    for (at, range) in PARTITIONS.iter().enumerate() {
        write(&holds[(at + turn) % holds.len()], range.start);
        if kind == 3 {
            // No table: the disk is one file system.
            write(&holds[turn % holds.len()], 0);
            break;
        }
    }
    let whole = draw.is_empty();
    while !draw.is_empty() {
        let start = *draw.pick(&[
            0,
            0,
            0,
            4 * MIB,
            6 * MIB,
            LEN - 64 * 512,
            MIB,
            2 * MIB,
            5 * MIB,
            7 * MIB,
        ]);
        let within = *draw.pick(&[512, 4096, 64 * 512]);
        write(&[draw.byte()], start + draw.below(within));
    }
    look_into(&path, dir, whole);
}

/// Does with an image what the tools do.
fn look_into(path: &Path, scratch: &Path, whole: bool) {
    let choice = choice(&Environment::default(), "amd64").expect("nothing else is asked for");
    let report = Report::of(path, &choice, scratch).expect("a file can be inspected");
    let told = serde_json::to_value(&report).expect("a report is JSON");
    match Verdict::of(path, &choice, scratch) {
        Ok(verdict) => {
            assert!(!verdict.to_string().is_empty());
            assert!(!whole || verdict.is_clean(), "{verdict}");
        }
        Err(error) => assert!(!whole && !error.to_string().is_empty(), "{error}"),
    }
    assert!(
        !whole
            || told["filesystems"]
                .as_array()
                .is_some_and(|found| !found.is_empty())
    );
    let looked = Image::open(path, &choice, scratch).and_then(|image| {
        let mut finder = Finder::new(image, None, &[])?;
        let view = finder.read_all()?;
        match compare(("a", view), ("a", view), true, 1) {
            Ok(compared) => assert!(compared.is_equal(), "{compared}"),
            Err(error) => assert!(!whole, "{error}"),
        }
        for pattern in [&b"*"[..], b"boot/vmlinuz*", b"etc/../*/link"] {
            for found in finder.find(pattern, true)? {
                if let Some(spot) = finder.view().at(&found.path)
                    && let Some(read) = finder.view().read(spot, 1 << 16)
                {
                    let _ = read.map(drop);
                }
            }
        }
        Ok(())
    });
    if let Err(error) = looked {
        assert!(!error.to_string().is_empty());
    }
    let taken = Image::open(path, &choice, scratch).map(|image| take_kernel(image, scratch));
    assert!(taken.is_ok() || !whole);
}

/// Takes kernel and ramdisk out of an image: neither has more bytes than such files have, and both are written whole.
fn take_kernel(image: Image, dir: &Path) {
    let Ok(mut finder) = Finder::new(image, None, &[b"boot", b"etc"]) else {
        return;
    };
    let pair = match kernels::choose(&mut finder, &Wanted::default()) {
        Ok(pair) => pair,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    for (path, max) in [
        (pair.kernel, kernels::KERNEL_MAX),
        (pair.initrd, kernels::RAMDISK_MAX),
    ] {
        let view = finder.view();
        let spot = view.at(&path).expect("what is chosen is there");
        let len = view.length(spot).expect("what is chosen is a regular file");
        assert!(len <= max);
        let to = tempfile::tempfile_in(dir).expect("the directory is the law's");
        if let Ok(written) = copied_into(view, spot, len, &to) {
            written.expect("there is room for what an image of a few MiB holds");
            assert_eq!(to.metadata().expect("it is open").len(), len);
        }
    }
}

/// The start and the end of a disk, where its table is.
fn table(kind: u64) -> Vec<u8> {
    let map = match kind {
        0 | 1 => {
            let partitions = (1..).zip(PARTITIONS).map(|(number, range)| gpt::Partition {
                range,
                kind: *b"\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4",
                uuid: Uuid::from_u128(number),
                name: format!("part{number}"),
                attributes: 0,
            });
            let table = gpt::Table {
                len: LEN,
                sector: if kind == 0 { 512 } else { 4096 },
                disk_uuid: Uuid::from_u128(7),
                partitions: partitions.collect(),
                boot_code: None,
            };
            gpt::plan(&table).expect("the partitions are apart")
        }
        2 => {
            let partitions = PARTITIONS
                .into_iter()
                .enumerate()
                .map(|(at, range)| mbr::Partition {
                    range,
                    kind: 0x83,
                    boot: at == 0,
                    logical: at > 1,
                });
            let table = mbr::Table {
                len: LEN,
                align: MIB,
                disk_id: 7,
                partitions: partitions.collect(),
                boot_code: None,
            };
            mbr::plan(&table).expect("the partitions are apart")
        }
        _ => return Vec::new(),
    };
    copied(&map, &MemoryStore::default())
}

/// What partitions hold: ext4, FAT, squashfs, swap; made once.
fn holds() -> &'static [Vec<u8>] {
    static HOLDS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    HOLDS.get_or_init(|| {
        let (tree, store) = small_root();
        let identity = Identity::new(b"disk", Time::default(), false);
        let ext4 = ext4_rs_writer::Options {
            size: ext4_rs_writer::Size::Minimal,
            ..ext4_rs_writer::Options::new(ext4_rs_writer::Profile::Ext2, identity)
        };
        let ext4 = ext4_rs_writer::plan(&tree, &ext4).expect("the tree is small");
        let fat = fat::Options {
            kind: fat::Kind::Auto,
            len: MIB,
            sector: 512,
            hidden_sectors: 2048,
            label: *b"ESP        ",
            volume_id: 7,
            cluster: None,
            epoch: Time::default(),
        };
        let fat = fat::plan(&tree, &fat).expect("the tree is small");
        let swap = swap::Options {
            len: MIB,
            label: [b's'; 16],
            uuid: Uuid::from_u128(9),
        };
        let swap = swap::plan(&swap).expect("it is long enough");
        let options = squashfs::WriteOptions {
            compression: squashfs::Compression::Gzip,
            ..squashfs::WriteOptions::default()
        };
        let plan = squashfs::plan(&tree, &options).expect("the tree is small");
        let map = plan.map().clone();
        let output = std::io::Cursor::new(Vec::new());
        let mut sink = SquashfsSink::new(output, plan, std::num::NonZero::<usize>::MIN).expect("a thread");
        copy(&map, &store, &mut sink).expect("memory can be read");
        let squashfs = sink.into_inner().expect("memory can be written").into_inner();
        let mut swap = copied(&swap, &store);
        swap.truncate(4096);
        vec![copied(&ext4, &store), copied(&fat, &store), squashfs, swap]
    })
}

/// A file's name, and what it holds.
type Named = (&'static str, &'static [u8]);

/// A root with what the tools look for.
fn small_root() -> (Tree, MemoryStore) {
    let mut builder = Tree::builder(Meta::root(0o755));
    let mut store = MemoryStore::default();
    let files: [(&str, &[Named]); 2] = [
        (
            "etc",
            &[
                (
                    "fstab",
                    b"LABEL=ESP /boot vfat defaults 0 2\nUUID=x / ext4 defaults 0 1\n",
                ),
                ("debian_version", b"12.1\n"),
                ("os-release", b"PRETTY_NAME='A system'\n"),
            ],
        ),
        (
            "boot",
            &[("vmlinuz-6.1", b"kernel"), ("initrd.img-6.1", b"ramdisk")],
        ),
    ];
    for (name, files) in files {
        let dir = builder
            .node(Meta::root(0o755), NewContent::Directory)
            .expect("a node");
        builder.link(NodeId::ROOT, name.as_bytes(), dir).expect("a name");
        for (name, bytes) in files {
            let bytes = [bytes, &filler(2000, 1)[..]].concat();
            let len = bytes.len() as u64;
            let data = Data::dense(store.push(bytes), len);
            let file = builder
                .node(Meta::root(0o644), NewContent::File(data))
                .expect("a node");
            builder.link(dir, name.as_bytes(), file).expect("a name");
        }
    }
    (builder.build().expect("a tree"), store)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]

        #[test]
        fn disk_images(bytes in vec(any::<u8>(), 0..60)) {
            super::disk_images(&bytes, tempfile::tempdir().unwrap().path());
        }
    }

    #[test]
    fn disks_that_nothing_changed_are_whole() {
        let dir = tempfile::tempdir().unwrap();
        for kind in 0..4 {
            for turn in 0..4 {
                super::disk_images(&[kind, turn], dir.path());
            }
        }
    }
}
