//! What formats are asked for besides their words: compressors, layouts, engines; and who takes the images.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::lab::{DIB, DISK_IMAGE_CREATE, Lab};

/// A laboratory with a small tree and a layout of partitions.
fn lab() -> Lab {
    let mut lab = Lab::unprivileged();
    // Images of one tree are the same in the next second, too.
    lab.set("SOURCE_DATE_EPOCH", "1700000000");
    fs::create_dir_all(lab.out("tree/etc")).unwrap();
    fs::write(lab.out("tree/etc/file"), "text\n".repeat(50_000)).unwrap();
    fs::write(lab.out("layout.yaml"), LAYOUT).unwrap();
    fs::write(lab.out("old.yaml"), OLD_LAYOUT).unwrap();
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

const OLD_LAYOUT: &str = "
- local_loop:
    name: image0
    partitioning:
      label: mbr
      partitions:
        - {name: root, flags: [boot, primary], size: 100%, mkfs: {type: ext4, mount: {mount_point: /}}}
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
    assemble(&lab, "mbr", "raw,qcow2", &["--block-device", "old.yaml"]);
    let convert = |name: &str, types: &str, more: &[&str]| {
        let args = ["convert", "disk.qcow2", "-o", name, "-t", types];
        lab.run(DIB, &[&args[..], more].concat()).ok();
    };
    convert("new", "raw,qcow2,vhd,vdi,vmdk", &[]);
    let stream = ["--qemu-img-options", "subformat=streamOptimized"];
    convert("sent", "vmdk", &stream);
    for (name, seen) in [
        // Its name for a table of either kind.
        ("mbr.raw", "gpt"),
        ("mbr.qcow2", "qcow2"),
        ("new.raw", "gpt"),
        ("new.qcow2", "qcow2"),
        ("new.vhd", "vhd"),
        ("new.vdi", "vdi"),
        ("new.vmdk", "vmdk"),
        ("sent.vmdk", "vmdk"),
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

/// A stream-optimized disk, read as one that can go neither back nor forth: its guest, grain by grain.
struct Stream<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where each grain was, by its number.
    grains: BTreeMap<u64, u64>,
    /// Where tables were, and what they say.
    tables: BTreeMap<u64, Vec<u64>>,
    guest: Vec<u8>,
}

const SECTOR: usize = 512;
/// Sectors in a grain, and entries in a table.
const GRAIN: usize = 128;
const ENTRIES: usize = 512;

impl<'a> Stream<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        taken
    }

    fn entries(&mut self, sectors: u64) -> (u64, Vec<u64>) {
        let at = (self.at / SECTOR) as u64;
        let bytes = self.take(usize::try_from(sectors).unwrap() * SECTOR);
        let entries = bytes
            .chunks(4)
            .map(|four| u32::from_le_bytes(four.try_into().unwrap()).into());
        (at, entries.collect())
    }

    fn grain(&mut self, sector: u64, size: usize) {
        let number = sector / GRAIN as u64;
        let at = (self.at / SECTOR) as u64;
        assert_eq!(sector % GRAIN as u64, 0);
        assert!(self.grains.keys().all(|before| *before < number), "grains ascend");
        // A grain that comes behind its table would be in none.
        assert!(self.tables.len() as u64 <= number / ENTRIES as u64);
        let packed = &self.bytes[self.at + 12..][..size];
        let mut grain = Vec::new();
        flate2::read::ZlibDecoder::new(packed)
            .read_to_end(&mut grain)
            .unwrap();
        let start = usize::try_from(sector).unwrap() * SECTOR;
        let len = grain.len().min(self.guest.len() - start);
        self.guest[start..start + len].copy_from_slice(&grain[..len]);
        self.grains.insert(number, at);
        let padded = (12 + size).next_multiple_of(SECTOR);
        assert!(self.take(padded)[12 + size..].iter().all(|byte| *byte == 0));
    }

    /// Whether footer, directory and tables say where everything was.
    fn agrees(&self, directory: (u64, Vec<u64>), footer: &[u8]) {
        let head = &self.bytes[..SECTOR];
        let (at, directory) = directory;
        assert_eq!(number(footer, 56), at, "the footer knows the directory");
        assert!([u64::MAX, at].contains(&number(head, 56)));
        assert_eq!((&footer[..56], &footer[64..]), (&head[..56], &head[64..]));
        let tables = self.guest.len().div_ceil(GRAIN * ENTRIES * SECTOR);
        for (table, at) in (0..).zip(&directory) {
            let entries = self.tables.get(at);
            assert!(
                entries.is_some() || *at == 0,
                "table {table} is not where the directory says"
            );
            for entry in 0..ENTRIES {
                let grain = (table * ENTRIES + entry) as u64;
                let says = entries.map_or(0, |entries| entries[entry]);
                assert_eq!(
                    says,
                    self.grains.get(&grain).copied().unwrap_or(0),
                    "grain {grain}"
                );
            }
        }
        assert!(directory.len() >= tables);
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Reads a stream to its end; gives the guest.
fn streamed(bytes: &[u8]) -> Vec<u8> {
    let head = &bytes[..SECTOR];
    assert_eq!((&head[..4], head[4]), (&b"KDMV"[..], 3));
    assert_eq!(
        u32::from_le_bytes(head[8..12].try_into().unwrap()) >> 16,
        3,
        "compressed, with markers"
    );
    assert_eq!(
        (number(head, 20), &head[44..48]),
        (GRAIN as u64, &[0, 2, 0, 0][..])
    );
    let capacity = usize::try_from(number(head, 12)).unwrap();
    let overhead = usize::try_from(number(head, 64)).unwrap();
    let text = usize::try_from(number(head, 28) + number(head, 36)).unwrap();
    assert!(text <= overhead, "the text stands before the grains");
    let mut stream = Stream {
        bytes,
        at: overhead * SECTOR,
        grains: BTreeMap::new(),
        tables: BTreeMap::new(),
        guest: vec![0; capacity * SECTOR],
    };
    let mut directory = None;
    let mut footer = None;
    loop {
        let value = number(bytes, stream.at);
        let size = u32::from_le_bytes(bytes[stream.at + 8..][..4].try_into().unwrap());
        if size > 0 {
            assert!(directory.is_none(), "a grain stands behind the directory");
            stream.grain(value, size as usize);
            continue;
        }
        let marker = stream.take(SECTOR);
        assert!(marker[16..].iter().all(|byte| *byte == 0));
        match marker[12] {
            1 => {
                assert!(
                    directory.is_none() && value == 4,
                    "a table stands behind the directory"
                );
                let (at, entries) = stream.entries(value);
                stream.tables.insert(at, entries);
            }
            2 => {
                assert!(directory.is_none() && footer.is_none());
                directory = Some(stream.entries(value));
            }
            3 => {
                assert!(directory.is_some() && footer.is_none() && value == 1);
                footer = Some(stream.take(SECTOR));
            }
            0 => {
                assert_eq!(
                    (value, stream.at),
                    (0, bytes.len()),
                    "the stream ends with its marker"
                );
                break;
            }
            other => panic!("a marker of type {other}"),
        }
    }
    stream.agrees(directory.unwrap(), footer.unwrap());
    stream.guest
}

/// `ESXi` reads a stream while it comes: the order of its parts is part of the format.
#[test]
fn a_stream_can_be_read_from_its_beginning_to_its_end() {
    let lab = lab();
    // Four tables, of which the second has no grain; the last grain is short.
    let len = (101 << 20) + 7 * SECTOR;
    let mut disk = vec![0; len];
    for (i, byte) in disk[..3 << 20].iter_mut().enumerate() {
        *byte = (i.wrapping_mul(i) >> 3).to_le_bytes()[0];
    }
    disk[(31 << 20) + 17] = 1;
    disk[70 << 20..][..5].copy_from_slice(b"grain");
    disk[len - 3..].copy_from_slice(b"end");
    fs::write(lab.out("disk"), &disk).unwrap();
    for (name, words) in [
        ("a", ""),
        ("b", ",vmdk_layout=front"),
        ("c", ",compression_level=1"),
    ] {
        let words = format!("subformat=streamOptimized{words}");
        let args = [
            "convert",
            "disk",
            "-o",
            name,
            "-t",
            "vmdk",
            "--qemu-img-options",
            &words,
        ];
        lab.run(DIB, &args).ok();
        let guest = streamed(&fs::read(lab.out(&format!("{name}.vmdk"))).unwrap());
        assert!(guest == disk, "{words}");
    }
    fs::write(lab.out("empty"), vec![0; 1 << 20]).unwrap();
    let words = ["-t", "vmdk", "--qemu-img-options", "subformat=streamOptimized"];
    lab.run(DIB, &[&["convert", "empty", "-o", "d"], &words[..]].concat())
        .ok();
    assert!(streamed(&fs::read(lab.out("d.vmdk")).unwrap()) == vec![0; 1 << 20]);
}
