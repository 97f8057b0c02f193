//! A machine that boots: QEMU without acceleration, so that it runs where no virtualisation is lent.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// What a machine is made of. Its root file system is labelled `cloudimg-rootfs`; its kernel and initrd come from
/// outside the image, which stays as it is.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// The image with the root file system.
    pub image: &'a Path,
    /// Its format, in qemu's words.
    pub format: &'a str,
    /// The kernel.
    pub kernel: &'a Path,
    /// The initial ramdisk.
    pub initrd: &'a Path,
    /// Raw disks beside the image: `/dev/vdb` and so on. The machine may write to them.
    pub disks: &'a [&'a Path],
    /// More words for the kernel.
    pub append: &'a str,
}

/// Every machine, which writes to the serial line.
fn machine() -> Command {
    const MACHINE: &str = "-M q35,smm=on -accel tcg,thread=multi -cpu max -smp 2 -m 2048 -display none -serial stdio \
                           -monitor none -nic none -no-reboot";
    let mut command = Command::new(crate::find("qemu-system-x86_64").expect("require was asked first"));
    command.args(MACHINE.split_whitespace());
    command
}

/// What starts a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// The BIOS that comes with qemu.
    Bios,
    /// OVMF, which boots any loader.
    Uefi,
    /// OVMF, which boots what Microsoft's keys vouch for.
    SecureBoot,
}

impl Firmware {
    /// The names that OVMF's files end in, for code and for variables.
    fn files(self) -> Option<[PathBuf; 2]> {
        let end = match self {
            Firmware::Bios => return None,
            Firmware::Uefi => "_4M.fd",
            Firmware::SecureBoot => "_4M.ms.fd",
        };
        Some(["CODE", "VARS"].map(|part| format!("/usr/share/OVMF/OVMF_{part}{end}").into()))
    }

    /// Has a machine start by it, which keeps its variables in a file.
    fn start(self, machine: &mut Command, variables: &Path) {
        let Some([code, fresh]) = self.files() else {
            return;
        };
        std::fs::copy(fresh, variables).expect("require was asked first");
        if self == Firmware::SecureBoot {
            machine.args(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
        }
        for (file, access) in [(code.as_path(), "on"), (variables, "off")] {
            let drive = format!("if=pflash,format=raw,readonly={access},file={}", file.display());
            machine.arg("-drive").arg(drive);
        }
    }

    /// Whether this machine has it, or may do without.
    pub fn require(self) -> bool {
        let there = self
            .files()
            .is_none_or(|files| files.iter().all(|file| file.is_file()));
        there || crate::skip("no OVMF in /usr/share/OVMF")
    }
}

/// A disk that boots by itself. It stays as it is.
#[derive(Clone, Copy, Debug)]
pub struct Disk<'a> {
    /// The image.
    pub image: &'a Path,
    /// Its format, in qemu's words.
    pub format: &'a str,
    /// Bytes of a sector.
    pub sector: u32,
    /// What boots it.
    pub firmware: Firmware,
}

/// Boots a disk and waits for all of `wanted` on the serial console, as [`until`] does.
pub fn disk_until(wanted: &[&str], disk: &Disk<'_>, limit: Duration) -> String {
    let variables = tempfile::NamedTempFile::new().expect("a temporary file");
    watch(with_disk(disk, variables.path()), wanted, limit)
}

/// Boots a disk with a network of the user's own, and visits the machine again and again until it gives what is wanted: at
/// the port of 127.0.0.1 that leads to its port 22. Panics with what the console showed if that takes longer than `limit`.
pub fn visited<T>(disk: &Disk<'_>, limit: Duration, mut visit: impl FnMut(u16) -> Option<T>) -> T {
    const PAUSE: Duration = Duration::from_secs(3);
    let variables = tempfile::NamedTempFile::new().expect("a temporary file");
    let console = tempfile::NamedTempFile::new().expect("a temporary file");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("a port").port();
    drop(listener);
    let mut command = with_disk(disk, variables.path());
    command
        .args([
            "-netdev",
            &format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-:22"),
        ])
        .args(["-device", "virtio-net-pci,netdev=net"])
        .stdin(Stdio::null())
        .stdout(console.reopen().expect("a temporary file"));
    let mut machine = command
        .spawn()
        .unwrap_or_else(|error| panic!("qemu-system-x86_64: {error}"));
    let deadline = Instant::now() + limit;
    let mut found = None;
    while found.is_none() && Instant::now() < deadline {
        thread::sleep(PAUSE);
        found = visit(port);
    }
    let _ = machine.kill();
    let _ = machine.wait();
    let shown = std::fs::read(console.path()).unwrap_or_default();
    found.unwrap_or_else(|| {
        let shown = String::from_utf8_lossy(&shown);
        panic!("the machine did not give what is wanted within {limit:?}:\n{shown}")
    })
}

fn with_disk(disk: &Disk<'_>, variables: &Path) -> Command {
    let mut command = machine();
    disk.firmware.start(&mut command, variables);
    let drive = format!(
        "file={},format={},if=none,id=disk,snapshot=on",
        disk.image.display(),
        disk.format
    );
    let sector = disk.sector;
    let device =
        format!("virtio-blk-pci,drive=disk,logical_block_size={sector},physical_block_size={sector}");
    command.args(["-drive", &drive, "-device", &device]);
    command
}

/// A machine that has nothing but a kernel, a ramdisk and perhaps disks and a network.
#[derive(Clone, Copy, Debug)]
pub struct Ramdisk<'a> {
    /// The kernel.
    pub kernel: &'a Path,
    /// The ramdisk.
    pub initrd: &'a Path,
    /// Raw disks: `/dev/vda` and so on. The machine may write to them.
    pub disks: &'a [&'a Path],
    /// Words for the kernel besides the serial console.
    pub append: &'a str,
    /// Whether it has a network, on which this machine is 10.0.2.2.
    pub network: bool,
    /// Ports of this machine that lead to ports of the other.
    pub ports: &'a [(u16, u16)],
    /// What is typed on the serial console, and the words that each waits for, one after another.
    pub typed: &'a [(&'a str, &'a str)],
}

/// Boots a ramdisk and waits for all of `wanted` on the serial console, as [`until`] does.
pub fn ramdisk_until(wanted: &[&str], ramdisk: &Ramdisk<'_>, limit: Duration) -> String {
    let mut command = machine();
    command
        .args([
            "-append",
            &format!("console=ttyS0 no_timer_check panic=-1 {}", ramdisk.append),
        ])
        .arg("-kernel")
        .arg(ramdisk.kernel)
        .arg("-initrd")
        .arg(ramdisk.initrd);
    for disk in ramdisk.disks {
        command
            .arg("-drive")
            .arg(format!("file={},format=raw,if=virtio", disk.display()));
    }
    if ramdisk.network {
        let card = "user,model=virtio-net-pci,mac=52:54:00:12:34:56".to_owned();
        let lead = |(here, there): &(u16, u16)| format!("hostfwd=tcp:127.0.0.1:{here}-:{there}");
        let ports = ramdisk.ports.iter().map(lead);
        let network = std::iter::once(card).chain(ports).collect::<Vec<_>>().join(",");
        command.args(["-nic", &network]);
    }
    converse(command, ramdisk.typed, wanted, limit)
}

/// The firmware of emulated 64-bit ARM machines.
const ARM_FIRMWARE: &str = "/usr/share/AAVMF/AAVMF_CODE.fd";

/// Whether this machine can emulate one of 64-bit ARM.
pub fn require_arm() -> bool {
    crate::require(&["qemu-system-aarch64"])
        && (Path::new(ARM_FIRMWARE).is_file() || crate::skip("no AAVMF in /usr/share/AAVMF"))
}

/// Boots a raw disk on a machine of 64-bit ARM, whose firmware keeps no variables, and waits as [`until`] does.
pub fn arm_disk_until(wanted: &[&str], image: &Path, limit: Duration) -> String {
    const MACHINE: &str = "-M virt -accel tcg,thread=multi -cpu cortex-a57 -smp 2 -m 1024 -display none -serial stdio \
                           -monitor none -nic none -no-reboot";
    let mut command = Command::new(crate::find("qemu-system-aarch64").expect("require was asked first"));
    command
        .args(MACHINE.split_whitespace())
        .args([
            "-bios",
            ARM_FIRMWARE,
            "-device",
            "virtio-blk-pci,drive=disk",
            "-drive",
        ])
        .arg(format!(
            "file={},format=raw,if=none,id=disk,snapshot=on",
            image.display()
        ));
    watch(command, wanted, limit)
}

/// Boots from a disc and waits for all of `wanted` on the serial console, as [`until`] does.
pub fn disc_until(wanted: &[&str], image: &Path, firmware: Firmware, limit: Duration) -> String {
    let mut command = machine();
    let variables = tempfile::NamedTempFile::new().expect("a temporary file");
    firmware.start(&mut command, variables.path());
    command.arg("-cdrom").arg(image);
    watch(command, wanted, limit)
}

impl Machine<'_> {
    fn command(&self) -> Command {
        let mut command = machine();
        command
            .args([
                "-append",
                &format!("console=ttyS0 root=LABEL=cloudimg-rootfs {}", self.append),
            ])
            .arg("-kernel")
            .arg(self.kernel)
            .arg("-initrd")
            .arg(self.initrd)
            .arg("-drive")
            .arg(format!(
                "file={},format={},if=virtio,snapshot=on",
                self.image.display(),
                self.format
            ));
        for disk in self.disks {
            command.arg("-drive").arg(format!(
                "file={},format=raw,if=virtio,discard=unmap",
                disk.display()
            ));
        }
        command
    }
}

/// Boots a machine and waits for all of `wanted` on its serial console, in whatever order. Gives what the console showed
/// until then, or panics with it.
pub fn until(wanted: &[&str], machine: &Machine<'_>, limit: Duration) -> String {
    watch(machine.command(), wanted, limit)
}

fn watch(machine: Command, wanted: &[&str], limit: Duration) -> String {
    converse(machine, &[], wanted, limit)
}

/// Watches a machine, and types when what was waited for appears behind all that was waited for before.
fn converse(mut machine: Command, mut typed: &[(&str, &str)], wanted: &[&str], limit: Duration) -> String {
    let mut machine = machine
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("qemu-system-x86_64: {error}"));
    let mut keyboard = machine.stdin.take().expect("piped above");
    let mut console = machine.stdout.take().expect("piped above");
    let (sender, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut buf = [0; 4096];
        while let Ok(len @ 1..) = console.read(&mut buf) {
            if sender.send(buf[..len].to_vec()).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + limit;
    let mut shown = Vec::new();
    let mut seen = false;
    let mut from = 0;
    while !seen && let Ok(part) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        shown.extend(part);
        let text = String::from_utf8_lossy(&shown);
        seen = wanted.iter().all(|words| text.contains(words));
        if let [(words, keys), rest @ ..] = typed
            && let Some(at) = text.get(from..).and_then(|text| text.find(words))
        {
            keyboard.write_all(keys.as_bytes()).expect("the machine listens");
            from += at + words.len();
            typed = rest;
        }
    }
    drop(lines);
    let _ = machine.kill();
    let _ = machine.wait();
    let _ = reader.join();
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(seen, "{wanted:?} did not appear within {limit:?}:\n{shown}");
    shown
}
