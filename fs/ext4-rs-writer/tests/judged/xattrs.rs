//! Extended attributes at every border, and ACLs as a user without privileges meets them.

use ext4_rs_writer::units::BlockSize;
use ext4_rs_writer::xattr::{Fault, SHARERS_MAX};
use ext4_rs_writer::{Error, Options, Profile, Size, layout, mke2fs};
use image_core::tree::{NewContent, Time};
use image_core::{NodeId, Tree};

use crate::forest::{Forest, Pattern};
use crate::image::{Image, checked, judged, mounted, options, profile, with_block_size};

const ROOT: NodeId = NodeId::ROOT;

#[test]
fn values_of_every_size_around_a_border_are_kept() {
    for block_size in [BlockSize::KIB_1, BlockSize::KIB_2, BlockSize::KIB_4] {
        for inode_size in [128, 256, 512] {
            let mut options = with_block_size(block_size);
            options.inode_size = inode_size;
            if inode_size == 128 {
                mke2fs::apply(&mut options, "-O ^extra_isize").unwrap();
            }
            let mut forest = Forest::new();
            if inode_size == 128 {
                // No room for more than seconds.
                forest = Forest::at(Time {
                    secs: 1_600_000_000,
                    nanos: 0,
                });
            }
            // An entry `user.x` takes 20 bytes, the end of entries 4, the head of a block 32.
            let in_inode = usize::from(inode_size).saturating_sub(128 + 32 + 4 + 20 + 4);
            let in_block = block_size.buffer() - 32 - 20 - 4;
            let sizes = [
                0,
                1,
                3,
                4,
                5,
                in_inode,
                in_inode + 1,
                in_inode + 5,
                in_block - 1,
                in_block,
            ];
            for (i, size) in sizes.into_iter().enumerate() {
                forest.xattrs(&[("user.x", &vec![b'v'; size])]);
                forest.file(ROOT, format!("{i}-{size}"), 1);
                forest.xattrs(&[
                    ("user.x", &vec![b'v'; size]),
                    ("trusted.yy", b"1"),
                    ("security.z", b""),
                ]);
                if size < in_block - 64 {
                    forest.dir(ROOT, format!("{i}-{size}-more"));
                }
            }
            if inode_size == 128 {
                mounted(&forest.build(), &options);
            } else {
                judged(&forest.build(), &options);
            }
        }
    }
}

fn one(options: &Options, size: usize) -> Result<(), Error> {
    let mut forest = Forest::new();
    let dir = forest.dir(ROOT, "dir");
    forest.xattrs(&[("user.x", &vec![b'v'; size])]);
    forest.file(dir, "file", 1);
    layout(&forest.build(), options).map(drop)
}

#[test]
fn more_than_a_block_is_refused_by_path() {
    let room = 4096 - 32 - 20 - 4;
    one(&options(), room).unwrap();
    let error = one(&options(), room + 1).unwrap_err().to_string();
    for word in ["'/dir/file'", "'user.x' of 4041 bytes", "ea_inode", "GRUB"] {
        assert!(error.contains(word), "{error}");
    }
}

fn with_value_inodes(mut options: Options) -> Options {
    mke2fs::apply(&mut options, "-O ea_inode").unwrap();
    options
}

/// Attributes of one file.
type Set<'a> = &'a [(&'a str, &'a [u8])];

/// A value that has no equal of another number.
fn value(number: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i % 251) as u8 ^ (i / 1024) as u8 ^ number)
        .collect()
}

/// Inodes of values: those in use beyond the tree's, `lost+found` and the reserved ones.
fn value_inodes(tree: &Tree, image: &Image) -> u64 {
    let summary = image.layout.summary();
    summary.inodes - summary.free_inodes - 10 - tree.nodes().len() as u64
}

#[test]
fn large_values_have_inodes_of_their_own() {
    for block_size in [BlockSize::KIB_1, BlockSize::KIB_2, BlockSize::KIB_4] {
        for inode_size in [128, 256, 1024] {
            let mut options = with_value_inodes(with_block_size(block_size));
            options.inode_size = inode_size;
            options.size = Size::Minimal;
            if inode_size == 128 {
                mke2fs::apply(&mut options, "-O ^extra_isize").unwrap();
            }
            let mut forest = Forest::at(Time {
                secs: 1_600_000_000,
                nanos: 0,
            });
            let block = block_size.buffer();
            let sizes = [block, block + 1, 3 * block, 20_000, 65_535, 65_536];
            for (size, number) in sizes.into_iter().zip(0..) {
                forest.xattrs(&[("trusted.large", &value(number, size)), ("trusted.small", b"1")]);
                let dir = forest.dir(ROOT, format!("dir {size}"));
                forest.file(dir, "empty", 0);
                forest.file(dir, "file", 70_000);
                forest.node(dir, "fifo", NewContent::Fifo);
                for len in [1, 4, 5, 59, 60, 1000] {
                    forest.node(dir, format!("{len}"), NewContent::Symlink(&b"s".repeat(len)));
                }
            }
            let tree = forest.build();
            let image = mounted(&tree, &options);
            assert_eq!(value_inodes(&tree, &image), 6);
        }
    }
}

#[test]
fn only_as_few_values_as_must_have_inodes() {
    let (small, middle, large) = (value(1, 50), value(2, 3000), value(3, 30_000));
    let cases: [(Set<'_>, u64); 4] = [
        (&[("user.a", &small), ("user.b", &middle)], 0),
        (&[("user.a", &small), ("user.b", &large)], 1),
        (&[("user.a", &middle), ("user.b", &middle), ("user.c", &large)], 2),
        (
            &[
                ("user.a", &value(4, 4000)),
                ("user.b", &value(5, 4000)),
                ("user.c", &small),
            ],
            1,
        ),
    ];
    for (set, inodes) in cases {
        let mut forest = Forest::new();
        forest.xattrs(set);
        forest.file(ROOT, "file", 10);
        let tree = forest.build();
        let image = mounted(&tree, &with_value_inodes(options()));
        assert_eq!(value_inodes(&tree, &image), inodes);
    }
}

#[test]
fn equal_values_share_an_inode_that_counts_them() {
    let large = value(7, 20_000);
    let mut forest = Forest::new();
    // The number stands in the inode, so that these have one block.
    for i in 0..5 {
        forest.xattrs(&[("trusted.large", &large), ("trusted.number", &[i])]);
        forest.file(ROOT, format!("file {i}"), 1);
    }
    // And these three.
    forest.xattrs(&[("trusted.large", &large), ("trusted.twice", &large)]);
    for i in 0..=SHARERS_MAX * 2 {
        forest.node(ROOT, format!("fifo {i}"), NewContent::Fifo);
    }
    forest.xattrs(&[("trusted.other", &value(8, 20_000))]);
    forest.file(ROOT, "other", 1);
    let tree = forest.build();
    let image = mounted(&tree, &with_value_inodes(options()));
    assert_eq!(value_inodes(&tree, &image), 2);
    if oracle::require(&["debugfs"]) {
        let first = 11 + tree.nodes().len();
        let text = oracle::ext4::debugfs(&image.path, &format!("stat <{first}>"));
        for line in ["Mode:  0600", "Flags: 0x280000", "Version: 0x00000000:00000007"] {
            assert!(text.contains(line), "1 + 3 * 2 entries: {text}");
        }
        for (path, name, value) in [
            ("/file 0", "trusted.large", &large),
            ("/fifo 2048", "trusted.twice", &large),
            ("/other", "trusted.other", &value(8, 20_000)),
        ] {
            let found = image.path.with_extension("value");
            let command = format!("ea_get -f {} \"{path}\" {name}", found.display());
            let text = oracle::ext4::debugfs(&image.path, &command);
            let bytes = std::fs::read(&found).unwrap_or_else(|error| panic!("{error}: {text}"));
            assert!(bytes == *value, "{path} {name}: {text}");
        }
    }
}

#[test]
fn every_profile_with_extents_can_have_inodes_of_values() {
    for made in [Profile::Default, Profile::Legacy, Profile::Modern] {
        let mut forest = Forest::new();
        forest.xattrs(&[
            ("user.large", &value(1, 5000)),
            ("user.larger", &value(2, 50_000)),
        ]);
        forest.file(ROOT, "file", 1);
        mounted(&forest.build(), &with_value_inodes(profile(made)));
    }
    for made in [Profile::Ext3, Profile::Ext2] {
        let error = one(&with_value_inodes(profile(made)), 1).unwrap_err();
        assert_eq!(error.to_string(), "feature ea_inode needs extent");
    }
}

#[test]
fn the_kernel_replaces_large_values() {
    if !oracle::mounted::require() || !oracle::require(&["e2fsck", "setfattr"]) {
        return;
    }
    let mut forest = Forest::new();
    forest.xattrs(&[("user.large", &value(1, 30_000)), ("user.more", &value(2, 9000))]);
    for name in ["kept", "dropped", "replaced", "removed"] {
        forest.file(ROOT, name, 1);
    }
    let image = checked(&forest.build(), &Pattern, &with_value_inodes(options()));
    oracle::mounted::write(&image.path, |root| {
        let set = |file: &str, args: [&str; 2]| {
            let path = root.join(file);
            oracle::run(
                "setfattr",
                &[args[0].as_ref(), args[1].as_ref(), path.as_os_str()],
            )
        };
        set("dropped", ["--remove", "user.large"]);
        set("dropped", ["--remove", "user.more"]);
        set("replaced", ["--name=user.large", "--value=small"]);
        set(
            "replaced",
            ["--name=user.new", &format!("--value={}", "n".repeat(40_000))],
        );
        std::fs::remove_file(root.join("removed")).unwrap();
    });
    oracle::ext4::fsck(&image.path);
}

#[test]
fn what_no_inode_of_a_value_helps_is_refused_by_path() {
    let refused = |set: Set<'_>, options: &Options| {
        let mut forest = Forest::new();
        forest.xattrs(set);
        forest.file(ROOT, "file", 0);
        match layout(&forest.build(), options).unwrap_err() {
            Error::Xattrs(error) => {
                assert!(error.to_string().contains("'/file'"), "{error}");
                error.fault
            }
            other => panic!("{other}"),
        }
    };
    let options = with_value_inodes(options());
    let too_long = Fault::ValueTooLong {
        name: b"user.x".to_vec(),
        len: 65_537,
    };
    assert_eq!(refused(&[("user.x", &value(0, 65_537))], &options), too_long);
    let names: Vec<String> = (0..20).map(|i| format!("user.{i:n>250}")).collect();
    let set: Vec<(&str, &[u8])> = names.iter().map(|name| (&name[..], &b"v"[..])).collect();
    assert!(matches!(
        refused(&set, &options),
        Fault::TooMany { max: 4064, .. }
    ));
    let mut without = self::options();
    mke2fs::apply(&mut without, "-O ^ext_attr").unwrap();
    assert_eq!(refused(&[("user.x", b"")], &without), Fault::NoFeature);
}

#[test]
fn sets_divide_between_inode_and_block_wherever_they_fit() {
    // 88 bytes stand in the inode, 4060 in the block; only one division fits.
    let mut forest = Forest::new();
    forest.xattrs(&[
        ("user.a", &[1; 40]),
        ("user.b", &[2; 68]),
        ("user.c", &[3; 4000 - 20]),
    ]);
    forest.file(ROOT, "file", 1);
    judged(&forest.build(), &options());
}

#[test]
fn names_of_attributes_keep_their_order() {
    let mut forest = Forest::new();
    let names: Vec<String> = (0..30)
        .map(|i| {
            format!(
                "{}.{}",
                ["user", "trusted", "security"][i % 3],
                "n".repeat(1 + i * 7 % 40)
            )
        })
        .map(|name| format!("{name}{}", name.len() % 7))
        .collect();
    let set: std::collections::BTreeMap<&str, &[u8]> = names
        .iter()
        .map(|name| (name.as_str(), name.as_bytes()))
        .collect();
    let set: Vec<_> = set.into_iter().collect();
    forest.xattrs(&set);
    forest.file(ROOT, "file", 1);
    forest.xattrs(&[(&format!("user.{}", "l".repeat(250)), b"long")]);
    forest.file(ROOT, "long", 1);
    judged(&forest.build(), &options());
}

#[test]
fn a_block_is_shared_by_1024_inodes_and_no_more() {
    let count = SHARERS_MAX * 2 + 1;
    let mut forest = Forest::new();
    forest.xattrs(&[("trusted.shared", &[b's'; 300])]);
    for i in 0..count {
        forest.node(ROOT, format!("{i}"), NewContent::Fifo);
    }
    let image = judged(&forest.build(), &options());
    if oracle::require(&["debugfs"]) {
        let commands: String = (0..count).fold(String::new(), |text, i| text + &format!("stat /{i}\n"));
        let text = oracle::ext4::debugfs_commands(&image.path, false, &commands);
        let blocks: std::collections::BTreeSet<_> = text
            .lines()
            .filter_map(|line| line.split("File ACL: ").nth(1))
            .collect();
        assert_eq!(blocks.len(), 3, "{blocks:?}");
    }
}

#[test]
fn capabilities_are_those_of_the_image() {
    let revision = |revision: u8, root: Option<u32>| {
        let mut value = vec![1, 0, 0, revision, 0, 0x20, 0, 0];
        value.resize(20, 0);
        value.extend(root.into_iter().flat_map(u32::to_le_bytes));
        value
    };
    let cases = [
        ("v2", revision(2, None), revision(2, None)),
        ("v3-of-root", revision(3, Some(0)), revision(2, None)),
        ("v3-of-another", revision(3, Some(1000)), revision(3, Some(1000))),
    ];
    let mut forest = Forest::new();
    for (name, value, _) in &cases {
        forest.xattrs(&[("security.capability", value)]);
        forest.file(ROOT, name, 1);
    }
    let tree = forest.build();
    let image = crate::image::checked(&tree, &crate::forest::Pattern, &options());
    if oracle::mounted::require() {
        let found = oracle::mounted::read(&image.path, oracle::snapshot::of_dir);
        for (name, _, expected) in cases {
            let xattrs = &found[name.as_bytes()].xattrs;
            assert_eq!(xattrs[&b"security.capability"[..]], expected, "{name}");
        }
    }
}

/// An ACL in the form of the system's calls.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(perm.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

#[test]
fn acls_admit_whom_they_name() {
    const NONE: u32 = u32::MAX;
    // The owner all, user 1234 to read and search, others nothing.
    let named = acl(&[
        (1, 7, NONE),
        (2, 5, 1234),
        (4, 0, NONE),
        (8, 5, 4321),
        (0x10, 5, NONE),
        (0x20, 0, NONE),
    ]);
    let mut forest = Forest::new();
    forest.xattrs(&[
        ("system.posix_acl_access", &named),
        ("system.posix_acl_default", &named),
    ]);
    forest.meta.mode = 0o750;
    let dir = forest.dir(ROOT, "journal");
    forest.xattrs(&[("system.posix_acl_access", &named)]);
    forest.file(dir, "log", 10_000);
    forest.xattrs(&[("system.posix_acl_access", &named), ("user.large", &[7; 2000])]);
    forest.file(dir, "log in a block", 10_000);
    let image = judged(&forest.build(), &options());
    if !oracle::mounted::require() || !oracle::require(&["setpriv", "getfacl"]) {
        return;
    }
    oracle::mounted::read(&image.path, |root| {
        use std::ffi::OsStr;
        // The mount point itself is only its maker's.
        oracle::run("chmod", &["755".as_ref(), root.parent().unwrap().as_os_str()]);
        let dir = root.join("journal");
        let admitted = |uid, gid, command: &str, path: &std::path::Path| {
            let output = oracle::mounted::as_user(uid, gid, &[OsStr::new(command), path.as_os_str()]);
            output.status.success()
        };
        for file in ["log", "log in a block"] {
            let file = dir.join(file);
            assert!(admitted(1234, 100, "cat", &file), "the named user");
            assert!(admitted(5555, 4321, "cat", &file), "the named group");
            assert!(!admitted(5555, 100, "cat", &file), "anyone else");
        }
        assert!(admitted(1234, 100, "ls", &dir));
        assert!(!admitted(5555, 100, "ls", &dir));
        let text = oracle::run("getfacl", &["-n".as_ref(), "-p".as_ref(), dir.as_os_str()]);
        for line in [
            "user:1234:r-x",
            "group:4321:r-x",
            "mask::r-x",
            "default:user:1234:r-x",
        ] {
            assert!(text.contains(line), "{text}");
        }
    });
}

/// Ids at the border, in an entry that names a user or a group: the kernel takes those that we take.
#[test]
fn the_kernel_refuses_the_ids_of_acls_that_are_refused() {
    let with = |tag: u16, id: u32| {
        let mut entries = vec![(1, 7, 0), (4, 5, 0), (0x10, 5, 0), (0x20, 0, 0)];
        entries.insert(if tag == 2 { 1 } else { 2 }, (tag, 5, id));
        acl(&entries)
    };
    let taken = |value: &[u8]| {
        let mut forest = Forest::new();
        forest.xattrs(&[("system.posix_acl_access", value)]);
        forest.file(ROOT, "file", 0);
        match layout(&forest.build(), &options()) {
            Ok(_) => true,
            Err(error) => {
                let told = error.to_string();
                assert!(
                    told.contains("/file") && told.contains("names the id 4294967295"),
                    "{told}"
                );
                false
            }
        }
    };
    let cases = [(2, u32::MAX - 1), (2, u32::MAX), (8, u32::MAX - 1), (8, u32::MAX)];
    for (tag, id) in cases {
        assert_eq!(taken(&with(tag, id)), id != u32::MAX, "{tag} {id}");
    }
    if !oracle::mounted::require() || !oracle::require(&["setfattr"]) {
        return;
    }
    let mut forest = Forest::new();
    forest.file(ROOT, "file", 0);
    let image = judged(&forest.build(), &options());
    oracle::mounted::write(&image.path, |root| {
        for (tag, id) in cases {
            let digits: Vec<String> = with(tag, id).iter().map(|byte| format!("{byte:02x}")).collect();
            let path = root.join("file");
            let args = [
                "-n",
                "system.posix_acl_access",
                "-v",
                &format!("0x{}", digits.concat()),
            ];
            let args = args.iter().map(std::ffi::OsStr::new).chain([path.as_os_str()]);
            let set = oracle::output("setfattr", &args.collect::<Vec<_>>());
            assert_eq!(set.status.success(), id != u32::MAX, "{tag} {id}: {set:?}");
        }
    });
}

#[test]
fn what_no_kernel_would_take_is_refused_by_path() {
    let refused = |name: &str, value: &[u8]| {
        let mut forest = Forest::new();
        let dir = forest.dir(ROOT, "dir");
        forest.xattrs(&[(name, value)]);
        forest.file(dir, "file", 0);
        layout(&forest.build(), &options()).unwrap_err().to_string()
    };
    let raw = acl(&[(1, 6, 0)]);
    for (name, value, words) in [
        ("system.posix_acl_access", &raw[..], "no entry with the tag 0x4"),
        ("system.posix_acl_access", b"junk", "version"),
        ("system.richacl", b"", "namespace"),
        ("btrfs.compression", b"zstd", "namespace"),
        ("user.", b"", "namespace"),
    ] {
        let error = refused(name, value);
        assert!(error.contains("/dir/file") && error.contains(words), "{error}");
    }
}
