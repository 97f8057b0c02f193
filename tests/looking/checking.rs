//! `dib check` against `e2fsck`, `qemu-img check` and `sgdisk -v`: what they call sound has no finding, and each damage of a
//! table that they notice has one.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::{MIB, TOOLS, UUID, disks, json, put, tool};
use crate::lab::{DIB, Lab};

const FORMS: [&str; 9] = [
    "-t ext2",
    "-t ext2 -b 1024 -I 128 -O ^filetype",
    "-t ext3 -b 2048",
    "-t ext4",
    "-t ext4 -b 1024",
    "-t ext4 -O ^64bit,^metadata_csum,uninit_bg",
    "-t ext4 -O ^flex_bg,^resize_inode,meta_bg",
    "-t ext4 -O ^resize_inode,sparse_super2",
    "-t ext4 -O metadata_csum_seed,64bit,ea_inode,quota",
];

/// Enough names for an index of two levels, links, holes, and what takes blocks of extents.
fn filled(lab: &Lab) -> String {
    let tree = lab.out("tree");
    for name in 0..2000 {
        put(
            &tree,
            &format!("many/a-name-that-is-of-some-length-{name:04}-{}", "x".repeat(30)),
            b"",
        );
    }
    put(&tree, "a/file", &vec![1; 200_000]);
    fs::hard_link(tree.join("a/file"), tree.join("a/same")).unwrap();
    std::os::unix::fs::symlink("x".repeat(100), tree.join("a/long")).unwrap();
    let sparse = File::create(tree.join("a/sparse")).unwrap();
    for at in 0..50 {
        sparse.write_all_at(&[7; 4096], at * 40_960).unwrap();
    }
    tree.display().to_string()
}

fn make(image: &Path, tree: &str, form: &str) {
    File::create(image).unwrap().set_len(64 * MIB).unwrap();
    // A seed of names' hashes that is the same each time, so that the same damage is.
    let seed = format!("hash_seed={UUID}");
    let mut args = vec!["-q", "-F", "-E", &seed, "-d", tree];
    args.extend(form.split(' '));
    args.push(image.to_str().unwrap());
    tool("mke2fs", &args);
}

#[test]
fn sound_file_systems_have_no_finding() {
    if !oracle::require(&["mke2fs", "e2fsck"]) {
        return;
    }
    let lab = Lab::unprivileged();
    let tree = filled(&lab);
    for form in FORMS {
        let image = lab.out("image");
        make(&image, &tree, form);
        // The one that indexes what mke2fs leaves without an index.
        let optimised = oracle::output("e2fsck", &["-fyD".as_ref(), image.as_os_str()]);
        assert!(optimised.status.code().is_some_and(|code| code < 2));
        oracle::ext4::fsck(&image);
        let said = lab.run(DIB, &["check", "image"]).ok();
        assert_eq!(
            said.out, "image: nothing is wrong with ext4 (the image)\n",
            "{form}"
        );
    }
}

/// Whether e2fsck has something to say; of some numbers it says so, and ends with 0.
fn is_noticed(image: &Path) -> bool {
    ["-n", "-fn"].iter().any(|how| {
        let judged = oracle::output("e2fsck", &[how.as_ref(), image.as_os_str()]);
        let text = String::from_utf8_lossy(&judged.stdout).into_owned();
        let text = text + &String::from_utf8_lossy(&judged.stderr);
        !judged.status.success() || text.contains("? no") || text.contains("with errors")
    })
}

/// A damage: what debugfs is told, and what the finding says.
const DAMAGES: [(&str, &str); 16] = [
    (
        "set_super_value free_blocks_count 7",
        "the number of free blocks of the file system is 7",
    ),
    (
        "set_super_value free_inodes_count 7",
        "the number of free inodes of the file system is 7",
    ),
    ("set_super_value state 3", "errors were found"),
    (
        "set_bg 0 free_blocks_count 3\nset_bg 0 checksum calc",
        "the number of free blocks of block group 0 is 3",
    ),
    (
        "set_bg 0 used_dirs_count 9\nset_bg 0 checksum calc",
        "the number of directories of block group 0 is 9",
    ),
    (
        "set_bg 0 block_bitmap_csum 1\nset_bg 0 checksum calc",
        "the block bitmap of block group 0 has a wrong checksum",
    ),
    (
        "set_bg 0 inode_bitmap_csum 1\nset_bg 0 checksum calc",
        "the inode bitmap of block group 0 has a wrong checksum",
    ),
    (
        "set_bg 0 checksum 1",
        "the descriptor of block group 0 has a wrong checksum",
    ),
    (
        "set_inode_field /a/file links_count 5",
        "the number of links of inode",
    ),
    (
        "set_inode_field /a/file blocks 99",
        "the number of sectors of inode",
    ),
    ("set_inode_field /a/long checksum 1", "the inode of inode"),
    ("unlink /a/long", "is in use and has no name"),
    ("clri /a/long", "cannot be 0"),
    ("freeb 1 1", "1 blocks in use as free, the first 1"),
    (
        "setb 15000 3",
        "3 blocks as in use that nothing has, the first 15000",
    ),
    ("link /a /a/again", "is named twice"),
];

#[test]
fn each_damage_of_a_file_system_is_found() {
    if !oracle::require(&["mke2fs", "e2fsck", "debugfs"]) {
        return;
    }
    let lab = Lab::unprivileged();
    let tree = filled(&lab);
    let (whole, image) = (lab.out("whole"), lab.out("image"));
    make(&whole, &tree, "-t ext4 -b 4096");
    let _ = oracle::output("e2fsck", &["-fyD".as_ref(), whole.as_os_str()]);
    for (damage, finding) in DAMAGES {
        fs::copy(&whole, &image).unwrap();
        oracle::ext4::debugfs_commands(&image, true, &format!("{damage}\n"));
        assert!(is_noticed(&image), "e2fsck finds nothing after {damage}");
        let said = lab.run(DIB, &["check", "image"]);
        assert_eq!(
            (said.status, said.err.as_str()),
            (1, ""),
            "{damage}: {}",
            said.out
        );
        assert!(
            said.out.contains(finding),
            "{damage}: no '{finding}' in {}",
            said.out
        );
        let told = json(&lab.run(DIB, &["check", "--json", "image"]));
        assert_eq!(told["findings"][0]["structure"], "ext4");
    }
}

/// Where the blocks of a file lie.
fn blocks(image: &Path, file: &str) -> Vec<u64> {
    let said = oracle::ext4::debugfs(image, &format!("blocks {file}"));
    let last = said
        .lines()
        .rev()
        .find(|line| line.contains(' ') && !line.contains("debugfs"));
    let words = last.unwrap_or_default().split_whitespace();
    words.filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn each_damage_of_a_directory_is_found() {
    if !oracle::require(&["mke2fs", "e2fsck", "debugfs"]) {
        return;
    }
    let lab = Lab::unprivileged();
    let tree = filled(&lab);
    let image = lab.out("image");
    // Without checksums nothing but the tree itself tells.
    for form in ["-t ext4 -b 4096 -O ^metadata_csum", "-t ext4 -b 4096"] {
        make(&lab.out("whole"), &tree, form);
        let _ = oracle::output("e2fsck", &["-fyD".as_ref(), lab.out("whole").as_os_str()]);
        let blocks = blocks(&lab.out("whole"), "/many");
        assert!(blocks.len() > 10, "{blocks:?}");
        let (root, leaf) = (blocks[0] * 4096, blocks[5] * 4096);
        for (at, bytes) in [
            (root + 0x28 + 8, &[0xff, 0xff, 0xff, 0xfe][..]),
            (root + 0x2c, &[0xff, 0xff, 0, 0]),
            (root + 0x1e, &[9]),
            (root + 12, &[99]),
            (leaf + 4, &[3, 0]),
            (leaf + 8, b"zzzzzzzz"),
            (leaf, &[0xf0, 0xff, 0, 0]),
        ] {
            fs::copy(lab.out("whole"), &image).unwrap();
            let file = File::options().write(true).open(&image).unwrap();
            file.write_all_at(bytes, at).unwrap();
            assert!(
                is_noticed(&image),
                "e2fsck finds nothing after {bytes:?} at {}",
                at - root
            );
            let said = lab.run(DIB, &["check", "image"]);
            assert_eq!(said.status, 1, "{form}: {bytes:?} at {at}: {}", said.out);
        }
    }
}

#[test]
fn sound_qcow2_images_have_no_finding() {
    if !oracle::require(&TOOLS) {
        return;
    }
    let lab = Lab::unprivileged();
    disks(&lab);
    super::convert(&lab, "disk.raw", "plain.qcow2", &["-O", "qcow2"]);
    super::convert(
        &lab,
        "disk.raw",
        "bits.qcow2",
        &["-O", "qcow2", "-o", "refcount_bits=1,cluster_size=4k"],
    );
    super::convert(
        &lab,
        "disk.raw",
        "kept.qcow2",
        &["-O", "qcow2", "-o", "compat=0.10,preallocation=metadata"],
    );
    let kept = lab.out("kept.qcow2").display().to_string();
    tool("qemu-img", &["snapshot", "-c", "one", &kept]);
    for image in ["disk.qcow2", "plain.qcow2", "bits.qcow2", "kept.qcow2"] {
        oracle::qcow2::check(&lab.out(image));
        let said = lab.run(DIB, &["check", image]).ok();
        assert!(
            said.out
                .starts_with(&format!("{image}: nothing is wrong with qcow2")),
            "{}",
            said.out
        );
    }
}

#[test]
fn each_damage_of_a_qcow2_image_is_found() {
    if !oracle::require(&TOOLS) {
        return;
    }
    let lab = Lab::unprivileged();
    disks(&lab);
    super::convert(&lab, "disk.raw", "plain.qcow2", &["-O", "qcow2"]);
    let whole = fs::read(lab.out("plain.qcow2")).unwrap();
    let word = |at: usize| u64::from_be_bytes(whole[at..at + 8].try_into().unwrap());
    let (l1, refcounts) = (word(40), word(48));
    let l2 = word(usize::try_from(l1).unwrap()) & 0x00ff_ffff_ffff_fe00;
    let block = word(usize::try_from(refcounts).unwrap());
    let data = word(usize::try_from(l2).unwrap());
    let after = data & 0x00ff_ffff_ffff_fe00;
    for (at, bytes, finding) in [
        (
            block + 2,
            vec![0, 9],
            "is leaked: it is used 1 times, and its reference count is 9",
        ),
        (block, vec![0, 0], "is used 1 times, and its reference count is 0"),
        (
            l2,
            (data & !(1 << 63)).to_be_bytes().to_vec(),
            "do not agree on whether it is the only one",
        ),
        (
            l2,
            (data + 512).to_be_bytes().to_vec(),
            "a cluster of the guest at byte",
        ),
        (
            l2 + 8,
            (after | 1 << 63).to_be_bytes().to_vec(),
            "is used 2 times",
        ),
        (
            l2,
            (1_u64 << 63 | 1 << 40).to_be_bytes().to_vec(),
            "lies past the end of the file",
        ),
        (l1, (l2 + 1024).to_be_bytes().to_vec(), "an L2 table at byte"),
        (79, vec![2], "the header says that the image is corrupt"),
    ] {
        fs::write(lab.out("bad.qcow2"), &whole).unwrap();
        let file = File::options().write(true).open(lab.out("bad.qcow2")).unwrap();
        file.write_all_at(&bytes, at).unwrap();
        let judged = oracle::output("qemu-img", &["check".as_ref(), lab.out("bad.qcow2").as_os_str()]);
        assert!(
            !judged.status.success() || bytes == [2],
            "qemu-img finds nothing: {finding}"
        );
        let said = lab.run(DIB, &["check", "bad.qcow2"]);
        assert!(said.status > 0, "{finding}: {}", said.out);
        assert!(
            said.out.contains(finding),
            "no '{finding}' in {}{}",
            said.out,
            said.err
        );
    }
}

#[test]
fn each_damage_of_a_table_is_found() {
    if !oracle::require(&TOOLS) {
        return;
    }
    let lab = Lab::unprivileged();
    disks(&lab);
    let said = lab.run(DIB, &["check", "disk.raw"]).ok();
    let all =
        "table (the disk), vfat (partition 1), ext4 (partition 2), ext4 (partition 3), ext4 (partition 4)";
    assert_eq!(said.out, format!("disk.raw: nothing is wrong with {all}\n"));
    let last = 64 * MIB - 512;
    for (at, bytes, finding) in [
        (
            512 + 40,
            &[9][..],
            "table: the first GPT: its header has a wrong checksum",
        ),
        (512, b"X", "table: the first GPT: there is none in sector 1"),
        (
            last + 24,
            &[1],
            "table: the second GPT: its header has a wrong checksum",
        ),
        (
            last,
            b"X",
            "table: the second GPT: there is none in sector 131071",
        ),
        (1024 + 32, &[1], "table: the first GPT: "),
        (
            450,
            &[0x83],
            "table: the master boot record: it does not protect the GPT",
        ),
    ] {
        fs::copy(lab.out("disk.raw"), lab.out("bad.raw")).unwrap();
        let file = File::options().write(true).open(lab.out("bad.raw")).unwrap();
        file.write_all_at(bytes, at).unwrap();
        let said = lab.run(DIB, &["check", "bad.raw"]);
        assert_eq!(said.status, 1, "{finding}: {}{}", said.out, said.err);
        assert!(said.out.contains(finding), "no '{finding}' in {}", said.out);
    }
    let file = File::create(lab.out("mbr.raw")).unwrap();
    file.set_len(8 * MIB).unwrap();
    let mut sector = [0; 512];
    let entry = |start: u32, len: u32| {
        [
            &[0, 0, 0, 0, 0x83, 0, 0, 0][..],
            &start.to_le_bytes(),
            &len.to_le_bytes(),
        ]
        .concat()
    };
    sector[446..462].copy_from_slice(&entry(2048, 4096));
    sector[462..478].copy_from_slice(&entry(4096, 4096));
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    file.write_all_at(&sector, 0).unwrap();
    let said = lab.run(DIB, &["check", "mbr.raw"]);
    assert_eq!(
        (said.status, said.out.as_str()),
        (1, "table: partition 2: it lies over partition 1\n")
    );
}

/// Images of the containers that have no reference counts: by `qemu-img`, and ours.
const CONTAINERS: [(&str, &str, &str); 6] = [
    ("vhd", "vpc", "subformat=dynamic"),
    ("vhd", "vpc", "subformat=fixed"),
    ("vdi", "vdi", "static=off"),
    ("vdi", "vdi", "static=on"),
    ("vmdk", "vmdk", "subformat=monolithicSparse"),
    ("vmdk", "vmdk", "subformat=streamOptimized"),
];

#[test]
fn sound_containers_have_no_finding() {
    if !oracle::require(&TOOLS) {
        return;
    }
    let lab = Lab::unprivileged();
    disks(&lab);
    for (kind, theirs, options) in CONTAINERS {
        let name = format!("theirs.{kind}");
        let forced = if kind == "vhd" { ",force_size=on" } else { "" };
        let words = format!("{options}{forced}");
        super::convert(&lab, "disk.raw", &name, &["-O", theirs, "-o", &words]);
        let args = [
            "convert",
            "disk.raw",
            "-o",
            "ours",
            "-t",
            kind,
            "--qemu-img-options",
            options,
        ];
        lab.run(DIB, &args).ok();
        for name in [name, format!("ours.{kind}")] {
            let said = lab.run(DIB, &["check", &name]).ok();
            let told = format!("{name}: nothing is wrong with {kind} (the container), table (the disk)");
            assert!(said.out.starts_with(&told), "{options}: {}", said.out);
            fs::remove_file(lab.out(&name)).unwrap();
        }
    }
}

/// The entries of a table of four bytes each.
fn words(bytes: &[u8], at: usize, count: usize, of: fn([u8; 4]) -> u32) -> Vec<u32> {
    let words = bytes[at..at + 4 * count].chunks(4);
    words.map(|word| of(word.try_into().unwrap())).collect()
}

/// Makes an image of `disk.raw`, and holds each damage of it against what the finding says.
fn damaged(
    lab: &Lab,
    kind: &str,
    options: &str,
    damages: impl Fn(&[u8]) -> Vec<(usize, Vec<u8>, &'static str)>,
) {
    let args = [
        "convert",
        "disk.raw",
        "-o",
        "whole",
        "-t",
        kind,
        "--qemu-img-options",
        options,
    ];
    lab.run(DIB, &args).ok();
    let whole = fs::read(lab.out(&format!("whole.{kind}"))).unwrap();
    for (at, bytes, finding) in damages(&whole) {
        let mut bad = whole.clone();
        bad[at..at + bytes.len()].copy_from_slice(&bytes);
        fs::write(lab.out("bad"), bad).unwrap();
        let said = lab.run(DIB, &["check", "bad"]);
        assert_eq!(
            (said.status, said.err.as_str()),
            (1, ""),
            "{kind}: {finding}: {}",
            said.out
        );
        let line = said.out.lines().find(|line| line.contains(finding));
        let line = line.unwrap_or_else(|| panic!("{kind}: no '{finding}' in {}", said.out));
        assert!(line.starts_with(&format!("{kind}: the container: ")), "{line}");
    }
}

#[test]
fn each_damage_of_a_vhd_and_of_a_vdi_is_found() {
    if !oracle::require(&TOOLS) {
        return;
    }
    let lab = Lab::unprivileged();
    disks(&lab);
    damaged(&lab, "vhd", "subformat=dynamic", |whole| {
        let table = words(whole, 1536, 32, u32::from_be_bytes);
        let used: Vec<usize> = (0..32).filter(|at| table[*at] != u32::MAX).collect();
        let (one, two) = (1536 + 4 * used[0], used[1]);
        let end = whole.len() - 512;
        vec![
            (one, table[two].to_be_bytes().to_vec(), "a block at byte"),
            (one, 2_u32.to_be_bytes().to_vec(), "lies over the header"),
            (
                one,
                0x7fff_ffff_u32.to_be_bytes().to_vec(),
                "lies past the end of the file",
            ),
            (
                100,
                vec![1],
                "the copy of the footer in front has a wrong checksum",
            ),
            (end + 100, vec![1], "the footer at the end has a wrong checksum"),
            (600, vec![1], "the header has a wrong checksum"),
        ]
    });
    damaged(&lab, "vdi", "static=off", |whole| {
        let map = words(whole, 512, 64, u32::from_le_bytes);
        let used: Vec<usize> = (0..64).filter(|at| map[*at] != u32::MAX).collect();
        let one = 512 + 4 * used[0];
        vec![
            (one, map[used[1]].to_le_bytes().to_vec(), "a block at byte"),
            (
                one,
                0x7fff_u32.to_le_bytes().to_vec(),
                "lies past the end of the file",
            ),
            (0x184, vec![99], "the number of blocks in the file is 99"),
            (0x155, vec![0], "the map at byte"),
        ]
    });
}

#[test]
fn each_damage_of_a_vmdk_is_found() {
    if !oracle::require(&TOOLS) {
        return;
    }
    let lab = Lab::unprivileged();
    disks(&lab);
    damaged(&lab, "vmdk", "subformat=monolithicSparse", |whole| {
        let sector = |at: usize| usize::try_from(words(whole, at, 1, u32::from_le_bytes)[0]).unwrap() * 512;
        let (copy, directory) = (sector(48), sector(56));
        let (copied, table) = (sector(copy), sector(directory));
        let grains = words(whole, table, 512, u32::from_le_bytes);
        let used: Vec<usize> = (0..512).filter(|at| grains[*at] != 0).collect();
        let (one, other) = (4 * used[0], grains[used[1]].to_le_bytes().to_vec());
        vec![
            (table + one, other.clone(), "a grain at byte"),
            (
                copied + one,
                other,
                "a table and its copy, which the second directory has, differ",
            ),
            (
                table + one,
                0x7fff_ffff_u32.to_le_bytes().to_vec(),
                "lies past the end of the file",
            ),
            (directory, whole[copy..copy + 4].to_vec(), "lies over"),
        ]
    });
    damaged(&lab, "vmdk", "subformat=streamOptimized", |_| {
        // The first grain stands behind the header and the description.
        vec![(
            65_536,
            vec![1],
            "the grain at byte 65536 is not the one that its table says",
        )]
    });
}

/// What lies in a compressed file is checked as it would be outside of it, and the compression, too.
#[test]
fn what_is_compressed_as_a_whole_is_checked_within() {
    if !oracle::require(&TOOLS) || !oracle::require(&["gzip", "xz", "zstd", "bzip2"]) {
        return;
    }
    let lab = Lab::unprivileged();
    disks(&lab);
    tool(
        "tar",
        &[
            "-C",
            &lab.out("root").display().to_string(),
            "-cf",
            &lab.out("root.tar").display().to_string(),
            ".",
        ],
    );
    for (program, suffix, structure) in [
        ("gzip", "gz", "gzip"),
        ("xz", "xz", "xz"),
        ("zstd", "zst", "zstd"),
        ("bzip2", "bz2", "bzip2"),
    ] {
        let mut packed = Vec::new();
        for (name, inside) in [
            ("disk.raw", "table (the disk), vfat (partition 1), "),
            ("disk.qcow2", "qcow2 (the container), table (the disk), "),
            ("root.tar", "archive (the whole)\n"),
        ] {
            tool(program, &["-k", "-1", "-q", &lab.out(name).display().to_string()]);
            let file = format!("{name}.{suffix}");
            let said = lab.run(DIB, &["check", &file]).ok().out;
            let all = format!("{file}: nothing is wrong with {structure} (the whole file), {inside}");
            assert!(said.starts_with(&all), "{said}");
            packed.push(file);
        }
        // The end of the file: sums, and what says that it is the end.
        let whole = fs::read(lab.out(&packed[0])).unwrap();
        fs::write(lab.out("short"), &whole[..whole.len() - 20]).unwrap();
        let said = lab.run(DIB, &["check", "short"]);
        assert_eq!(said.status, 1, "{structure}: {}{}", said.out, said.err);
        let found = format!("{structure}: the whole file: cannot decompress it");
        assert!(said.out.starts_with(&found), "{}", said.out);
    }
    // A damage of the container is found through the compression.
    let mut bytes = fs::read(lab.out("disk.qcow2")).unwrap();
    bytes[79] = 2;
    fs::write(lab.out("bad.qcow2"), bytes).unwrap();
    tool("gzip", &["-1", &lab.out("bad.qcow2").display().to_string()]);
    let said = lab.run(DIB, &["check", "bad.qcow2.gz"]);
    assert_eq!(said.status, 1, "{}", said.out);
    let found = "qcow2: the container: the header says that the image is corrupt";
    assert!(said.out.contains(found), "{}", said.out);
}
