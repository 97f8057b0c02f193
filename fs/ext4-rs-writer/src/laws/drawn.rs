//! Trees and options drawn from bytes: mostly small, now and then at a border of the format.

use std::ops::Range;

use image_core::laws::{Draw, filler};
use image_core::tree::{Builder, Data, Device, Meta, NewContent, Time, TreeError, Xattr, XattrsId};
use image_core::{FileId, Identity, NodeId, Tree};

use crate::features::{Feature, Incompat};
use crate::options::HashVersion;
use crate::units::BlockSize;
use crate::{Inodes, Journal, Options, Profile, Size};

const MIB: u64 = 1 << 20;

/// Options of every kind, from which more plans come than refusals.
pub(super) fn options(draw: &mut Draw<'_>) -> Options {
    let profile = *draw.pick(&[
        Profile::Default,
        Profile::Modern,
        Profile::Legacy,
        Profile::Ext3,
        Profile::Ext2,
    ]);
    let identity = Identity::new(b"seed", time(draw), draw.below(2) == 1);
    let mut options = Options::new(profile, identity);
    // Large values are asked for often enough to be worth it.
    let values = draw.below(3) == 2 && options.features.extents();
    options.features.incompat.set(Incompat::EA_INODE, values);
    for _ in 0..draw.below(16).saturating_sub(12) {
        let (_, feature) = *draw.pick(&Feature::NAMES);
        let on = options.features.has(feature);
        options.features.set(feature, !on);
    }
    options.block_size = *draw.pick(&[BlockSize::KIB_4, BlockSize::KIB_1, BlockSize::KIB_2]);
    options.size = match draw.below(8) {
        0..=2 => Size::Minimal,
        3 => Size::Headroom,
        4 => Size::Extra(draw.below(20 * MIB)),
        5 => Size::Fixed(draw.below(4 * MIB)),
        6 => Size::Fixed(draw.below(400 * MIB)),
        _ => *draw.pick(&[
            Size::Extra(u64::MAX),
            Size::Fixed(u64::MAX),
            Size::Fixed(4096 * MIB),
        ]),
    };
    options.journal = match draw.below(4) {
        0..=2 => Journal::Fixed(4 * MIB),
        _ if draw.below(2) == 0 => Journal::Fixed(draw.below(64 * MIB)),
        _ => *draw.pick(&[Journal::Auto, Journal::Fixed(0), Journal::Fixed(u64::MAX)]),
    };
    if draw.below(3) == 2 {
        uncommon(draw, &mut options);
    }
    options
}

/// What few users ask for.
fn uncommon(draw: &mut Draw<'_>, options: &mut Options) {
    options.inode_size = *draw.pick(&[256_u16, 256, 256, 128, 512, 1024, 4096, 300]);
    options.inodes = match draw.below(4) {
        0 => None,
        1 => Some(Inodes::Ratio(1000 + u32::try_from(draw.below(1 << 20)).unwrap())),
        2 => Some(Inodes::Count(u32::try_from(draw.below(20_000)).unwrap())),
        _ => Some(Inodes::Count(u32::MAX)),
    };
    options.flex_groups = 1_u32.rotate_left(u32::from(draw.byte() % 11));
    options.blocks_per_group = match draw.below(4) {
        0 | 1 => None,
        2 => Some(u32::try_from(30 + draw.below(1000)).unwrap() * 8),
        _ => Some(u32::try_from(draw.below(5000)).unwrap() * 8 + u32::from(draw.byte() / 255)),
    };
    options.max_size = match draw.below(4) {
        0 | 1 => None,
        2 => Some(1_u64.rotate_left(u32::from(draw.byte() % 64))),
        _ => Some(u64::MAX),
    };
    options.reserved_permyriad = u16::from(draw.byte()) * 20;
    options.root_owner = (draw.below(2) == 1).then_some((u32::MAX - 1, 1 << 16));
    options.root_mode = (draw.below(2) == 1).then_some(0o7070);
    options.orphan_file_blocks = *draw.pick(&[32, 1, 64, 512, 0]);
    options.stride = draw.byte().into();
    options.hash = *draw.pick(&[HashVersion::HalfMd4, HashVersion::Tea, HashVersion::Legacy]);
    options.hash_signed = draw.below(2) == 0;
}

/// A tree of up to some fifty nodes, and crowds of many more.
pub(super) fn tree(draw: &mut Draw<'_>) -> Result<Tree, TreeError> {
    let mut grove = Grove {
        builder: Tree::builder(Meta::root(0o755)),
        sets: vec![XattrsId::NONE],
        dirs: vec![NodeId::ROOT],
        others: Vec::new(),
        files: 0,
    };
    for _ in 0..draw.below(3) {
        let set = xattrs(draw);
        grove.sets.push(grove.builder.xattrs(set)?);
    }
    for i in 0..50 {
        if draw.is_empty() {
            break;
        }
        grove.grow(draw, i)?;
    }
    grove.builder.build()
}

/// A tree while it grows.
struct Grove {
    builder: Builder,
    sets: Vec<XattrsId>,
    dirs: Vec<NodeId>,
    others: Vec<NodeId>,
    files: u32,
}

impl Grove {
    fn grow(&mut self, draw: &mut Draw<'_>, i: usize) -> Result<(), TreeError> {
        let parent = *draw.pick(&self.dirs);
        let name = name(draw, i);
        let kind = draw.below(10);
        if kind == 0 && !self.others.is_empty() {
            return self.builder.link(parent, &name, *draw.pick(&self.others));
        }
        let device = Device {
            major: u32::try_from(draw.below(4100)).unwrap(),
            minor: u32::from(draw.byte()) << 12,
        };
        let meta = self.meta(draw);
        let target = b"t/".repeat(1 + usize::from(draw.byte()) * *draw.pick(&[1, 1, 1, 2, 8]));
        let content = match kind {
            1..=3 => NewContent::Directory,
            4 => NewContent::Symlink(&target[..target.len() - usize::from(draw.byte() % 2)]),
            5 if draw.below(2) == 0 => NewContent::Fifo,
            5 => NewContent::Socket,
            6 => NewContent::BlockDevice(device),
            7 => NewContent::CharDevice(device),
            _ => NewContent::File(self.data(draw)),
        };
        let node = self.builder.node(meta, content)?;
        self.builder.link(parent, &name, node)?;
        if !(1..=3).contains(&kind) {
            self.others.push(node);
            return Ok(());
        }
        self.dirs.push(node);
        if kind == 3 {
            self.crowd(draw, node)?;
        }
        Ok(())
    }

    /// Fills a directory.
    fn crowd(&mut self, draw: &mut Draw<'_>, dir: NodeId) -> Result<(), TreeError> {
        let len = usize::from(draw.byte());
        for i in 0..draw.below(600) {
            let node = self.builder.node(Meta::root(0o644), NewContent::Fifo)?;
            self.builder.link(dir, format!("{i:0>len$}").as_bytes(), node)?;
        }
        Ok(())
    }

    fn meta(&self, draw: &mut Draw<'_>) -> Meta {
        Meta {
            mode: u16::try_from(draw.below(0o10000)).unwrap(),
            uid: u32::from(draw.byte()) << 10,
            // 2^32 - 1 is nobody's number: the kernel does not even let root pass such a directory.
            gid: *draw.pick(&[0, 7, u32::MAX - 1]),
            mtime: time(draw),
            xattrs: *draw.pick(&self.sets),
        }
    }

    fn data(&mut self, draw: &mut Draw<'_>) -> Data {
        let file = FileId(self.files);
        self.files += 1;
        let len = match draw.below(8) {
            0..=2 => draw.below(5000),
            3..=5 => draw.below(MIB),
            6 => draw.below(1 << 36),
            _ if draw.below(3) < 2 => draw.below(100),
            _ => *draw.pick(&[1 << 31, 1 << 41, 1 << 44, u64::MAX]) - draw.below(2),
        };
        // No small image holds the data of a large file.
        let sparse = len > MIB || draw.below(3) == 0;
        let ranges = sparse.then(|| ranges(draw, len).into());
        Data { file, len, ranges }
    }
}

/// Runs of data with holes between them, at the ends of blocks and elsewhere.
fn ranges(draw: &mut Draw<'_>, len: u64) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    let mut at = 0_u64;
    for _ in 0..draw.below(40) {
        let hole = match draw.below(4) {
            0 => 1024 * draw.below(9),
            1 => draw.below(100_000),
            2 => draw.below(len / 4 + 1),
            _ => 1 + draw.below(9),
        };
        let start = at.saturating_add(hole);
        let end = start.saturating_add(1 + draw.below(10_000));
        if end > len {
            break;
        }
        // Runs that touch are one run.
        if start > at || ranges.is_empty() {
            ranges.push(start..end);
        }
        at = end;
    }
    ranges
}

fn name(draw: &mut Draw<'_>, i: usize) -> Vec<u8> {
    match draw.below(8) {
        0 if draw.below(8) == 7 => b"lost+found".to_vec(),
        1 => format!("{i:n>255}").into_bytes(),
        2 => vec![0xff - u8::try_from(i).unwrap()],
        _ => format!("node-{i}").into_bytes(),
    }
}

fn time(draw: &mut Draw<'_>) -> Time {
    let secs = match draw.below(4) {
        0..=2 => i64::try_from(draw.below(1 << 35)).unwrap() - (1 << 31) - 9,
        _ => *draw.pick(&[i64::MIN, i64::MAX, -1, 0]),
    };
    let nanos = u32::try_from(draw.below(1_000_000_000)).unwrap();
    Time { secs, nanos }
}

fn xattrs(draw: &mut Draw<'_>) -> Vec<Xattr> {
    const NAMES: [&str; 10] = [
        "user.a",
        "user.b",
        "system.posix_acl_access",
        "trusted.overlay.opaque",
        "security.selinux",
        "security.capability",
        "system.posix_acl_default",
        "system.other",
        "user.",
        "nonsense",
    ];
    let mut set: Vec<Xattr> = Vec::new();
    for _ in 0..draw.below(6) {
        // The last are refused mostly, so they come seldom.
        let known = if draw.below(16) == 15 { NAMES.len() } else { 7 };
        let name = *draw.pick(&NAMES[..known]);
        let value = if name.starts_with("system.posix_acl") {
            acl(draw)
        } else {
            let len = usize::from(draw.byte()) * *draw.pick(&[1, 1, 1, 1, 1, 1, 1, 4, 16, 200, 300]);
            filler(len, draw.byte())
        };
        if set.iter().all(|xattr| xattr.name != name.as_bytes()) {
            set.push(Xattr {
                name: name.into(),
                value,
            });
        }
    }
    set
}

/// An ACL that may be valid, in the form of the system's calls.
fn acl(draw: &mut Draw<'_>) -> Vec<u8> {
    // Owner, named users, group, named groups, mask, others.
    const TAGS: [&[u8]; 3] = [&[1, 4, 32], &[1, 2, 2, 4, 16, 32], &[1, 2, 4, 8, 16, 32]];
    let tags = draw.pick(&TAGS);
    let mut value = vec![2, 0, 0, 0];
    for (id, tag) in (0..).zip(tags.iter().copied()) {
        let owner: u32 = if matches!(tag, 2 | 8) { id } else { u32::MAX };
        value.extend([tag, 0, draw.byte() % 8, 0]);
        value.extend(owner.to_le_bytes());
    }
    if draw.below(8) == 7 {
        let at = usize::from(draw.byte()) % value.len();
        value[at] = draw.byte();
    }
    value
}
