//! What an image says of itself: names, seeds, times and shapes, from the identity or as asked for, in the words of
//! dumpe2fs and debugfs.

use ext4_rs_writer::{Options, Profile, mke2fs};
use image_core::NodeId;
use image_core::tree::Time;

use crate::forest::Forest;
use crate::image::{Image, mounted, options, profile};

/// An image of a file in a directory, as the words ask for it.
fn made(words: &str) -> (Options, Image) {
    let mut options = options();
    mke2fs::apply(&mut options, words).unwrap();
    let image = image(&options);
    (options, image)
}

fn image(options: &Options) -> Image {
    let mut forest = Forest::at(Time {
        secs: 1_600_000_000,
        nanos: 0,
    });
    let dir = forest.dir(NodeId::ROOT, "dir");
    forest.file(dir, "file", 10);
    let tree = forest.build();
    // The root of the tree is expected as the tree has it.
    if options.root_owner.is_none() && options.root_mode.is_none() {
        mounted(&tree, options)
    } else {
        crate::image::checked(&tree, &crate::forest::Pattern, options)
    }
}

/// What dumpe2fs says behind a name.
fn said<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no '{name}' in {text}")).trim()
}

#[test]
fn an_image_is_what_its_identity_says() {
    if !oracle::ext4::require() {
        return;
    }
    let (options, image) = made("");
    let text = oracle::ext4::dumpe2fs(&image.path, true);
    let blocks: u64 = said(&text, "Block count").parse().unwrap();
    let (uuid, seed) = (options.uuid.to_string(), options.hash_seed.to_string());
    assert_ne!(uuid, seed);
    for (name, expected) in [
        ("Filesystem volume name", "cloudimg-rootfs"),
        ("Last mounted on", "/"),
        ("Filesystem UUID", &uuid),
        ("Filesystem revision #", "1 (dynamic)"),
        ("Filesystem flags", "signed_directory_hash"),
        ("Default mount options", "user_xattr acl"),
        ("Filesystem state", "clean"),
        ("Errors behavior", "Continue"),
        ("Filesystem OS type", "Linux"),
        ("Reserved block count", &(blocks / 20).to_string()),
        ("Group descriptor size", "64"),
        ("Flex block group size", "16"),
        ("Filesystem created", "Tue Nov 14 22:13:20 2023"),
        ("Last write time", "Tue Nov 14 22:13:20 2023"),
        ("Last checked", "Tue Nov 14 22:13:20 2023"),
        ("Last mount time", "n/a"),
        ("Mount count", "0"),
        ("Maximum mount count", "-1"),
        ("Reserved blocks uid", "0 (user root)"),
        ("Reserved blocks gid", "0 (group root)"),
        ("First inode", "11"),
        ("Inode size", "256"),
        ("Required extra isize", "32"),
        ("Desired extra isize", "32"),
        ("Journal inode", "8"),
        ("Default directory hash", "half_md4"),
        ("Directory Hash Seed", &seed),
        ("Journal backup", "inode blocks"),
        ("Checksum type", "crc32c"),
    ] {
        assert_eq!(said(&text, name), expected, "{name}");
    }
}

#[test]
fn an_image_is_what_was_asked_for() {
    const UUID: &str = "6f1c3c8b-52de-4f0e-9a41-7d26be6013f5";
    if !oracle::ext4::require() {
        return;
    }
    for (words, name, expected) in [
        ("-L data", "Filesystem volume name", "data"),
        ("-M /srv/data", "Last mounted on", "/srv/data"),
        (&format!("-U {UUID}"), "Filesystem UUID", UUID),
        ("-U clear", "Filesystem UUID", "<none>"),
        (&format!("-E hash_seed={UUID}"), "Directory Hash Seed", UUID),
        ("-E stride=16", "RAID stride", "16"),
        ("-E stride=16,stripe_width=64", "RAID stripe width", "64"),
        ("-e remount-ro", "Errors behavior", "Remount read-only"),
        ("-e panic", "Errors behavior", "Panic"),
        ("-m 0", "Reserved block count", "0"),
        ("-I 512", "Inode size", "512"),
        // Rounded up to whole blocks of the inode table.
        ("-N 5000", "Inode count", "5008"),
        ("-i 65536", "Inode count", "1104"),
        ("-g 16384", "Blocks per group", "16384"),
        ("-G 4", "Flex block group size", "4"),
        ("-b 1024", "Block size", "1024"),
        ("-J size=8", "Total journal size", "8M"),
        ("-E resize=64T", "Inodes per group", "8176"),
        ("-O ^64bit", "Fragment size", "4096"),
    ] {
        let (_, image) = made(words);
        let text = oracle::ext4::dumpe2fs(&image.path, true);
        assert_eq!(said(&text, name), expected, "{words}");
    }
}

/// What debugfs says of an inode.
fn stat(image: &Image, inode: &str) -> String {
    oracle::ext4::debugfs(&image.path, &format!("stat {inode}"))
}

#[test]
fn the_roots_owner_and_permissions_can_be_chosen() {
    if !oracle::require(&["e2fsck", "dumpe2fs", "debugfs"]) {
        return;
    }
    let (_, image) = made("-E root_owner=70000:100,root_perms=1750");
    let root = stat(&image, "<2>");
    assert!(
        root.contains("Mode:  01750") && root.contains("User: 70000   Group:   100"),
        "{root}"
    );
    let dir = stat(&image, "/dir");
    assert!(
        dir.contains("Mode:  0755") && dir.contains("User:     0   Group:     0"),
        "{dir}"
    );
}

#[test]
fn what_the_writer_makes_was_made_when_the_identity_says() {
    if !oracle::require(&["e2fsck", "dumpe2fs", "debugfs"]) {
        return;
    }
    // Two bits of epoch below the nanoseconds: 5 << 2.
    let epoch = format!("crtime: {:#010x}:00000014", 1_700_000_000);
    let image = image(&profile(Profile::Modern));
    // The reserve, the journal, lost+found, the orphan file.
    for inode in ["<7>", "<8>", "<11>", "<12>"] {
        let text = stat(&image, inode);
        assert!(text.contains(&epoch), "{inode} {epoch}: {text}");
    }
    // What the tree has was made when it was changed last.
    let mtime = format!("{:#010x}:00000000", 1_600_000_000);
    for inode in ["<2>", "/dir", "/dir/file"] {
        let text = stat(&image, inode);
        for time in ["ctime", "atime", "mtime", "crtime"] {
            assert!(
                text.contains(&format!("{time}: {mtime}")),
                "{inode} {time}: {text}"
            );
        }
    }
}

#[test]
fn a_longer_list_of_orphans_is_a_file_like_any_other() {
    if !oracle::require(&["e2fsck", "dumpe2fs", "debugfs"]) {
        return;
    }
    for blocks in [1_u16, 64, 512] {
        let mut options = profile(Profile::Modern);
        options.orphan_file_blocks = blocks;
        let image = image(&options);
        let text = stat(&image, "<12>");
        assert!(
            text.contains(&format!("Size: {}", u64::from(blocks) * 4096)),
            "{text}"
        );
    }
}
