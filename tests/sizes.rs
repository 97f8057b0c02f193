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
    lab.build(&["-o", "small", "--image-size", "0.003", "mini-os"])
        .failed(1, "cannot plan the file system");
    assert!(!lab.names().iter().any(|name| name.contains("small")));
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
