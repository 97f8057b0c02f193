//! Containers of disks: several of one build, those that consumers take, and `dib convert` between all of them.

mod lying;

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use crate::lab::{DIB, Lab};

/// What qemu-img calls a type.
fn qemu(word: &str) -> &str {
    match word {
        "vhd" => "vpc",
        word => word,
    }
}

/// A raw disk of 40 MiB and a half with data here and there, and zeros that are written.
fn disk(at: &Path) {
    let file = fs::File::create(at).unwrap();
    file.set_len((40 << 20) + (512 << 10)).unwrap();
    let noise: Vec<u8> = (0..3_000_000_u32)
        .map(|i| i.wrapping_mul(i).wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    file.write_all_at(&noise, 1 << 20).unwrap();
    file.write_all_at(&b"text and ".repeat(100_000), 9_999_999)
        .unwrap();
    file.write_all_at(&vec![0; 8 << 20], 20 << 20).unwrap();
    file.write_all_at(b"end", (40 << 20) + (512 << 10) - 3).unwrap();
}

#[test]
fn one_build_makes_every_type() {
    let Some(lab) = Lab::new() else { return };
    lab.build(&["-o", "n", "-t", "vmdk,vhd,qcow2,vdi,raw", "mini-os"])
        .ok();
    assert_eq!(lab.names(), ["n.qcow2", "n.raw", "n.vdi", "n.vhd", "n.vmdk"]);
    if oracle::require(&["qemu-img"]) {
        for word in ["qcow2", "vdi", "vhd", "vmdk"] {
            let image = lab.out(&format!("n.{word}"));
            oracle::containers::compare(&lab.out("n.raw"), qemu(word), &image);
        }
    }
}

#[test]
fn a_disk_for_azure_has_whole_mebibytes() {
    let Some(lab) = Lab::new() else { return };
    let args = ["-o", "n", "-t", "vhd,raw", "--vhd-creator", "azure", "mini-os"];
    lab.build(&[&args[..], &["--image-size", "0.1"]].concat()).ok();
    let len = |name: &str| fs::metadata(lab.out(name)).unwrap().len();
    assert_eq!((len("n.raw"), len("n.vhd")), (103 << 20, (103 << 20) + 512));
    let bytes = fs::read(lab.out("n.vhd")).unwrap();
    assert_eq!(bytes[bytes.len() - 512 + 28..][..12], *b"win \0\x0a\0\0Wi2k");
    if oracle::require(&["e2fsck"]) {
        oracle::ext4::fsck(&lab.out("n.raw"));
    }
}

#[test]
fn every_type_becomes_every_other() {
    let lab = Lab::unprivileged();
    disk(&lab.out("disk"));
    let convert = |args: &[&str]| lab.run(DIB, &[&["convert"], args].concat()).ok();
    let ways: [(&str, &[&str]); 9] = [
        ("raw", &[]),
        ("qcow2", &[]),
        ("qcow2", &["-u"]),
        (
            "qcow2",
            &["--qemu-img-options", "compression_type=zstd,cluster_size=4k"],
        ),
        ("vhd", &[]),
        ("vhd", &["--qemu-img-options", "subformat=fixed"]),
        ("vdi", &[]),
        ("vmdk", &[]),
        ("vmdk", &["--qemu-img-options", "subformat=streamOptimized"]),
    ];
    for (index, (word, options)) in ways.iter().enumerate() {
        let name = format!("from{index}");
        convert(&[&["disk", "-o", &name, "-t", word], *options].concat());
        let from = format!("{name}.{word}");
        if oracle::require(&["qemu-img"]) {
            oracle::containers::compare(&lab.out("disk"), qemu(word), &lab.out(&from));
        }
        convert(&[&from, "-o", "back", "-t", "raw,vdi,vhd,vmdk,qcow2"]);
        assert!(
            fs::read(lab.out("back.raw")).unwrap() == fs::read(lab.out("disk")).unwrap(),
            "{word} {options:?}"
        );
        // What was written as zeros is a hole now.
        let kept = fs::metadata(lab.out("back.raw")).unwrap().blocks() * 512;
        assert!(kept < 5 << 20, "{kept} bytes");
        if oracle::require(&["qemu-img"]) {
            for word in ["qcow2", "vdi", "vhd", "vmdk"] {
                let image = lab.out(&format!("back.{word}"));
                oracle::containers::compare(&lab.out("disk"), qemu(word), &image);
            }
        }
        for name in lab.names().iter().filter(|name| name.starts_with("back")) {
            fs::remove_file(lab.out(name)).unwrap();
        }
    }
}

#[test]
fn a_conversion_repeats_and_is_the_same_for_any_number_of_threads() {
    let mut lab = Lab::unprivileged();
    disk(&lab.out("disk"));
    lab.set("SOURCE_DATE_EPOCH", "1700000000");
    lab.set("OVERWRITE_OLD_IMAGE", "1");
    let mut seen = Vec::new();
    for threads in ["1", "3"] {
        let args = [
            "convert",
            "disk",
            "-o",
            "n",
            "-t",
            "vhd,vdi,vmdk,qcow2",
            "--threads",
            threads,
        ];
        lab.run(DIB, &args).ok();
        let stream = "subformat=streamOptimized";
        let args = [
            "convert",
            "disk",
            "-o",
            "s.vmdk",
            "--qemu-img-options",
            stream,
            "--threads",
            threads,
        ];
        lab.run(DIB, &args).ok();
        let names = lab.names().into_iter().filter(|name| name != "disk");
        seen.push(
            names
                .map(|name| fs::read(lab.out(&name)).unwrap())
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(seen[0].len(), 5);
    assert!(seen[0] == seen[1]);
}

#[test]
fn an_image_goes_to_standard_output_and_nothing_else_does() {
    let lab = Lab::unprivileged();
    disk(&lab.out("disk"));
    let piped = |words: &str, to: &str| {
        let script = format!("exec \"$0\" convert disk -o - {words} >{to}");
        lab.run("/bin/sh", &["-c", &script, DIB])
    };
    let said = piped("-t raw", "a").ok();
    assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""));
    assert!(fs::read(lab.out("a")).unwrap() == fs::read(lab.out("disk")).unwrap());
    piped("-t vmdk --qemu-img-options subformat=streamOptimized", "b").ok();
    if oracle::require(&["qemu-img"]) {
        oracle::containers::compare(&lab.out("disk"), "vmdk", &lab.out("b"));
    }
    piped("-t qcow2", "c").failed(1, "use -u, or another type");
    piped("-t raw,vdi", "c").failed(1, "takes one image");
    piped("-t raw --checksum", "c").failed(1, "digests need a file");
    assert_eq!(lab.names(), ["a", "b", "c", "disk"]);
    let Some(lab) = Lab::new() else { return };
    lab.build(&["-o", "n", "-t", "raw", "--seed", "s", "mini-os"])
        .ok();
    let builder = crate::lab::DISK_IMAGE_CREATE;
    let script = "exec \"$0\" -n -o - -t raw --seed s mini-os >piped";
    let said = lab.run("/bin/sh", &["-c", script, builder]).ok();
    assert!(said.err.contains("Build completed successfully"), "{}", said.err);
    assert_eq!(
        fs::metadata(lab.out("piped")).unwrap().len(),
        fs::metadata(lab.out("n.raw")).unwrap().len()
    );
    if oracle::require(&["e2fsck"]) {
        oracle::ext4::fsck(&lab.out("piped"));
    }
}

#[test]
fn options_are_for_the_types_that_know_them() {
    let lab = Lab::unprivileged();
    disk(&lab.out("disk"));
    let convert = |args: &[&str]| lab.run(DIB, &[&["convert", "disk", "-o", "n"], args].concat());
    let options = [
        "-t",
        "qcow2,vmdk",
        "--qemu-img-options",
        "compat=0.10,adapter_type=ide",
    ];
    convert(&options).ok();
    if oracle::require(&["qemu-img"]) {
        assert!(oracle::qcow2::info(&lab.out("n.qcow2")).contains("0.10"));
    }
    let text = String::from_utf8_lossy(&fs::read(lab.out("n.vmdk")).unwrap()[512..1536]).into_owned();
    assert!(text.contains("ddb.adapterType = \"ide\""), "{text}");
    convert(&["-t", "vdi,vhd", "--qemu-img-options", "compat=0.10"])
        .failed(1, "none of vdi, vhd has an option 'compat'");
    convert(&["-t", "vmdk", "--qemu-img-options", "subformat=monolithicFlat"])
        .failed(1, "subformat=monolithicFlat is not supported");
    convert(&[
        "-t",
        "vhd",
        "--vhd-creator",
        "azure",
        "--qemu-img-options",
        "subformat=dynamic",
    ])
    .failed(
        1,
        "subformat=dynamic is not supported: Azure takes fixed disks only",
    );
    convert(&["-t", "raw,vdi", "--qemu-img-options", "compat=0.10"])
        .failed(1, "none of vdi, raw has an option 'compat'");
    convert(&["-t", "raw", "--qemu-img-options", "compat=0.10"]).ok();
    convert(&["-t", "vhd", "--vhd-creator", "azur"]).failed(1, "did you mean azure?");
    let kept = ["-t", "qcow2", "--qemu-img-options", "preallocation=metadata"];
    convert(&kept).failed(1, "preallocation needs an image that is not compressed");
    convert(&[&kept[..], &["-u"]].concat()).ok();
    fs::write(lab.out("text"), "# Disk DescriptorFile\nversion=1\n").unwrap();
    lab.run(DIB, &["convert", "text", "-o", "n"])
        .failed(1, "it is a VMDK description, whose disk lies in other files");
}

#[test]
fn a_length_that_a_type_cannot_have_is_refused_before_anything_is_read() {
    let lab = Lab::unprivileged();
    let plan = |size: &str, more: &[&str]| {
        let args = ["plan", "-n", "-o", "n", "--image-size", size];
        lab.run(DIB, &[&args[..], more, &["mini-os"]].concat())
    };
    for (types, gib, told) in [
        (
            "vhd",
            2041_u64,
            "bytes are too many for a VHD: at most 2190433320960",
        ),
        ("raw,vmdk", 2049, "bytes are too many for a VMDK: at most "),
        (
            "vdi",
            16 * 1024 + 1,
            "bytes are too many for a VDI: at most 17592186044416",
        ),
        ("qcow2", 129, "bytes are too many for clusters of 512: at most "),
    ] {
        let mut more = vec!["-t", types];
        if types == "qcow2" {
            more.extend(["--qemu-img-options", "cluster_size=512"]);
        }
        // Not every file system has files of more than 16 TiB.
        if gib < 4096 {
            let disk = fs::File::create(lab.out("disk")).unwrap();
            disk.set_len(gib << 30).unwrap();
            let args = [&["convert", "disk", "-o", "n"], &more[..]].concat();
            lab.run(DIB, &args).failed(1, told);
        }
        plan(&gib.to_string(), &more).failed(1, told);
        assert_eq!(lab.names(), ["disk"]);
    }
    plan(
        "10",
        &["-t", "qcow2", "--qemu-img-options", "preallocation=metadata"],
    )
    .failed(1, "preallocation needs an image that is not compressed");
    plan("10", &["-t", "raw,vhd,vmdk,vdi,qcow2"]).ok();
}
