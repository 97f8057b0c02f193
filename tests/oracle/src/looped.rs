//! A file as a block device, for judges that take nothing else.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// A loop device, detached when it is dropped.
#[derive(Debug)]
pub struct Device(PathBuf);

impl Device {
    /// Its node.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        crate::output("losetup", &["--detach".as_ref(), self.0.as_os_str()]);
    }
}

/// Attaches a file to a free loop device whose sectors have so many bytes.
pub fn attach(file: &Path, sector: u32) -> Device {
    let sector = sector.to_string();
    let args = ["--find", "--show", "--sector-size", &sector].map(std::ffi::OsStr::new);
    let args: Vec<_> = args.into_iter().chain([file.as_os_str()]).collect();
    // Two tests may find the same free device: the one that comes second asks again.
    for _ in 0..20 {
        let output = crate::output("losetup", &args);
        if output.status.success() {
            return Device(String::from_utf8_lossy(&output.stdout).trim().into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("no loop device is free for {}", file.display());
}
