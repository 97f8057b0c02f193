//! How much memory writing and reading takes: no more for a large image than for a small one but for the names of the tree,
//! and no more on a machine of many processors than on one of two.
//!
//! The system is the judge: it tells how many pages a child had at most, and Python asks it.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::lab::{DIB, Lab};

/// What no command may take.
const MOST_KIB: u64 = 256 << 10;

/// Runs what follows, and prints the most memory that it had, in KiB.
const WATCH: &str = "\
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
";

/// The most memory that a command had, in KiB.
fn taken(lab: &Lab, words: &[&str]) -> u64 {
    let args = [&["-c", WATCH, DIB], words].concat();
    let said = lab.run("/usr/bin/python3", &args).ok();
    said.out.trim().parse().unwrap()
}

/// A tree of 200,000 files.
fn many_files(at: &Path) {
    for dir in 0..200 {
        let dir = at.join(format!("directory-{dir}"));
        fs::create_dir_all(&dir).unwrap();
        for file in 0..1000 {
            fs::write(dir.join(format!("a-file-of-some-name-{file}")), "text").unwrap();
        }
    }
}

/// A tree with a file of 2 GiB: so many times 16 MiB of data between holes, most of which cost a compressor little time.
fn large_file(at: &Path, parts: u64) {
    fs::create_dir(at).unwrap();
    let large = fs::File::create(at.join("large")).unwrap();
    large.set_len(2 << 30).unwrap();
    let noise: Vec<u8> = (0..1_u32 << 17)
        .map(|i| i.wrapping_mul(i).wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    for part in 0..parts {
        let start = part * (128 << 20);
        large.write_all_at(&vec![b'.'; 16 << 20], start).unwrap();
        large.write_all_at(&noise, start).unwrap();
    }
}

/// A qcow2 disk of 2 GiB, whose clusters of 512 bytes are data and hole by turns: all data is the same cluster of a small file.
fn torn_disk(at: &Path) {
    const CLUSTER: u64 = 512;
    const TABLES: u64 = 1 << 16;
    // Header, table of tables, table of clusters, data.
    let [tables, clusters, data] = [CLUSTER, CLUSTER + 8 * TABLES, 2 * CLUSTER + 8 * TABLES];
    let entries = CLUSTER / 8;
    let mut disk = b"QFI\xfb\0\0\0\x02".to_vec();
    disk.extend([0; 12]);
    disk.extend(CLUSTER.ilog2().to_be_bytes());
    disk.extend((TABLES * entries * CLUSTER).to_be_bytes());
    disk.extend([0; 4]);
    disk.extend(u32::try_from(TABLES).unwrap().to_be_bytes());
    disk.extend(tables.to_be_bytes());
    disk.resize(usize::try_from(tables).unwrap(), 0);
    for _ in 0..TABLES {
        disk.extend(clusters.to_be_bytes());
    }
    for entry in 0..entries {
        disk.extend((data * (entry % 2)).to_be_bytes());
    }
    disk.extend([b'.'; 512]);
    fs::write(at, disk).unwrap();
}

#[test]
fn a_disk_in_pieces_takes_no_more_memory_than_one_in_one() {
    if !oracle::require(&["python3"]) {
        return;
    }
    let lab = Lab::unprivileged();
    torn_disk(&lab.out("torn.qcow2"));
    let kib = taken(&lab, &["convert", "torn.qcow2", "-o", "whole", "-t", "raw"]);
    assert!(kib < MOST_KIB / 2, "{kib} KiB");
    let whole = fs::File::open(lab.out("whole.raw")).unwrap();
    assert_eq!(whole.metadata().unwrap().len(), 2 << 30);
    let mut end = [0; 1024];
    whole.read_exact_at(&mut end, (2 << 30) - 1024).unwrap();
    assert_eq!(end, std::array::from_fn(|at| if at < 512 { 0 } else { b'.' }));
}

#[test]
fn no_image_takes_more_than_a_quarter_of_a_gibibyte() {
    if !oracle::require(&["python3"]) {
        return;
    }
    let lab = Lab::unprivileged();
    let mut all = Vec::new();
    many_files(&lab.out("many"));
    for types in ["raw", "tar", "squashfs"] {
        let words = ["assemble", "many", "-o", "many", "-t", types];
        all.push((words.join(" "), taken(&lab, &words)));
    }
    for command in ["inspect", "check", "ls"] {
        let words = [command, "many.raw"];
        all.push((words.join(" "), taken(&lab, &words)));
    }
    let names = all.iter().map(|(_, kib)| *kib).max().unwrap();
    fs::remove_dir_all(lab.out("many")).unwrap();
    fs::remove_file(lab.out("many.raw")).unwrap();

    large_file(&lab.out("large"), 8);
    // As many blocks as the threads of xz have on their way: it takes its time for each.
    large_file(&lab.out("short"), 4);
    let stream = ["--qemu-img-options", "subformat=streamOptimized"];
    let clusters = ["--qemu-img-options", "cluster_size=2M"];
    let threads = ["--threads", "64"];
    let mut large = Vec::new();
    let mut write = |words: &[&str], more: &[&str]| {
        let words = [words, more, &threads].concat();
        large.push((words.join(" "), taken(&lab, &words)));
    };
    let assemble = |types: &'static str| ["assemble", "large", "-o", "large", "-t", types];
    // Several at once, as a build makes them, and then those apart that take the most.
    for types in ["raw,qcow2,vhd,vdi,vmdk,tar,aci,cpio", "tgz", "tar.zst", "tar.xz"] {
        write(&assemble(types), &[]);
    }
    write(&["assemble", "short", "-o", "short", "-t", "docker"], &[]);
    for compression in ["xz", "zstd", "gzip"] {
        let words = ["assemble", "short", "-o", "short", "-t", "squashfs"];
        write(&words, &["--squashfs-compression", compression]);
    }
    let convert = |from: &'static str, to: &'static str| ["convert", from, "-o", "converted", "-t", to];
    write(&convert("large.raw", "vmdk"), &stream);
    write(&convert("large.qcow2", "qcow2"), &clusters);
    write(&convert("converted.vmdk", "qcow2"), &[]);
    write(&convert("converted.qcow2", "raw,vhd,vdi"), &[]);
    // What names take comes on top where a tree is both.
    for (words, kib) in large {
        let kib = if words.starts_with("assemble") {
            kib + names
        } else {
            kib
        };
        all.push((words, kib));
    }
    let told = all.iter().map(|(words, kib)| format!("{kib:>8} KiB  {words}\n"));
    let told = told.collect::<String>();
    assert!(all.iter().all(|(_, kib)| *kib < MOST_KIB), "\n{told}");
}
