//! Checksums and hashes against bytes that mke2fs, e2fsck, the kernel and debugfs made.
//!
//! `fixtures/vectors/ext4/MANIFEST` says where each file was cut from; [`regenerate`] cuts them anew.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use ext4_rs_writer::checksum::{self, InodeSeed, Seed};
use ext4_rs_writer::hash::Hasher;
use ext4_rs_writer::options::HashVersion;
use ext4_rs_writer::units::{Block, Group, Ino};

use crate::image::temporary;

const UUID: &str = "0b5f7f2e-6a0c-4d5e-9c53-9e1d2f3a4b5c";
const HASH_SEED: &str = "6f1c3c8b-52de-4f0e-9a41-7d26be6013f5";
const BLOCK: usize = 1024;

fn vectors() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/vectors/ext4"
    ))
}

/// A vector, and the number in its name: the inode or the block that it belongs to.
fn vector(what: &str) -> (Vec<u8>, u32) {
    let entry = fs::read_dir(vectors())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap();
            name.rsplit_once('-').is_some_and(|(kind, _)| kind == what)
        })
        .unwrap_or_else(|| panic!("no vector {what}"));
    let stem = entry.file_stem().unwrap().to_str().unwrap();
    let number = stem.rsplit_once('-').unwrap().1.parse().unwrap();
    (fs::read(&entry).unwrap(), number)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn seed() -> Seed {
    let (superblock, _) = vector("superblock");
    Seed::from_uuid(superblock[0x68..0x78].try_into().unwrap())
}

/// The seed of an inode of generation 0, as all but the kernel make them.
fn inode_seed(ino: u32) -> InodeSeed {
    seed().inode(Ino(ino), 0)
}

#[test]
fn superblock_and_descriptors() {
    let (superblock, _) = vector("superblock");
    assert_eq!(checksum::superblock(&superblock), u32_at(&superblock, 0x3fc));
    let (descriptor, group) = vector("descriptor");
    let sum = seed().group_descriptor(Group(group), &descriptor);
    assert_eq!(sum, u16_at(&descriptor, 0x1e));
    let halves = |lo, hi| u32::from(u16_at(&descriptor, lo)) | u32::from(u16_at(&descriptor, hi)) << 16;
    assert_eq!(seed().bitmap(&vector("block_bitmap").0), halves(0x18, 0x38));
    assert_eq!(seed().bitmap(&vector("inode_bitmap").0), halves(0x1a, 0x3a));
}

#[test]
fn descriptors_of_old_file_systems() {
    let (descriptor, group) = vector("descriptor_crc16");
    let (superblock, _) = vector("superblock_crc16");
    let uuid = superblock[0x68..0x78].try_into().unwrap();
    let sum = checksum::group_descriptor_crc16(uuid, Group(group), &descriptor);
    assert_eq!(sum, u16_at(&descriptor, 0x1e));
}

#[test]
fn inodes_and_what_they_own() {
    let (inode, ino) = vector("inode");
    let sum = seed().inode(Ino(ino), u32_at(&inode, 0x64)).inode(&inode);
    assert_eq!(
        sum,
        u32::from(u16_at(&inode, 0x7c)) | u32::from(u16_at(&inode, 0x82)) << 16
    );
    assert!(checksum::inode_has_checksum_hi(&inode));
    let (leaf, ino) = vector("directory_leaf");
    let (entries, tail) = leaf.split_at(BLOCK - 12);
    assert_eq!(inode_seed(ino).directory_leaf(entries), u32_at(tail, 8));
    let (root, ino) = vector("htree_root");
    let (limit, count) = (usize::from(u16_at(&root, 0x20)), usize::from(u16_at(&root, 0x22)));
    let sum = inode_seed(ino).htree_node(&root[..0x20 + 8 * count], 0);
    assert_eq!(sum, u32_at(&root, 0x20 + 8 * limit + 4));
    let (extents, ino) = vector("extent_block");
    let used = 12 + 12 * usize::from(u16_at(&extents, 4));
    assert_eq!(
        inode_seed(ino).extent_block(&extents[..used]),
        u32_at(&extents, used)
    );
}

#[test]
fn blocks_that_know_their_place() {
    let (block, at) = vector("xattr_block");
    assert_eq!(seed().xattr_block(Block(at.into()), &block), u32_at(&block, 0x10));
    let (orphans, at) = vector("orphan_block");
    let superblock = vector("superblock").0;
    let ino = u32_at(&superblock, 0x280);
    let sum = inode_seed(ino).orphan_block(Block(at.into()), &orphans[..BLOCK - 8]);
    assert_eq!(sum, u32_at(&orphans, BLOCK - 4));
    let (journal, _) = vector("journal_superblock");
    let stored = u32::from_be_bytes(journal[0xfc..0x100].try_into().unwrap());
    assert_eq!(checksum::journal_superblock(&journal), stored);
}

#[test]
fn hashes_are_those_of_debugfs() {
    let text = fs::read_to_string(vectors().join("dx_hash.txt")).unwrap();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('|').collect();
        let [seed, version, name, major, minor] = fields[..] else {
            panic!("{line}")
        };
        let bytes: Vec<u8> = (0..32)
            .step_by(2)
            .map(|i| u8::from_str_radix(&seed.replace('-', "")[i..i + 2], 16).unwrap())
            .collect();
        let version: u8 = version.parse().unwrap();
        let hasher = Hasher {
            algorithm: [HashVersion::Legacy, HashVersion::HalfMd4, HashVersion::Tea]
                [usize::from(version % 3)],
            unsigned: version >= 3,
            seed: std::array::from_fn(|i| u32_at(&bytes, 4 * i)),
        };
        let hash = hasher.hash(name.as_bytes());
        assert_eq!(
            format!("{:#x}|{:#x}", hash.major, hash.minor),
            format!("{major}|{minor}"),
            "{line}"
        );
    }
}

/// Cuts structures out of an image and notes where each was.
struct Knife {
    image: Vec<u8>,
    command: &'static str,
    manifest: String,
}

impl Knife {
    fn cut(&mut self, name: &str, number: u32, offset: usize, len: usize) {
        let file = format!("{name}-{number}.bin");
        fs::write(vectors().join(&file), &self.image[offset..offset + len]).unwrap();
        writeln!(
            self.manifest,
            "{file} | {} | offset {offset}, {len} bytes",
            self.command
        )
        .unwrap();
    }

    fn block(&mut self, name: &str, number: u32, block: u32) {
        self.cut(name, number, block as usize * BLOCK, BLOCK);
    }

    /// Where an inode of group 0 lies.
    fn inode(&self, ino: u32) -> usize {
        u32_at(&self.image, 2 * BLOCK + 8) as usize * BLOCK + (ino as usize - 1) * 256
    }

    /// The first block that an inode's extent tree names.
    fn first_block(&self, ino: u32) -> u32 {
        let map = self.inode(ino) + 0x28;
        let leaf = u16_at(&self.image, map + 6) == 0;
        u32_at(&self.image, map + 12 + if leaf { 8 } else { 4 })
    }
}

/// A directory large enough for an index, a file with more extents than its inode holds, and a large xattr.
fn furnish(source: &std::path::Path) {
    fs::create_dir_all(source.join("d")).unwrap();
    for i in 0..200 {
        fs::write(source.join(format!("d/name-{i}")), b"").unwrap();
    }
    let sparse = fs::File::create(source.join("islands")).unwrap();
    for i in 0..10 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, &[1; 4096], i * 16384).unwrap();
    }
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(source.join("islands"), "user.large", &[7; 300], flags).unwrap();
}

/// Cuts out what every file system has.
fn cut_group(knife: &mut Knife) {
    let descriptor = 2 * BLOCK;
    let bitmap = |knife: &Knife, at| u32_at(&knife.image, descriptor + at) as usize * BLOCK;
    let inodes = u32_at(&knife.image, 1024 + 0x28) as usize;
    knife.cut("superblock", 0, 1024, 1024);
    knife.cut("descriptor", 0, descriptor, 64);
    knife.cut("block_bitmap", 0, bitmap(knife, 0), 8192 / 8);
    knife.cut("inode_bitmap", 0, bitmap(knife, 4), inodes / 8);
}

#[test]
#[ignore = "makes the vectors anew; needs root, mke2fs, e2fsck, debugfs and a mount"]
fn regenerate() {
    let dir = temporary();
    let source = dir.path().join("source");
    furnish(&source);
    let image = dir.path().join("image");
    fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    let seed = format!("hash_seed={HASH_SEED}");
    let common = [
        "-t", "ext4", "-b", "1024", "-I", "256", "-U", UUID, "-E", &seed, "-O",
    ];
    let features = "64bit,metadata_csum,orphan_file,^metadata_csum_seed";
    let arguments = [&common[..], &[features, "-d", source.to_str().unwrap()]].concat();
    oracle::ext4::mke2fs(&image, &arguments);
    // Indexes the directory.
    oracle::output("e2fsck", &["-fyD".as_ref(), image.as_os_str()]);
    // Gives the journal its checksum.
    oracle::mounted::write(&image, |root| fs::write(root.join("new"), b"new").unwrap());
    let ino = |path: &str| -> u32 {
        let text = oracle::ext4::debugfs(&image, &format!("stat {path}"));
        let number = text.split("Inode: ").nth(1).unwrap().split(' ').next().unwrap();
        number.parse().unwrap()
    };
    let (directory, islands) = (ino("/d"), ino("/islands"));
    let blocks = oracle::ext4::debugfs(&image, "blocks /d");
    let blocks: Vec<u32> = blocks
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let version = oracle::output("mke2fs", &["-V".as_ref()]).stderr;
    fs::create_dir_all(vectors()).unwrap();
    for old in fs::read_dir(vectors()).unwrap() {
        fs::remove_file(old.unwrap().path()).unwrap();
    }
    let mut knife = Knife {
        image: fs::read(&image).unwrap(),
        command: "mke2fs -t ext4 -b 1024 -O 64bit,metadata_csum,orphan_file -d, e2fsck -fyD, kernel mount",
        manifest: String::from_utf8_lossy(&version)
            .lines()
            .next()
            .unwrap()
            .to_owned()
            + "\n",
    };
    cut_group(&mut knife);
    knife.cut("inode", islands, knife.inode(islands), 256);
    knife.block("htree_root", directory, blocks[0]);
    knife.block("directory_leaf", directory, blocks[1]);
    knife.block("extent_block", islands, knife.first_block(islands));
    let xattrs = u32_at(&knife.image, knife.inode(islands) + 0x68);
    knife.block("xattr_block", xattrs, xattrs);
    let orphans = knife.first_block(u32_at(&knife.image, 1024 + 0x280));
    knife.block("orphan_block", orphans, orphans);
    knife.cut(
        "journal_superblock",
        8,
        knife.first_block(8) as usize * BLOCK,
        1024,
    );
    let arguments = [&common[..], &["^metadata_csum,^64bit,uninit_bg"]].concat();
    fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    oracle::ext4::mke2fs(&image, &arguments);
    knife.image = fs::read(&image).unwrap();
    knife.command = "mke2fs -t ext4 -b 1024 -O ^metadata_csum,^64bit,uninit_bg";
    knife.cut("superblock_crc16", 0, 1024, 1024);
    knife.cut("descriptor_crc16", 1, 2 * BLOCK + 32, 32);
    writeln!(
        knife.manifest,
        "dx_hash.txt | debugfs dx_hash -h VERSION -s SEED NAME | printed"
    )
    .unwrap();
    fs::write(vectors().join("MANIFEST"), knife.manifest).unwrap();
    fs::write(vectors().join("dx_hash.txt"), hashes(&image)).unwrap();
}

/// What debugfs takes for the hashes of some names: `seed|version|name|major|minor`.
fn hashes(image: &std::path::Path) -> String {
    let mut text = String::new();
    let long = "a rather long name that needs more than one block of thirty-two bytes, and some more of it";
    for seed in [HASH_SEED, "00000000-0000-0000-0000-000000000000"] {
        for version in 0..6 {
            for name in [
                "a",
                "lost+found",
                "a-name-of-exactly-thirty-two-b32",
                long,
                "größe-日本語",
            ] {
                let command = format!("dx_hash -h {version} -s {seed} \"{name}\"");
                let said = oracle::ext4::debugfs(image, &command);
                let (_, hash) = said.lines().next().unwrap().rsplit_once(" is ").unwrap();
                let (major, minor) = hash.trim().trim_end_matches(')').split_once(" (minor ").unwrap();
                writeln!(text, "{seed}|{version}|{name}|{major}|{minor}").unwrap();
            }
        }
    }
    text
}
