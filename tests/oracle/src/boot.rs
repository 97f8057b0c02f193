//! A machine that boots: QEMU without acceleration, so that it runs where no virtualisation is lent.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Boots an image whose root file system is labelled `cloudimg-rootfs` by a kernel and initrd from outside it, and waits
/// for `wanted` on the serial console. Gives what the console showed until then, or panics with it. The image stays as
/// it is.
pub fn until(
    wanted: &str,
    image: &Path,
    format: &str,
    kernel: &Path,
    initrd: &Path,
    limit: Duration,
) -> String {
    let qemu = crate::find("qemu-system-x86_64").expect("require was asked first");
    let mut machine = Command::new(qemu)
        .args([
            "-M",
            "q35",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "1024",
        ])
        .args([
            "-display",
            "none",
            "-serial",
            "stdio",
            "-monitor",
            "none",
            "-nic",
            "none",
            "-no-reboot",
        ])
        .args(["-append", "console=ttyS0 root=LABEL=cloudimg-rootfs"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initrd)
        .arg("-drive")
        .arg(format!(
            "file={},format={format},if=virtio,snapshot=on",
            image.display()
        ))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("qemu-system-x86_64: {error}"));
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
    while !seen && let Ok(part) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        shown.extend(part);
        seen = String::from_utf8_lossy(&shown).contains(wanted);
    }
    drop(lines);
    let _ = machine.kill();
    let _ = machine.wait();
    let _ = reader.join();
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(seen, "'{wanted}' did not appear within {limit:?}:\n{shown}");
    shown
}
