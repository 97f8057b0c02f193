//! What formats are asked for besides their words: compressors, layouts, engines; and who takes the images.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::lab::{DIB, DISK_IMAGE_CREATE, Lab};

/// A laboratory with a small tree and a layout of partitions.
fn lab() -> Lab {
    let lab = Lab::unprivileged();
    fs::create_dir_all(lab.out("tree/etc")).unwrap();
    fs::write(lab.out("tree/etc/file"), "text\n".repeat(50_000)).unwrap();
    fs::write(lab.out("layout.yaml"), LAYOUT).unwrap();
    lab
}

const LAYOUT: &str = "
- local_loop:
    name: image0
    partitioning:
      label: gpt
      partitions:
        - {name: ESP, type: EF00, size: 40MiB, mkfs: {type: vfat, label: ESP, mount: {mount_point: /boot/efi}}}
        - {name: root, size: 100%, mkfs: {type: ext4, mount: {mount_point: /}}}
";

/// Assembles `NAME` of the tree, in types.
fn assemble(lab: &Lab, name: &str, types: &str, more: &[&str]) {
    let args = [
        &["assemble", "tree", "-o", name, "-t", types, "--seed", "s"],
        more,
    ]
    .concat();
    lab.run(DIB, &args).ok();
}

#[test]
fn the_gatekeeper_of_openstack_calls_every_disk_safe() {
    if !oracle::containers::require_inspector() {
        return;
    }
    let lab = lab();
    let disk = ["--block-device", "layout.yaml"];
    assemble(&lab, "bare", "raw,qcow2,vhd,vdi,vmdk", &[]);
    assemble(&lab, "disk", "raw,qcow2,vhd,vdi,vmdk", &disk);
    let with = |name: &str, options: &str, types: &str| {
        assemble(
            &lab,
            name,
            types,
            &[&disk[..], &["--qemu-img-options", options]].concat(),
        );
    };
    with("old", "compat=0.10", "qcow2");
    with("zstd", "compression_type=zstd", "qcow2");
    with("stream", "subformat=streamOptimized", "vmdk");
    with("front", "subformat=streamOptimized,vmdk_layout=front", "vmdk");
    assemble(&lab, "plain", "qcow2", &[&disk[..], &["-u"]].concat());
    assemble(
        &lab,
        "azure",
        "vhd",
        &["--vhd-creator", "azure", "--image-size", "0.25"],
    );
    for (name, seen) in [
        ("bare.raw", "raw"),
        ("bare.qcow2", "qcow2"),
        ("bare.vhd", "vhd"),
        ("bare.vdi", "vdi"),
        ("bare.vmdk", "vmdk"),
        ("disk.raw", "gpt"),
        ("disk.qcow2", "qcow2"),
        ("disk.vhd", "vhd"),
        ("disk.vdi", "vdi"),
        ("disk.vmdk", "vmdk"),
        ("old.qcow2", "qcow2"),
        ("zstd.qcow2", "qcow2"),
        ("plain.qcow2", "qcow2"),
        ("stream.vmdk", "vmdk"),
        ("front.vmdk", "vmdk"),
        // Its only mark is at its end, where this judge does not look.
        ("azure.vhd", "raw"),
    ] {
        oracle::containers::inspect(seen, &lab.out(name));
    }
}

#[test]
fn a_stream_says_in_front_where_its_directory_is_for_readers_that_look_nowhere_else() {
    let lab = lab();
    assemble(&lab, "disk", "raw", &[]);
    // Images of one name are the same but for what is asked for.
    let stream = |dir: &str, words: &str| {
        fs::create_dir(lab.out(dir)).unwrap();
        let words = format!("subformat=streamOptimized{words}");
        assemble(
            &lab,
            &format!("{dir}/disk"),
            "vmdk",
            &["--qemu-img-options", &words],
        );
        lab.out(&format!("{dir}/disk.vmdk"))
    };
    let images = [
        ("usual", ""),
        ("footer", ",vmdk_layout=footer"),
        ("front", ",vmdk_layout=front"),
    ]
    .map(|(dir, words)| stream(dir, words));
    let [usual, footer, front] = images.each_ref().map(|path| fs::read(path).unwrap());
    assert!(usual == footer);
    assert_eq!(footer[56..64], [0xff; 8]);
    let end = front.len() - 1024;
    assert_eq!(
        front[..512],
        front[end..end + 512],
        "the header at the end is the same"
    );
    assert!(front[512..] == footer[512..]);
    if oracle::require(&["qemu-img"]) {
        for image in images {
            oracle::containers::check("vmdk", &image);
            oracle::containers::compare(&lab.out("disk.raw"), "vmdk", &image);
        }
    }
    let refused = |words: &str, why: &str| {
        let args = [
            "assemble",
            "tree",
            "-o",
            "x",
            "-t",
            "vmdk",
            "--qemu-img-options",
            words,
        ];
        lab.run(DIB, &args).failed(1, why);
        assert!(!lab.out("x.vmdk").exists());
    };
    refused(
        "vmdk_layout=back",
        "'back' is no value of vmdk_layout, which is footer or front",
    );
    refused(
        "vmdk_layout=footer",
        "vmdk_layout=footer is not supported: the directory of a sparse disk",
    );
    let script = "exec \"$0\" assemble tree -o - -t vmdk --qemu-img-options $1 | cat";
    let words = "subformat=streamOptimized,vmdk_layout=front";
    let said = lab.run("/bin/bash", &["-o", "pipefail", "-c", script, DIB, words]);
    said.failed(1, "-o -: what vmdk_layout=front writes last");
}

#[test]
fn a_squashfs_image_is_compressed_as_asked_for() {
    if !oracle::require(&["unsquashfs"]) {
        return;
    }
    let mut lab = lab();
    assemble(&lab, "default", "squashfs", &[]);
    assemble(&lab, "gzip", "squashfs", &["--squashfs-compression", "gzip"]);
    lab.set("DIB_SQUASHFS_COMPRESSION", "zstd");
    assemble(&lab, "zstd", "squashfs", &[]);
    for (name, word) in [("default", "xz"), ("gzip", "gzip"), ("zstd", "zstd")] {
        let image = lab.out(&format!("{name}.squash"));
        let told = oracle::run("unsquashfs", &["-stat".as_ref(), image.as_os_str()]);
        assert!(told.contains(&format!("Compression {word}\n")), "{told}");
        let to = lab.out(name);
        let args = ["-quiet", "-no-progress", "-dest"].map(AsRef::as_ref);
        oracle::run(
            "unsquashfs",
            &[&args[..], &[to.as_os_str(), image.as_os_str()]].concat(),
        );
        assert_eq!(fs::read(to.join("etc/file")).unwrap(), b"text\n".repeat(50_000));
    }
    let args = [
        "assemble",
        "tree",
        "-t",
        "squashfs",
        "--squashfs-compression",
        "lzo",
    ];
    lab.run(DIB, &args)
        .failed(1, "--squashfs-compression: 'lzo' is unknown");
}

/// A program called docker that notes what it is told, and keeps what it loads; or that fails.
fn engine(lab: &mut Lab, status: u8) -> PathBuf {
    let dir = lab.dir().join("programs");
    fs::create_dir_all(&dir).unwrap();
    let program = dir.join("docker");
    let script = format!(
        "#!/bin/bash\nset -eu\nprintf '%s\\n' \"$@\" >>told\ncp \"${{2#--input=}}\" loaded\nexit {status}\n"
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", dir.display());
    lab.set("PATH", &path);
    dir
}

const DOCKER: [&str; 4] = ["-t", "docker,tar", "--docker-target", "team/x:1"];

#[test]
fn an_image_is_loaded_into_the_engine_where_that_is_asked_for() {
    let mut lab = lab();
    let run = |lab: &Lab, more: &[&str]| {
        let args = [&["assemble", "tree", "-o", "x"], &DOCKER[..], more].concat();
        lab.run(DIB, &args)
    };
    engine(&mut lab, 0);
    run(&lab, &[]).ok();
    assert!(!lab.out("told").exists(), "nobody asked");
    run(&lab, &["--docker-load"]).ok();
    assert_eq!(lab.text("told"), "load\n--input=x.docker.tar\n");
    let loaded = || fs::read(lab.out("loaded")).unwrap();
    assert!(loaded() == fs::read(lab.out("x.docker.tar")).unwrap());
    let args = ["assemble", "tree", "-o", "y", "-t", "tar", "--docker-load"];
    lab.run(DIB, &args)
        .failed(1, "--docker-load: no image of type docker is wanted");
    assert!(!lab.out("y.tar").exists());
    engine(&mut lab, 7);
    let said = run(&lab, &["--docker-load"]).failed(1, "cannot load x.docker.tar into the engine of docker");
    assert!(said.err.contains("load ended with status 7"), "{}", said.err);
    assert!(lab.out("x.docker.tar").exists() && lab.out("x.tar").exists());
    lab.set("PATH", "/nowhere");
    run(&lab, &["--docker-load"]).failed(1, "--docker-load: no program docker is on the PATH");
}

#[test]
fn a_build_loads_its_image_and_asks_for_the_engine_before_any_hook() {
    let Some(mut lab) = Lab::new() else { return };
    lab.hook("root.d/99-ran", "touch ran");
    lab.set("DIB_DOCKER_LOAD", "1");
    let args = [&["-o", "x"], &DOCKER[..], &["mini-os", "probe"]].concat();
    let usual = lab
        .environment()
        .iter()
        .find(|(name, _)| *name == "PATH")
        .unwrap()
        .1
        .to_owned();
    if oracle::find("docker").is_none() {
        lab.build(&args).failed(1, "no program docker is on the PATH");
        assert!(!lab.out("ran").exists());
    }
    engine(&mut lab, 0);
    lab.build(&args).ok();
    assert_eq!(lab.text("told"), "load\n--input=x.docker.tar\n");
    assert!(fs::read(lab.out("loaded")).unwrap() == fs::read(lab.out("x.docker.tar")).unwrap());
    lab.set("PATH", &usual).set("DIB_DOCKER_LOAD", "0");
    lab.build(&args).ok();
}

#[test]
fn an_image_of_standard_output_has_nothing_beside_it() {
    let Some(lab) = Lab::new() else { return };
    if !oracle::require(&["tar"]) {
        return;
    }
    let script = "exec \"$0\" -n -o - -t tar mini-os manifests element-manifest >piped";
    lab.run("/bin/sh", &["-c", script, DISK_IMAGE_CREATE]).ok();
    assert_eq!(lab.names(), ["piped"]);
    let listed = oracle::run("tar", &["-tf".as_ref(), lab.out("piped").as_os_str()]);
    assert!(
        listed.contains("./etc/dib-manifests/dib-element-manifest\n"),
        "{listed}"
    );
}
