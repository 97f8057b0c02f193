//! Labels of `SELinux`: those of `setfiles` and `matchpathcon`, by the whole policy of a distribution. Contract 9.1.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use diskimage_builder::selinux::Policy;
use image_core::scan::{self, scan};
use oracle::snapshot::{self, Snapshot};
use oracle::{ext4, mounted, place, require, skip};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::lab::Lab;
use crate::rung::{Rung, Stairs};

/// Where Debian's package of the policy has it.
const POLICY: &str = "/etc/selinux/default";
const RULES: &str = "contexts/files/file_contexts";

/// Letters of kinds of files, and how `matchpathcon` calls them.
const KINDS: [(u8, &str); 7] = [
    (b'-', "file"),
    (b'd', "dir"),
    (b'l', "lnk_file"),
    (b'c', "chr_file"),
    (b'b', "blk_file"),
    (b'p', "pipe"),
    (b's', "sock_file"),
];

fn require_policy() -> bool {
    require(&["setfiles", "matchpathcon"])
        && (Path::new(POLICY).join(RULES).is_file() || skip("no policy of SELinux in /etc/selinux/default"))
}

/// Names that a pattern matches, drawn from a seed: of each choice one, of each repetition some.
struct Sampler<'a> {
    pattern: &'a [u8],
    at: usize,
    seed: u64,
}

impl Sampler<'_> {
    fn draw(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.seed >> 33) % below
    }

    fn choices(&mut self) -> Vec<u8> {
        let mut all = vec![self.sequence()];
        while self.pattern.get(self.at) == Some(&b'|') {
            self.at += 1;
            all.push(self.sequence());
        }
        let chosen = self.draw(all.len() as u64);
        all.swap_remove(usize::try_from(chosen).unwrap())
    }

    fn sequence(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        while let Some(byte) = self.pattern.get(self.at).filter(|byte| !b"|)".contains(byte)) {
            let (byte, start) = (*byte, self.at);
            let once = self.item(byte);
            let times = match self.pattern.get(self.at) {
                Some(b'*') => self.draw(3),
                Some(b'+') => 1 + self.draw(2),
                Some(b'?') => self.draw(2),
                _ => {
                    text.extend(once);
                    continue;
                }
            };
            let end = self.at + 1;
            for _ in 0..times {
                self.at = start;
                text.extend(self.item(byte));
            }
            self.at = end;
        }
        text
    }

    fn item(&mut self, byte: u8) -> Vec<u8> {
        self.at += 1;
        match byte {
            b'(' => {
                let text = self.choices();
                self.at += 1;
                text
            }
            b'.' => vec![b"ax1-/"[usize::try_from(self.draw(5)).unwrap()]],
            b'\\' => {
                self.at += 1;
                vec![self.pattern[self.at - 1]]
            }
            b'[' => {
                let end = self.pattern[self.at + 1..]
                    .iter()
                    .position(|byte| *byte == b']')
                    .unwrap();
                let class = &self.pattern[self.at..=self.at + end];
                self.at += end + 2;
                let at = self.draw(class.len() as u64);
                let byte = class[usize::try_from(at).unwrap()];
                vec![if class[0] == b'^' || byte == b'-' {
                    b'q'
                } else {
                    byte
                }]
            }
            byte => vec![byte],
        }
    }
}

/// Names by the patterns of a policy, and names near them.
fn names(rules: &str) -> Vec<Vec<u8>> {
    let mut names = vec![b"/".to_vec()];
    for (seed, line) in (1..).zip(rules.lines()) {
        let Some(pattern) = line
            .split_whitespace()
            .next()
            .filter(|word| word.starts_with('/'))
        else {
            continue;
        };
        for more in [&b""[..], b"x", b"/below", b"\xff"] {
            let mut sampler = Sampler {
                pattern: pattern.as_bytes(),
                at: 0,
                seed: seed * 7 + more.len() as u64,
            };
            names.push([&sampler.choices(), more].concat());
        }
    }
    names.retain(|name| {
        !name.windows(2).any(|pair| pair == b"//") && (name.len() < 2 || !name.ends_with(b"/"))
    });
    names.sort();
    names.dedup();
    names
}

/// Puts the files of the policy into a tree, and more rules: what a distribution's has not.
fn install_policy(root: &Path, more: &str) {
    let base = root.join("etc/selinux/default").join(RULES);
    fs::create_dir_all(base.parent().unwrap()).unwrap();
    for entry in fs::read_dir(Path::new(POLICY).join(RULES).parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        // What is compiled was made of the texts.
        if !entry.file_name().to_string_lossy().ends_with(".bin") {
            fs::copy(entry.path(), base.with_file_name(entry.file_name())).unwrap();
        }
    }
    fs::write(
        root.join("etc/selinux/config"),
        "SELINUX=enforcing\nSELINUXTYPE=default\n",
    )
    .unwrap();
    fs::write(base.with_extension("local"), more).unwrap();
    fs::write(
        base.with_extension("subs"),
        "/srv/mine /var/www\n/opt /\n/srv/mine/deep /etc\n",
    )
    .unwrap();
}

const MORE: &str = "/data(/.*)?  system_u:object_r:var_t:s0\n\
                    /data/[^/]+\\.(old|new){1,2}$ -- system_u:object_r:etc_t:s0\n\
                    /data/kept(/.*)? <<none>>\n\
                    /data/a\\-b/c system_u:object_r:usr_t:s0\n\
                    /da\\-ta/c system_u:object_r:usr_t:s0\n\
                    /data/x|/y system_u:object_r:tmp_t:s0\n\
                    /data/{} system_u:object_r:bin_t:s0\n";

#[test]
fn every_name_gets_the_label_that_libselinux_gives() {
    if !require_policy() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    install_policy(root.path(), MORE);
    let base = root.path().join("etc/selinux/default").join(RULES);
    let rules = fs::read_to_string(&base).unwrap();
    let mut names = names(&rules);
    for name in [
        "/data",
        "/data/x",
        "/data/xx",
        "/data/y/y",
        "/y",
        "/data/a-b/c",
        "/da-ta/c",
        "/data/1.old",
        "/data/1.oldnew",
        "/data/1.old.new",
        "/data/kept",
        "/data/kept/x",
        "/data/{}",
        "/srv/mine",
        "/srv/mine/x",
        "/srv/mine/deep/passwd",
        "/opt/bin/bash",
        "/opt",
        "/optical",
        "/usr/bin/é",
        "/data/1.old\n",
    ] {
        names.push(name.as_bytes().to_vec());
    }
    assert!(names.len() > 10_000, "{} names", names.len());
    let (tree, store) = scan(root.path(), &scan::Options::default()).unwrap();
    let mut policy = Policy::of(&tree, &store).unwrap().unwrap();
    let mut labelled = 0;
    for (letter, kind) in KINDS {
        // All of them as files and directories, which most rules are for; of the others some.
        let step = if b"-d".contains(&letter) { 1 } else { 5 };
        let asked: Vec<_> = names.iter().step_by(step).collect();
        for names in asked.chunks(4000) {
            let first = ["-n", "-f", base.to_str().unwrap(), "-m", kind].map(OsStr::new);
            let words = names.iter().map(|name| OsStr::from_bytes(name));
            let said = oracle::output(
                "matchpathcon",
                &first.into_iter().chain(words).collect::<Vec<_>>(),
            );
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            assert_eq!(said.lines().count(), names.len(), "{said}");
            for (name, expected) in names.iter().zip(said.lines()) {
                let found = policy.label_of(name, letter).unwrap();
                let found = found.map_or("<<none>>".to_owned(), |label| {
                    String::from_utf8(label[..label.len() - 1].to_vec()).unwrap()
                });
                assert_eq!(found, expected, "{kind} {}", name.escape_ascii());
                labelled += usize::from(found != "<<none>>");
            }
        }
    }
    assert!(labelled > 10_000, "{labelled} labels");
}

/// Makes a file of some kind, and the directories above it, unless something is there.
fn make(root: &Path, name: &[u8], kind: FileType) {
    let path = root.join(OsStr::from_bytes(&name[1..]));
    if fs::create_dir_all(path.parent().unwrap()).is_err() || path.symlink_metadata().is_ok() {
        return;
    }
    match kind {
        FileType::Symlink => symlink("nowhere", path).unwrap(),
        FileType::Directory => fs::create_dir(path).unwrap(),
        kind => mknodat(CWD, &path, kind, Mode::from_raw_mode(0o644), makedev(1, 3)).unwrap(),
    }
}

/// Files by their paths, with the attributes of each.
type Attributes = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

#[track_caller]
fn assert_same(found: &Attributes, expected: &Attributes) {
    let shown = |files: &Attributes, path: &str| {
        let attributes = files
            .get(path)
            .map(|all| all.values().map(|value| value.escape_ascii().to_string()));
        attributes.map(Iterator::collect::<Vec<_>>)
    };
    for path in found.keys().chain(expected.keys()) {
        assert_eq!(shown(found, path), shown(expected, path), "/{path}");
    }
}

fn xattrs(snapshot: Snapshot) -> Attributes {
    let shown = |(path, file): (Vec<u8>, snapshot::File)| (path.escape_ascii().to_string(), file.xattrs);
    snapshot.into_iter().map(shown).collect()
}

/// Labels a tree by `setfiles`.
fn setfiles(root: &Path) {
    let base = root.join("etc/selinux/default").join(RULES);
    let args = [
        "-F".as_ref(),
        "-r".as_ref(),
        root.as_os_str(),
        base.as_os_str(),
        root.as_os_str(),
    ];
    oracle::run("setfiles", &args);
}

#[test]
fn a_tree_is_labelled_as_setfiles_labels_it() {
    if !require_policy() || !oracle::require_root() {
        return;
    }
    let Some(place) = place::for_xattrs() else { return };
    install_policy(place.path(), MORE);
    let rules = fs::read_to_string(Path::new(POLICY).join(RULES)).unwrap();
    let kinds = [
        FileType::RegularFile,
        FileType::Directory,
        FileType::RegularFile,
        FileType::Symlink,
        FileType::CharacterDevice,
        FileType::RegularFile,
        FileType::BlockDevice,
        FileType::Fifo,
        FileType::Socket,
    ];
    for (name, kind) in names(&rules)
        .iter()
        .skip(1)
        .step_by(3)
        .zip(kinds.into_iter().cycle())
    {
        make(place.path(), name, kind);
    }
    make(place.path(), b"/data/kept/x", FileType::RegularFile);
    let (tree, store) = scan(place.path(), &scan::Options::default()).unwrap();
    assert!(tree.nodes().len() > 4000, "{} files", tree.nodes().len());
    let mut policy = Policy::of(&tree, &store).unwrap().unwrap();
    let found = xattrs(snapshot::of_tree(&policy.label(tree, &[]).unwrap(), &store));
    setfiles(place.path());
    let expected = xattrs(snapshot::of_dir(place.path()));
    assert_same(&found, &expected);
    assert!(found["data/kept/x"].is_empty() && !found["data"].is_empty());
}

/// A layout with a file system for `/var`, and one for boot loaders.
const LAYOUT: &str = "\
- local_loop:
    name: image0
    partitioning:
      label: gpt
      partitions:
        - {name: ESP, type: EF00, size: 64MiB, mkfs: {type: vfat, mount: {mount_point: /boot/efi, fstab: {}}}}
        - {name: var, size: 32MiB, mkfs: {type: ext4, label: var, mount: {mount_point: /var, fstab: {}}}}
        - {name: root, size: 100%, mkfs: {type: ext4, mount: {mount_point: /, fstab: {}}}}
";

/// A build whose tree has a policy, in every sort of output.
fn build(lab: &mut Lab, run: impl FnOnce(&Lab, &[&str])) {
    lab.set("DIB_BLOCK_DEVICE_CONFIG", LAYOUT);
    let files = "mkdir -p $TARGET_ROOT/var/lib/x $TARGET_ROOT/boot/efi/EFI\n\
                 echo efi >$TARGET_ROOT/boot/efi/EFI/boot\n\
                 mkdir -p $TARGET_ROOT/etc/selinux\n\
                 cp -a $POLICY $TARGET_ROOT/etc/selinux/\n\
                 echo SELINUXTYPE=default >$TARGET_ROOT/etc/selinux/config\n";
    let policy = lab.dir().join("policy");
    install_policy(&policy, "");
    lab.set("POLICY", policy.join("etc/selinux/default").to_str().unwrap());
    lab.hook("cleanup.d/50-policy", files);
    let args = [
        "-t",
        "raw,tar,squashfs",
        "mini-os",
        "selinux-fixfiles-restore",
        "probe",
    ];
    run(lab, &args);
}

/// Compares what is in the outputs with what `setfiles` makes of a tree without labels.
fn judge(lab: &Lab) {
    let Some(place) = place::for_xattrs() else { return };
    let [bare, ours, squashed] = ["bare", "ours", "squashed"].map(|name| place.path().join(name));
    let tar = lab.out("image.tar");
    for (dir, words) in [
        (&bare, &["--no-xattrs"][..]),
        (&ours, &["--xattrs", "--xattrs-include=*"]),
    ] {
        fs::create_dir(dir).unwrap();
        let mut args: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        args.extend(["-xpf".as_ref(), tar.as_os_str(), "-C".as_ref(), dir.as_os_str()]);
        oracle::run("tar", &args);
    }
    let image = lab.out("image.squash");
    oracle::run(
        "unsquashfs",
        &[
            "-q".as_ref(),
            "-n".as_ref(),
            "-d".as_ref(),
            squashed.as_os_str(),
            image.as_os_str(),
        ],
    );
    setfiles(&bare);
    let mut expected = xattrs(snapshot::of_dir(&bare));
    for (path, attributes) in &mut expected {
        if path.starts_with("boot/efi/") {
            attributes.clear();
        }
    }
    let label = |path: &str| {
        expected[path][&b"security.selinux"[..]]
            .escape_ascii()
            .to_string()
    };
    assert_eq!(label("etc/passwd"), r"system_u:object_r:etc_t:s0\x00");
    assert_eq!(label("var/lib/x"), r"system_u:object_r:var_lib_t:s0\x00");
    for dir in [&ours, &squashed] {
        assert_same(&xattrs(snapshot::of_dir(dir)), &expected);
    }
    for (number, point) in [(2, "var"), (3, "")] {
        let part = part_of(lab, number);
        ext4::fsck(&part);
        for (path, attributes) in xattrs(mounted::read(&part, snapshot::of_dir)) {
            let separator = if point.is_empty() || path.is_empty() {
                ""
            } else {
                "/"
            };
            let path = format!("{point}{separator}{path}");
            if path.ends_with("lost+found") {
                let label = attributes[&b"security.selinux"[..]].escape_ascii().to_string();
                assert_eq!(label, r"system_u:object_r:lost_found_t:s0\x00", "{path}");
            } else {
                assert_eq!(attributes, expected[&path], "{path} of partition {number}");
            }
        }
    }
}

/// A partition of the raw image as a file of its own.
fn part_of(lab: &Lab, number: u32) -> std::path::PathBuf {
    let image = lab.out("image.raw");
    let said = oracle::run("sfdisk", &["--dump".as_ref(), image.as_os_str()]);
    let line = said
        .lines()
        .find(|line| line.contains(&format!("image.raw{number} :")))
        .unwrap();
    let field = |name: &str| {
        let rest = line.split_once(name).unwrap().1;
        let number = rest.split(',').next().unwrap().trim();
        number.parse::<usize>().unwrap() * 512
    };
    let (start, len) = (field("start="), field("size="));
    let part = lab.out(&format!("part{number}"));
    fs::write(&part, &fs::read(&image).unwrap()[start..start + len]).unwrap();
    part
}

#[test]
fn every_output_of_a_build_has_the_labels() {
    if !require_policy() || !require(&["tar", "unsquashfs", "sfdisk", "e2fsck"]) || !mounted::require() {
        return;
    }
    let Some(mut lab) = Lab::new() else { return };
    build(&mut lab, |lab, args| {
        lab.build(args).ok();
    });
    judge(&lab);
}

#[test]
fn a_user_who_may_not_set_labels_gets_them_too() {
    if !require_policy() || !require(&["tar", "unsquashfs", "sfdisk", "e2fsck"]) || !mounted::require() {
        return;
    }
    let Some(mut stairs) = Stairs::new(Rung::T2) else {
        return;
    };
    let mut args: Vec<String> = Vec::new();
    build(&mut stairs.lab, |_, words| {
        args = words.iter().map(|word| (*word).to_owned()).collect();
    });
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    stairs.build(&args).ok();
    judge(&stairs.lab);
}

#[test]
fn a_rule_that_is_not_understood_is_told_with_its_line() {
    let Some(lab) = Lab::new() else { return };
    let policy = "mkdir -p $TARGET_ROOT/etc/selinux/targeted/contexts/files\n\
                  printf '/.* a:b:c:s0\\n/x(?!y) a:b:c:s0\\n' >$TARGET_ROOT/etc/selinux/targeted/contexts/files/file_contexts";
    lab.hook("cleanup.d/50-policy", policy);
    let args = ["-t", "raw", "mini-os", "selinux-fixfiles-restore", "probe"];
    lab.build(&args).failed(
        1,
        "cannot label the files of the tree for SELinux: /etc/selinux/targeted/contexts/files/file_contexts, line 2: \
         the pattern /x(?!y): groups that begin with (? are not supported",
    );
    // Nobody asks for labels.
    lab.build(&["-t", "raw", "mini-os", "probe"]).ok();
}
