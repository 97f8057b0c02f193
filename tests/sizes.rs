//! How large images are, and what their file systems are like.

use std::fs;

use crate::lab::Lab;

/// Builds a raw image, has e2fsck look at it, and returns its size in KiB and what dumpe2fs says.
fn built(lab: &Lab, args: &[&str]) -> (u64, String) {
    let args = [&["-o", "x", "-t", "raw", "mini-os"], args].concat();
    lab.build(&args).ok();
    let image = lab.out("x.raw");
    oracle::ext4::fsck(&image);
    let kib = fs::metadata(&image).unwrap().len() / 1024;
    (kib, oracle::ext4::dumpe2fs(&image, true))
}

fn lab() -> Option<Lab> {
    let mut lab = Lab::new().filter(|_| oracle::require(&["e2fsck", "dumpe2fs"]))?;
    // A smaller image would get a smaller journal.
    lab.set("OVERWRITE_OLD_IMAGE", "1").set("MINI_OS_SMALL", "");
    // The hook that runs before the size is decided measures the tree as the rule does: blocks of data, blocks of
    // directories, long symlinks, but not what is cleared in the end.
    lab.file(
        "sized/post-root.d/99-measure",
        "#!/bin/bash\nset -eu\ncd $TARGET_ROOT\n{ find . -xdev -type f -not -path './var/log/*' \
         -not -path './tmp/*' -not -path './dev/*' -not -path './proc/*' -not -path './sys/*' -printf '%i %s\\n' |\n\
         sort -u | cut -d' ' -f2; find . -xdev -type d -not -path ./tmp -not -path ./var/log -not -path './dev/*' \
         -not -path './proc/*' -not -path './sys/*' -printf '1\\n'; } |\n\
         awk '{ sum += int(($1 + 4095) / 4096) * 4 } END { print sum }' > $OLDPWD/used\n",
    );
    Some(lab)
}

#[test]
fn the_default_size_is_the_formula() {
    let Some(mut lab) = lab() else { return };
    let (kib, said) = built(&lab, &["sized"]);
    let used: u64 = lab.text("used").trim().parse().unwrap();
    assert_eq!(kib, (used * 5 / 3 + 65536).next_multiple_of(64), "used {used}");
    assert!(
        said.contains("Filesystem volume name:   cloudimg-rootfs\n"),
        "{said}"
    );
    assert!(said.contains("Total journal size:       64M"), "{said}");
    lab.set("DIB_JOURNAL_SIZE", "4").set("DIB_IMAGE_EXTRA_SIZE", "10");
    let (kib, said) = built(&lab, &["sized"]);
    assert_eq!(kib, (used + 10240 + 4096).next_multiple_of(64));
    assert!(said.contains("Total journal size:       4096k"), "{said}");
}

#[test]
fn an_explicit_size_is_exact_and_too_small_a_one_refused() {
    let Some(mut lab) = lab() else { return };
    lab.set("DIB_IMAGE_SIZE", "0.1");
    assert_eq!(built(&lab, &[]).0, 104_896);
    let (kib, _) = built(&lab, &["--image-size", "0.25"]);
    assert_eq!(kib, 256 * 1024, "the flag beats the variable");
    let refused = lab
        .build(&["-o", "small", "--image-size", "0.003", "mini-os"])
        .failed(1, "cannot plan the file system");
    let numbers: Vec<u64> = numbers_behind(&refused.err, "the tree needs ");
    let [needed_bytes, needed_inodes, bytes, inodes] = numbers[..] else {
        panic!("{}", refused.err)
    };
    assert!(
        needed_bytes > bytes && bytes > 0 && needed_inodes > 11,
        "{}",
        refused.err
    );
    // One inode for 4 KiB of 3200 KiB.
    assert_eq!(inodes, 800, "{}", refused.err);
    assert!(!lab.names().iter().any(|name| name.contains("small")));
}

/// The numbers in the line that begins, somewhere, with these words.
fn numbers_behind(text: &str, words: &str) -> Vec<u64> {
    let line = text
        .split(words)
        .nth(1)
        .unwrap_or_else(|| panic!("no '{words}' in {text}"));
    let words = line.lines().next().unwrap().split(|c: char| !c.is_ascii_digit());
    words.filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn where_growth_ends_is_told() {
    let Some(lab) = lab() else { return };
    let told = |args: &[&str]| {
        let args = [&["-o", "x", "-t", "raw", "mini-os", "--image-size"], args].concat();
        let said = lab.build(&args).ok();
        said.out + &said.err
    };
    // By default one inode for 4 KiB: 16 TiB without a group.
    let usual = told(&["0.25"]);
    let line = "grows online to 17592051826688 bytes at most; 31 blocks are reserved for group descriptors\n";
    assert!(
        usual.contains(line) && !usual.contains("one call of resize2fs"),
        "{usual}"
    );
    // 1 PiB, for a tree that 64 groups have inodes for.
    let wide = told(&["8", "--max-online-resize", "274877906944"]);
    for line in [
        "64 groups of 496 inodes, ",
        "grows online to 1162219224039424 bytes at most; 1024 blocks are reserved for group descriptors\n",
        "one call of resize2fs grows it to 281474976710656 bytes, another goes on from there\n",
    ] {
        assert!(wide.contains(line), "{wide}");
    }
    // What cannot be promised is refused with both sizes, and the inodes that make the difference: 496 in one group.
    lab.hook(
        "post-root.d/50-many",
        "mkdir $TARGET_ROOT/many; touch $TARGET_ROOT/many/{1..600}",
    );
    let promise = ["--image-size", "0.1", "--max-online-resize", "274877906944"];
    let refused = lab.build(&[&["mini-os", "probe"], &promise[..]].concat());
    let refused = refused.failed(1, "cannot plan the file system").err;
    let numbers = numbers_behind(&refused, "to grow to ");
    let [promised, bytes, inodes, needed_inodes, needed_bytes] = numbers[..] else {
        panic!("{refused}")
    };
    assert_eq!(
        (promised, bytes, inodes),
        (1 << 50, 104_896 * 1024, 496),
        "{refused}"
    );
    assert!((601..2 * 496).contains(&needed_inodes), "{refused}");
    assert_eq!(needed_bytes, 256 << 20, "{refused}");
}

#[test]
fn options_of_mke2fs_win_over_the_defaults() {
    let Some(lab) = lab() else { return };
    let inodes = |said: &str| -> u64 {
        let line = said.lines().find_map(|line| line.strip_prefix("Inode count:"));
        line.unwrap().trim().parse().unwrap()
    };
    let (kib, said) = built(&lab, &["--image-size", "0.5"]);
    assert_eq!(inodes(&said), kib / 4);
    let (kib, said) = built(&lab, &["--image-size", "0.5", "--mkfs-options", "-i 16384 -m 0"]);
    assert_eq!(inodes(&said), kib / 16);
    assert!(said.contains("Reserved block count:     0\n"), "{said}");
    lab.build(&["--mkfs-options", "-i", "mini-os"])
        .failed(1, "--mkfs-options");
}

#[test]
fn growth_is_promised_and_other_file_systems_are_refused() {
    let Some(mut lab) = lab() else { return };
    let reserved = |said: &str| -> u32 {
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix("Reserved GDT blocks:"));
        line.unwrap().trim().parse().unwrap()
    };
    // 2^28 blocks are 8192 groups, whose descriptors take 128 blocks; one is there already.
    let (_, said) = built(&lab, &["--max-online-resize", "268435456"]);
    assert_eq!(reserved(&said), 127);
    lab.set("FS_TYPE", "xfs");
    lab.build(&["mini-os"])
        .failed(1, "FS_TYPE: there is no writer of xfs");
}
