//! The law of planned FAT file systems.

use std::collections::BTreeMap;

use image_core::laws::{Draw, copied, filler};
use image_core::store::{MemoryStore, Store};
use image_core::tree::{Builder, Content, Data, Meta, NewContent, NodeId, Time, Tree};

use crate::fat::{self, Kind, Options, PlanError};

/// What names are made of: short ones in all cases, and long ones.
const NAMES: [&str; 15] = [
    "a",
    "B",
    "grub.cfg",
    "BOOTX64.EFI",
    "bootx64.efi",
    "Mixed.Case",
    "ünïcode ☂.txt",
    "ÜNÏCODE ☂.TXT",
    "a name that needs more than one part.conf",
    "x y",
    ".hidden",
    "+",
    "a.b.c",
    "along~1",
    "a long one",
];

/// What a tree holds: paths with times, and the bytes of files.
type Listing = BTreeMap<Vec<u8>, (i64, Option<Vec<u8>>)>;

/// A drawn tree, planned as a file system of the least length, is read as the same tree; nothing shorter is planned.
/// What is refused is refused for a reason.
pub fn fat_plan(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let options = options(&mut draw);
    let (tree, store, expected) = tree(&mut draw, options.epoch);
    let least = match fat::least(&tree, &options) {
        Ok(least) => least,
        Err(error) => return assert!(is_deserved(&error, &expected), "{error}"),
    };
    let options = Options {
        len: least,
        ..options
    };
    let map = fat::plan(&tree, &options).unwrap();
    assert_eq!(map, fat::plan(&tree, &options).unwrap());
    let (found, files) = fat::read(copied(&map, &store)).unwrap();
    assert!(listing(&found, &files) == expected, "{map}");
    let short = Options {
        len: least - u64::from(options.sector),
        ..options
    };
    assert!(fat::plan(&tree, &short).is_err(), "{least}");
}

fn options(draw: &mut Draw<'_>) -> Options {
    // Few of them, since the least FAT32 is one of 33 MiB.
    let kind = match draw.below(64) {
        0 => Kind::Fat32,
        1..=8 => Kind::Fat16,
        9..=32 => Kind::Fat12,
        _ => Kind::Auto,
    };
    let sector = if matches!(kind, Kind::Fat12 | Kind::Auto) {
        *draw.pick(&[512, 512, 1024, 4096])
    } else {
        512
    };
    let labels = [*b"           ", *b"ESP        "];
    Options {
        kind,
        len: 0,
        sector,
        hidden_sectors: 2048,
        label: *draw.pick(&labels),
        volume_id: 7,
        cluster: *draw.pick(&[None, None, Some(sector), Some(sector * 2)]),
        epoch: Time {
            secs: 1_700_000_000,
            nanos: 0,
        },
    }
}

fn tree(draw: &mut Draw<'_>, epoch: Time) -> (Tree, MemoryStore, Listing) {
    let mut builder = Tree::builder(Meta::root(0o755));
    let (mut store, mut listing) = (MemoryStore::default(), Listing::new());
    let mut dirs = vec![(Vec::new(), NodeId::ROOT)];
    while !draw.is_empty() {
        let (parent, node) = draw.pick(&dirs).clone();
        let number = draw.below(600);
        let name = match (draw.pick(&NAMES), number) {
            (name, 0..50) => (*name).to_owned(),
            (_, 597..) => "what?".to_owned(),
            (name, _) => format!("{number}{name}"),
        };
        let mut path: Vec<u8> = parent;
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend(name.bytes());
        if listing.contains_key(&path) {
            continue;
        }
        let secs = 300_000_000 + i64::try_from(draw.below(1 << 31)).unwrap();
        let expected = secs.clamp(315_532_800, epoch.secs) / 2 * 2;
        let (child, bytes) = content(draw, &mut builder, &mut store, secs);
        builder.link(node, name.as_bytes(), child).unwrap();
        if bytes.is_none() {
            dirs.push((path.clone(), child));
        }
        listing.insert(path, (expected, bytes));
    }
    (builder.build().unwrap(), store, listing)
}

/// A directory, or a file that may have holes.
fn content(
    draw: &mut Draw<'_>,
    builder: &mut Builder,
    store: &mut MemoryStore,
    secs: i64,
) -> (NodeId, Option<Vec<u8>>) {
    let meta = |mode| Meta {
        mtime: Time { secs, nanos: 5 },
        ..Meta::root(mode)
    };
    let kind = draw.below(8);
    if kind == 0 {
        return (builder.node(meta(0o755), NewContent::Directory).unwrap(), None);
    }
    let mut bytes = filler(usize::try_from(draw.below(9000)).unwrap(), draw.byte());
    let file = store.push(bytes.clone());
    let mut data = Data::dense(file, u64::try_from(bytes.len()).unwrap());
    if kind == 1 && data.len > 4000 {
        bytes[..1000].fill(0);
        bytes[2000..3000].fill(0);
        data.ranges = Some([1000..2000, 3000..data.len].into());
    }
    let node = builder.node(meta(0o644), NewContent::File(data)).unwrap();
    (node, Some(bytes))
}

fn listing(tree: &Tree, store: &impl Store) -> Listing {
    let found = tree.iter().skip(1).map(|(id, node)| {
        let bytes = match &node.content {
            Content::File(data) => {
                let mut bytes = vec![0; usize::try_from(data.len).unwrap()];
                let open = store.open(data.file).unwrap();
                open.read_exact_at(&mut bytes, 0).unwrap();
                Some(bytes)
            }
            _ => None,
        };
        (tree.path(id), (node.meta.mtime.secs, bytes))
    });
    found.collect()
}

/// Whether a tree is refused for what it holds.
fn is_deserved(error: &PlanError, listing: &Listing) -> bool {
    let texts = || listing.keys().map(|path| String::from_utf8_lossy(path));
    match error {
        PlanError::Name { .. } => texts().any(|path| path.contains('?')),
        PlanError::SameName { .. } => {
            let mut folded: Vec<String> = texts().map(|path| path.to_lowercase()).collect();
            folded.sort_unstable();
            folded.windows(2).any(|pair| pair[0] == pair[1])
        }
        _ => false,
    }
}
