//! One matrix: the same elements in every tier, in memory and on disk, make the same bytes.

use std::fs;
use std::path::{Path, PathBuf};

use oracle::snapshot::{self, Kind};
use oracle::{ext4, mounted};
use rustix::fs::XattrFlags;

use crate::lab::Lab;
use crate::rung::{Rung, Stairs};

/// Brings tools into the tree that the small root has not, as a hook on the host, and makes nodes there.
const ON_HOST: &str = r#"
cd "$TARGET_ROOT"
for tool in chown mkfifo mknod mv setcap setfacl setfattr stat; do
    path=$(type -P "$tool")
    cp -L "$path" "bin/$tool"
    ldd "$path" | { grep -o '/[^ ]*' || true; } | while read -r library; do
        mkdir -p ".$(dirname "$library")"
        [ -e ".$library" ] || cp -L "$library" ".$library"
    done
done
mkdir host
mknod host/char c 1 3
sudo mknod -m 0640 "$TARGET_ROOT/host/block" b 8 1
(cd host && mkdir deep && cd deep && mknod ../relative c 4 64)
touch host/owned && chown 12345:54321 host/owned
"#;

/// What packages and hooks do in the tree, and more.
const IN_CHROOT: &str = r#"
mkdir /owners /modes /nodes /caps /acls
for id in 1 33 100 1000 65533 65534 65536; do
    touch /owners/$id && chown $id:$id /owners/$id
    mkdir /owners/d$id && chown $id /owners/d$id
    ln -s nowhere /owners/l$id && chown -h $id:0 /owners/l$id
done
for mode in 0000 0123 0640 1777 2755 4755 6711 7777; do
    touch /modes/f$mode && chmod $mode /modes/f$mode
    mkdir /modes/d$mode && chmod $mode /modes/d$mode
done
touch /modes/given && chmod 4755 /modes/given && chown 100:101 /modes/given

cd /nodes
mknod null c 1 3
mknod disk b 8 0
mknod large c 511 1048575
mknod larger b 259 70000
mknod private c 5 1 && chmod 0600 private
mkfifo fifo && mknod fifo2 p
(umask 077; mknod masked c 1 5)
mknod changed c 1 9 && chown 7:8 changed && chmod 4644 changed
mknod cleared c 1 9 && chmod 6777 cleared && chown 9:9 cleared
mknod old c 10 200 && mv old new && ln new other
mknod gone c 1 1 && rm gone && echo text > gone
mkdir sub && mknod sub/replaced b 7 0 && rm sub/replaced && mkdir sub/replaced
mkdir group && chown 0:50 group && chmod 2775 group && mknod group/node c 13 63
ln -s group/node link && ! mknod link c 1 3 2>/dev/null
! mknod null c 1 3 2>/dev/null
! mknod missing/node c 1 3 2>/dev/null
mkdir acl && setfacl -d -m u:1000:rwx,g:33:r,o::- acl && mknod acl/node c 1 3
[ "$(stat -c %a:%u:%g changed)" = 4644:7:8 ]

cp /bin/cat /caps/one && setcap cap_net_raw+ep /caps/one
cp /bin/cat /caps/two && chown 0:42 /caps/two && chmod 0750 /caps/two && setcap cap_setuid,cap_setgid=eip /caps/two
cp /bin/cat /caps/lost && setcap cap_chown+p /caps/lost && chown 5 /caps/lost

touch /acls/file && setfacl -m u:1000:rw,g:65534:r,m::rw /acls/file
mkdir /acls/dir && setfacl -m d:u:33:rwx,u:1001:x /acls/dir && mkdir /acls/dir/sub && touch /acls/dir/sub/file
setfattr -n user.mark -v value /acls/file && setfattr -n user.empty /acls/dir
for tool in chown mkfifo mknod mv setcap setfacl setfattr stat; do rm /bin/$tool; done
"#;

/// In the finished tree, from outside: what hooks of `cleanup.d` do.
const AT_LAST: &str = r#"
sudo mknod "$TARGET_ROOT/nodes/last" b 65 16
chown 65534:65534 "$TARGET_ROOT/nodes/last"
"#;

/// What differs from run to run, and must not differ from tier to tier.
struct Way {
    rung: Rung,
    in_memory: bool,
}

fn built(way: &Way) -> Option<(Stairs, PathBuf)> {
    let mut stairs = Stairs::new(way.rung)?;
    let lab = &mut stairs.lab;
    lab.set("SOURCE_DATE_EPOCH", "1700000000");
    lab.set("DIB_IMAGE_SEED", "matrix");
    lab.set("DIB_PRIVILEGES", &format!("{:?}", way.rung));
    lab.set("DIB_NO_TMPFS", if way.in_memory { "0" } else { "1" });
    lab.hook("root.d/20-on-host", ON_HOST);
    lab.hook("install.d/10-in-chroot", IN_CHROOT);
    lab.hook("cleanup.d/10-at-last", AT_LAST);
    lab.file("probe/static/usr/share/mode", "text");
    lab.hook(
        "post-install.d/10-static",
        "cp -a /tmp/in_target.d/static/. /; [ \"${DIB_PRIVILEGES#T}\" -ge 0 ]",
    );
    let said = stairs.build(&["-o", "x", "-t", "raw", "mini-os", "probe"]).ok();
    let tier = format!("Privileges: {:?}, ", way.rung);
    assert!(said.out.contains(&tier), "no '{tier}' in {}", said.out);
    let image = stairs.lab.out("x.raw");
    Some((stairs, image))
}

#[test]
fn the_image_is_the_same_in_every_tier() {
    let tools = ["e2fsck", "debugfs", "setcap", "setfacl", "setfattr", "ldd"];
    if !oracle::require(&tools) {
        return;
    }
    let on_disk = |rung| Way {
        rung,
        in_memory: false,
    };
    let Some((_reference, image)) = built(&on_disk(Rung::T0)) else {
        return;
    };
    ext4::fsck(&image);
    is_what_hooks_made(&image);
    let mut ways = vec![on_disk(Rung::T1), on_disk(Rung::T2)];
    if memory_keeps_attributes() {
        ways.extend([Rung::T0, Rung::T2].map(|rung| Way {
            rung,
            in_memory: true,
        }));
    }
    for way in ways {
        let Some((_stairs, other)) = built(&way) else {
            continue;
        };
        if fs::read(&image).unwrap() != fs::read(&other).unwrap() {
            if mounted::require() {
                let shown = |image: &Path| mounted::read(image, snapshot::of_dir);
                snapshot::assert_same(&shown(&image), &shown(&other));
            }
            panic!("{:?} makes another image, though of the same files", way.rung);
        }
    }
}

/// tmpfs has attributes of users since Linux 6.6.
fn memory_keeps_attributes() -> bool {
    let Ok(file) = tempfile::NamedTempFile::new_in("/dev/shm") else {
        return false;
    };
    rustix::fs::fsetxattr(file.as_file(), "user.mark", b"", XattrFlags::empty()).is_ok()
}

/// What the reference must be, for all others to be it, too.
fn is_what_hooks_made(image: &Path) {
    if !mounted::require() {
        return;
    }
    let files = mounted::read(image, snapshot::of_dir);
    let file = |path: &str| files.get(path.as_bytes()).unwrap_or_else(|| panic!("no {path}"));
    for (path, kind, mode, owner) in [
        ("nodes/null", Kind::CharDevice(1, 3), 0o644, (0, 0)),
        ("nodes/large", Kind::CharDevice(511, 1_048_575), 0o644, (0, 0)),
        ("nodes/larger", Kind::BlockDevice(259, 70_000), 0o644, (0, 0)),
        ("nodes/masked", Kind::CharDevice(1, 5), 0o600, (0, 0)),
        ("nodes/changed", Kind::CharDevice(1, 9), 0o4644, (7, 8)),
        ("nodes/new", Kind::CharDevice(10, 200), 0o644, (0, 0)),
        ("nodes/group/node", Kind::CharDevice(13, 63), 0o644, (0, 50)),
        ("nodes/last", Kind::BlockDevice(65, 16), 0o644, (65_534, 65_534)),
        ("host/char", Kind::CharDevice(1, 3), 0o644, (0, 0)),
        ("host/block", Kind::BlockDevice(8, 1), 0o640, (0, 0)),
        ("host/relative", Kind::CharDevice(4, 64), 0o644, (0, 0)),
        ("nodes/fifo", Kind::Fifo, 0o644, (0, 0)),
    ] {
        let file = file(path);
        let found = (&file.kind, file.mode & 0o7777, file.owner);
        assert_eq!(found, (&kind, mode, owner), "{path}");
    }
    assert_eq!(file("nodes/other").same_as, b"nodes/new");
    assert!(matches!(file("nodes/gone").kind, Kind::Regular { len: 5, .. }));
    let capability = &file("caps/two").xattrs[&b"security.capability"[..]];
    assert_eq!(
        (capability.len(), capability[3]),
        (20, 2),
        "no namespace is in it"
    );
    assert!(file("caps/lost").xattrs.is_empty());
    assert_eq!(file("acls/file").xattrs[&b"user.mark"[..]], b"value");
    assert_eq!(file("owners/65536").owner, (65_536, 65_536));
}

#[test]
fn an_owner_that_the_namespace_lacks_is_named() {
    let Some(stairs) = Stairs::new(Rung::T2) else {
        return;
    };
    let fails = |lab: &Lab, script: &str| {
        lab.hook("root.d/20-chown", &format!("touch $TARGET_ROOT/file; {script}"));
    };
    fails(&stairs.lab, "chown 65537:7 $TARGET_ROOT/file");
    let told = "chown wanted a file to belong to user 65537 group 7";
    let said = stairs.build(&["mini-os", "probe"]);
    said.failed(1, told);
    fails(&stairs.lab, "chown :70000 $TARGET_ROOT/file || true");
    let said = stairs.build(&["mini-os", "probe"]);
    let said = said.failed(1, "chown wanted a file to belong to group 70000");
    let range = "the users 0 to 65536 and the groups 0 to 65536: /etc/subuid and /etc/subgid grant more";
    assert!(said.err.contains(range), "{}", said.err);
}
