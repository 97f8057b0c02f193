//! From a populated tree to a finished, partitioned and compressed qcow2, beside the way of the original program: a raw
//! file on a loop device, `sgdisk`, `mkfs`, `cp -a` into the mounted file system, `fstrim`, `qemu-img convert -c`.
//!
//! `cargo bench -p diskimage-builder --bench disk` prints the table; run as root. It works in `DIB_BENCH_DIR`
//! (`/dev/shm/dib-bench`), which should be a tmpfs with 6 GiB to spare, and keeps its tree, a Debian root, there for the
//! next run. Times are medians of interleaved rounds. A run that misses the bar, 4 times faster, ends with failure.
//!
//! Both make the same disk: a GPT of a BIOS boot partition and an ext4 root, 3 GiB. The loop device of the peer begins
//! where the root partition does, since not every kernel has devices for the partitions of loop devices.
#![allow(clippy::unwrap_used, reason = "a benchmark's failure is its panic")]
#![allow(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use oracle::contender::Bars;
use oracle::{mounted, run, trees};

const ROUNDS: usize = 3;
const GIB: u64 = 3;
/// Where the root partition begins, behind 1 MiB of table and 8 MiB of BIOS boot partition.
const ROOT: u64 = 9 << 20;
const LAYOUT: &str = "\
- local_loop:
    name: image0
- partitioning:
    base: image0
    label: gpt
    partitions:
      - name: BSP
        type: EF02
        size: 8MiB
      - name: root
        type: 8300
        size: 100%
        mkfs:
          type: ext4
          mount:
            mount_point: /
            fstab:
              options: defaults
";

fn main() -> ExitCode {
    let mut bars = Bars::default();
    let dir = std::env::var_os("DIB_BENCH_DIR").map_or_else(|| "/dev/shm/dib-bench".into(), PathBuf::from);
    fs::create_dir_all(&dir).unwrap();
    let tools = ["sgdisk", "losetup", "mkfs.ext4", "cp", "fstrim", "qemu-img"];
    if !mounted::require() || !oracle::require(&tools) {
        return bars.verdict();
    }
    let Some(tree) = trees::rootfs(&dir) else {
        return bars.verdict();
    };
    let work = tempfile::tempdir_in(&dir).unwrap();
    let layout = work.path().join("layout.yaml");
    fs::write(&layout, LAYOUT).unwrap();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(by_loop_device(&tree, work.path()));
        ours.push(by_assemble(&tree, &layout, work.path()));
    }
    let ((ours, our_bytes), (theirs, their_bytes)) = (median(ours), median(theirs));
    println!("{:<44} {:>8} {:>12}", "", "wall s", "bytes");
    println!(
        "{:<44} {:>8.2} {their_bytes:>12}",
        "loop device, mkfs, cp, fstrim, convert -c",
        theirs.as_secs_f64()
    );
    println!(
        "{:<44} {:>8.2} {our_bytes:>12}",
        "dib assemble",
        ours.as_secs_f64()
    );
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    let cell = bars.at_least("time of the original way to ours", ratio, 4.0);
    println!("{ratio:.2}x as fast: {cell}");
    bars.verdict()
}

fn median(mut taken: Vec<(Duration, u64)>) -> (Duration, u64) {
    taken.sort();
    taken[taken.len() / 2]
}

fn by_assemble(tree: &Path, layout: &Path, dir: &Path) -> (Duration, u64) {
    let (name, image) = (dir.join("ours"), dir.join("ours.qcow2"));
    let _ = fs::remove_file(&image);
    let start = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_dib"))
        .arg("assemble")
        .arg(tree)
        .arg("-o")
        .arg(&name)
        .args(["-t", "qcow2", "--image-size", &GIB.to_string()])
        .arg("--block-device")
        .arg(layout)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let time = start.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    taken(time, &image)
}

fn by_loop_device(tree: &Path, dir: &Path) -> (Duration, u64) {
    let (raw, image) = (dir.join("theirs.raw"), dir.join("theirs.qcow2"));
    let start = Instant::now();
    fs::File::create(&raw).unwrap().set_len(GIB << 30).unwrap();
    let script = r#"
        sgdisk "$1" -n 1:0:+8M -t 1:EF02 -c 1:BSP -n 2:0:+$(($2 - 10))M -t 2:8300 -c 2:root >/dev/null
        device=$(losetup --show -f --offset "$3" --sizelimit $((($2 - 10) << 20)) "$1")
        trap 'umount "$4" 2>/dev/null || :; losetup -d "$device"' EXIT
        mkfs.ext4 -q -i 4096 -J size=64 -L cloudimg-rootfs "$device"
        mkdir -p "$4"
        mount "$device" "$4"
        cp -a "$5"/. "$4"
        sync
        fstrim "$4"
        umount "$4"
    "#;
    let (mib, root) = ((GIB << 10).to_string(), ROOT.to_string());
    let mount = dir.join("mount");
    let args: [&OsStr; 8] = [
        "-euc".as_ref(),
        script.as_ref(),
        "sh".as_ref(),
        raw.as_ref(),
        mib.as_ref(),
        root.as_ref(),
        mount.as_ref(),
        tree.as_ref(),
    ];
    run("bash", &args);
    let convert: [&OsStr; 8] = [
        "convert".as_ref(),
        "-c".as_ref(),
        "-f".as_ref(),
        "raw".as_ref(),
        "-O".as_ref(),
        "qcow2".as_ref(),
        raw.as_ref(),
        image.as_ref(),
    ];
    run("qemu-img", &convert);
    let taken = taken(start.elapsed(), &image);
    fs::remove_file(&raw).unwrap();
    taken
}

fn taken(time: Duration, image: &Path) -> (Duration, u64) {
    (time, image.metadata().unwrap().len())
}
