//! Images that hold the tree itself, and no disk.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::lab::{DIB, Lab};

fn tree(at: &Path) {
    fs::create_dir_all(at.join("etc/deep")).unwrap();
    fs::create_dir_all(at.join("tmp")).unwrap();
    fs::write(at.join("etc/file"), "text\n".repeat(50_000)).unwrap();
    fs::write(at.join("tmp/own"), "of a tree that nobody built").unwrap();
    fs::hard_link(at.join("etc/file"), at.join("etc/deep/link")).unwrap();
    std::os::unix::fs::symlink("etc/file", at.join("symlink")).unwrap();
}

/// What an archive lists, sorted.
fn listed(archive: &Path) -> Vec<String> {
    let told = oracle::run("tar", &["-tf".as_ref(), archive.as_os_str()]);
    let mut names: Vec<String> = told.lines().map(str::to_owned).collect();
    names.sort();
    names
}

const MEMBERS: [&str; 8] = [
    "./",
    "./etc/",
    "./etc/deep/",
    "./etc/deep/link",
    "./etc/file",
    "./symlink",
    "./tmp/",
    "./tmp/own",
];

const TYPES: &str = "tar,tgz,tar.zst,tar.xz,squashfs,docker,oci,aci,qcow2,raw";

const FILES: [&str; 10] = [
    "aci",
    "docker.tar",
    "oci.tar",
    "qcow2",
    "raw",
    "squash",
    "tar",
    "tar.xz",
    "tar.zst",
    "tgz",
];

/// Prints the names in all layers of an image of containers, of either layout.
const LAYERS: &str = "\
import io, json, sys, tarfile
outer = tarfile.open(sys.argv[1])
load = lambda name: json.load(outer.extractfile(name))
blob = lambda of: 'blobs/' + of['digest'].replace(':', '/')
if 'manifest.json' in outer.getnames():
    layers = load('manifest.json')[0]['Layers']
else:
    layers = [blob(layer) for layer in load(blob(load('index.json')['manifests'][0]))['layers']]
for layer in layers:
    print(*tarfile.open(fileobj=io.BytesIO(outer.extractfile(layer).read())).getnames(), sep='\\n')
";

/// The paths in an archive of any type, as another program lists them, without a slash at either end.
fn paths(archive: &Path) -> BTreeSet<String> {
    let path = archive.as_os_str();
    let name = archive.file_name().unwrap().to_str().unwrap();
    let (told, above) = match name.split_once('.').unwrap().1 {
        "squash" => (oracle::run("unsquashfs", &["-l".as_ref(), path]), "squashfs-root"),
        "docker.tar" | "oci.tar" => (
            oracle::run("python3", &["-c".as_ref(), LAYERS.as_ref(), path]),
            "",
        ),
        "aci" => (oracle::run("tar", &["-tf".as_ref(), path]), "rootfs"),
        "cpio" => (
            oracle::run("cpio", &["-it".as_ref(), "--quiet".as_ref(), "-F".as_ref(), path]),
            "",
        ),
        _ => (oracle::run("tar", &["-tf".as_ref(), path]), ""),
    };
    let paths = told.lines().filter(|line| *line != "manifest" || name != "n.aci");
    let paths = paths.filter_map(|line| line.trim_start_matches("./").strip_prefix(above));
    let paths = paths.map(|path| path.trim_matches('/').to_owned());
    paths.filter(|path| !path.is_empty() && path != ".").collect()
}

/// A laboratory with a tree, and how images of all types are made of it.
fn with_tree() -> Lab {
    let mut lab = Lab::unprivileged();
    lab.set("SOURCE_DATE_EPOCH", "1700000000");
    tree(&lab.out("tree"));
    lab
}

/// Makes images of all types; gives what was said.
fn assemble(lab: &Lab, name: &str, threads: &str, more: &[&str]) -> String {
    let args = ["assemble", "tree", "-o", name, "-t", TYPES, "--seed", "s"];
    let more = [&args[..], &["--threads", threads], more].concat();
    let said = lab.run(DIB, &more).ok();
    said.out + &said.err
}

#[test]
fn all_types_of_one_run_are_there_with_digests_and_hold_the_tree() {
    if !oracle::require(&["tar", "unsquashfs", "sha256sum", "md5sum"]) {
        return;
    }
    let lab = with_tree();
    let told = assemble(&lab, "x", "1", &["--checksum", "--docker-target", "team/x:1"]);
    assert!(told.contains("ACI_MANIFEST names no manifest"), "{told}");
    for suffix in FILES {
        let name = format!("x.{suffix}");
        for (tool, sum) in [("md5sum", "md5"), ("sha256sum", "sha256")] {
            let told = oracle::run(tool, &[lab.out(&name).as_os_str()]);
            let digits = told.split(' ').next().unwrap();
            assert_eq!(lab.text(&format!("{name}.{sum}")), format!("{digits}  {name}\n"));
        }
    }
    assert_eq!(lab.names().len(), 1 + FILES.len() * 3);
    for name in ["x.tar", "x.tgz", "x.tar.zst", "x.tar.xz"] {
        assert_eq!(listed(&lab.out(name)), MEMBERS, "{name}");
    }
    let below = listed(&lab.out("x.aci"));
    let want = MEMBERS.map(|name| name.replacen("./", "rootfs/", 1));
    assert_eq!(below, want);
    let told = oracle::run("unsquashfs", &["-ll".as_ref(), lab.out("x.squash").as_os_str()]);
    assert!(told.contains("squashfs-root/etc/deep/link"), "{told}");
    let stat = oracle::run("unsquashfs", &["-stat".as_ref(), lab.out("x.squash").as_os_str()]);
    assert!(stat.contains("Compression xz"), "{stat}");
}

#[test]
fn the_number_of_threads_shows_in_no_type() {
    let lab = with_tree();
    for (name, threads) in [("x", "1"), ("y", "3")] {
        assemble(&lab, name, threads, &["--docker-target", "team/x:1"]);
    }
    for suffix in FILES {
        let [x, y] = ["x", "y"].map(|name| fs::read(lab.out(&format!("{name}.{suffix}"))).unwrap());
        assert!(x == y, "the number of threads shows in {suffix}");
    }
}

#[test]
fn compressed_archives_hold_the_plain_one() {
    if !oracle::require(&["gzip", "zstd", "xz"]) {
        return;
    }
    let lab = with_tree();
    assemble(&lab, "x", "2", &[]);
    let plain = fs::read(lab.out("x.tar")).unwrap();
    for (tool, name) in [("gzip", "x.tgz"), ("zstd", "x.tar.zst"), ("xz", "x.tar.xz")] {
        let path = lab.out(name);
        let unpacked = oracle::output(tool, &["-dc".as_ref(), path.as_os_str()]).stdout;
        assert!(unpacked == plain, "{name}");
    }
}

#[test]
fn archives_are_trees_for_assemble_again() {
    let lab = Lab::unprivileged();
    tree(&lab.out("tree"));
    let args = ["assemble", "tree", "-o", "x", "-t", "tar,docker", "-u"];
    lab.run(DIB, &args).ok();
    for (source, name) in [("tree", "a"), ("x.tar", "b"), ("x.docker.tar", "c")] {
        let args = ["assemble", source, "-o", name, "-t", "tar"];
        lab.run(DIB, &args).ok();
    }
    let [a, b, c] = ["a", "b", "c"].map(|name| fs::read(lab.out(&format!("{name}.tar"))).unwrap());
    assert!(a == b && a == c);
}

/// Every archive has what the first tar has, by other programs' lists, and empty directories for what the host mounts.
fn hold_the_same_and_nothing_of_the_host(lab: &Lab, names: &[&str]) {
    let all = paths(&lab.out("n.tar"));
    assert!(all.contains("srv/tmp/kept") && all.contains("bin"), "{all:?}");
    for name in names {
        let found = paths(&lab.out(name));
        for directory in ["dev", "proc", "sys", "tmp"] {
            let below = format!("{directory}/");
            assert!(found.contains(directory), "{name} has no {directory}");
            let inside: Vec<_> = found.iter().filter(|path| path.starts_with(&below)).collect();
            assert!(inside.is_empty(), "{name}: {inside:?}");
        }
        assert_eq!(found, all, "{name}");
    }
}

#[test]
fn a_built_archive_has_nothing_of_the_host_and_empty_directories_for_it() {
    let Some(mut lab) = Lab::new() else { return };
    if !oracle::require(&["tar", "unsquashfs", "skopeo", "python3", "cpio", "zstd", "xz"]) {
        return;
    }
    lab.hook(
        "cleanup.d/50-leave",
        "mkdir -p $TARGET_ROOT/{dev/shm,tmp,proc,sys}\n\
         touch $TARGET_ROOT/dev/shm/of-the-host $TARGET_ROOT/tmp/left\n\
         mkdir -p $TARGET_ROOT/srv/tmp; echo kept > $TARGET_ROOT/srv/tmp/kept",
    );
    fs::write(lab.out("manifest.json"), "{\"acKind\": \"ImageManifest\"}\n").unwrap();
    let manifest = lab.out("manifest.json").display().to_string();
    lab.set("ACI_MANIFEST", &manifest);
    let args = [
        "-o",
        "n",
        "-t",
        "tar,tgz,tar.zst,tar.xz,squashfs,docker,oci,cpio,aci",
        "--docker-target",
        "team/mini:1.0",
    ];
    lab.build(&[&args[..], &["mini-os", "probe"]].concat()).ok();
    let names = lab.names();
    let want = [
        "manifest.json",
        "n.aci",
        "n.cpio",
        "n.docker.tar",
        "n.oci.tar",
        "n.squash",
        "n.tar",
        "n.tar.xz",
        "n.tar.zst",
        "n.tgz",
    ];
    assert_eq!(names, want);
    hold_the_same_and_nothing_of_the_host(&lab, &want[1..]);
    let members = listed(&lab.out("n.tar"));
    assert!(members.iter().all(|name| name.starts_with("./")), "{members:?}");
    for directory in ["dev", "proc", "sys", "tmp"] {
        let below = members
            .iter()
            .filter(|name| name.starts_with(&format!("./{directory}/")));
        assert_eq!(below.collect::<Vec<_>>(), [&format!("./{directory}/")]);
    }
    assert!(members.contains(&"./srv/tmp/kept".to_owned()));
    for name in ["n.cpio", "n.oci.tar", "n.docker.tar", "n.squash", "n.aci"] {
        lab.run(DIB, &["diff", "n.tar", name]).ok();
    }
    assert_eq!(listed(&lab.out("n.tgz")), members, "tar was asked for, and stays");
    let told = oracle::run("unsquashfs", &["-l".as_ref(), lab.out("n.squash").as_os_str()]);
    assert!(
        told.contains("root/srv/tmp/kept") && !told.contains("of-the-host") && !told.contains("root/tmp/")
    );
    let aci = listed(&lab.out("n.aci"));
    assert!(aci.contains(&"manifest".to_owned()) && aci.contains(&"rootfs/srv/tmp/kept".to_owned()));
    let aci_path = lab.out("n.aci");
    let args = ["-xOf".as_ref(), aci_path.as_os_str(), "manifest".as_ref()];
    assert_eq!(oracle::run("tar", &args), lab.text("manifest.json"));
    let archive = format!(
        "docker-archive:{}:team/mini:1.0",
        lab.out("n.docker.tar").display()
    );
    let told = oracle::run("skopeo", &["inspect".as_ref(), archive.as_ref()]);
    assert!(told.contains("\"Os\": \"linux\""), "{told}");
}

#[test]
fn an_older_archive_is_kept_under_its_time() {
    let lab = Lab::unprivileged();
    tree(&lab.out("tree"));
    let run = || {
        lab.run(
            DIB,
            &["assemble", "tree", "-o", "x", "-t", "tar,docker", "--checksum"],
        )
        .ok()
    };
    run();
    let first = fs::metadata(lab.out("x.tar")).unwrap().ino();
    run();
    let names = lab.names();
    assert_eq!(names.len(), 1 + 2 * 2 * 3, "{names:?}");
    // The time has dots too, but nothing else than digits between them.
    let is_time = |text: &str| {
        text.chars()
            .all(|char| char.is_ascii_digit() || ".-".contains(char))
    };
    let old = |end: &str| {
        let mut ends = names.iter().filter(|name| {
            let between = name.strip_prefix("x-").and_then(|rest| rest.strip_suffix(end));
            between.is_some_and(is_time)
        });
        ends.next().unwrap_or_else(|| panic!("no old x{end}: {names:?}"))
    };
    for end in [".docker.tar", ".tar.md5", ".docker.tar.sha256"] {
        assert!(lab.out(old(end)).is_file());
    }
    assert_eq!(fs::metadata(lab.out(old(".tar"))).unwrap().ino(), first);
}

#[test]
fn what_cannot_be_an_archive_is_refused_before_anything_is_written() {
    let mut lab = Lab::unprivileged();
    tree(&lab.out("tree"));
    let assemble = |lab: &Lab, more: &[&str]| lab.run(DIB, &[&["assemble", "tree"], more].concat());
    assemble(&lab, &["-o", "My Image", "-t", "docker"])
        .failed(1, "'My Image' cannot be the name of a container's image");
    assemble(&lab, &["-t", "docker", "--docker-target", "A:b"]).failed(1, "'A:b' cannot be the name");
    lab.set("ACI_MANIFEST", "absent");
    assemble(&lab, &["-t", "aci"]).failed(1, "ACI_MANIFEST: cannot read absent");
    assert_eq!(lab.names(), ["tree"]);
}

#[test]
fn an_archive_of_cpio_goes_to_standard_output() {
    if !oracle::require(&["cpio"]) {
        return;
    }
    let lab = with_tree();
    let script = "\"$0\" assemble tree -o - -t cpio | cpio -t --quiet";
    let said = lab.run("/bin/sh", &["-c", script, DIB]).ok();
    let mut want = MEMBERS.map(|name| name.trim_end_matches('/').replacen("./", "", 1));
    want.sort();
    let mut found: Vec<_> = said.out.lines().collect();
    found.sort_unstable();
    assert_eq!(found, want);
}
