//! LVM's own opinion of physical volumes, which it reads through loop devices.
//!
//! LVM is told which devices there are, so that it sees nothing else of the host. No device mapper is needed for reading,
//! nor for writing what describes a group.

use std::ffi::OsStr;
use std::path::Path;

use tempfile::TempDir;

/// Whether LVM can look at images here; if not, says why, or fails where skips are forbidden.
pub fn require() -> bool {
    crate::require_root()
        && crate::require(&["pvck", "vgs", "lvs", "vgck", "pvs", "losetup"])
        && (Path::new("/dev/loop-control").exists() || crate::skip("no /dev/loop-control"))
}

/// Images attached to loop devices, as long as this lives.
#[derive(Debug)]
pub struct Volumes {
    devices: Vec<String>,
    system: TempDir,
}

impl Volumes {
    /// Attaches images for reading.
    pub fn attach(images: &[&Path]) -> Self {
        Self::attach_by(images, &["-r"])
    }

    /// Attaches images so that LVM may write on them.
    pub fn attach_to_write(images: &[&Path]) -> Self {
        Self::attach_by(images, &[])
    }

    fn attach_by(images: &[&Path], options: &[&str]) -> Self {
        let mut volumes = Self {
            devices: Vec::new(),
            system: tempfile::tempdir().expect("a temporary directory"),
        };
        for image in images {
            let device = attach(image, options);
            volumes.devices.push(device);
        }
        volumes
    }

    /// The device of an image, by its number.
    pub fn device(&self, number: usize) -> &str {
        &self.devices[number]
    }

    /// What a command of LVM says, which may see these devices and no others.
    pub fn ask(&self, tool: &str, args: &[&str]) -> String {
        let system = format!("LVM_SYSTEM_DIR={}", self.system.path().display());
        // An accepted device each, and no other. pvck knows no --devices.
        let accepted: Vec<String> = self
            .devices
            .iter()
            .map(|device| format!("\"a|^{device}$|\""))
            .collect();
        let config = format!(
            "devices {{ use_devicesfile=0 hints=\"none\" filter=[{}, \"r|.*|\"] }}",
            accepted.join(", ")
        );
        let fixed = [
            "LVM_SUPPRESS_FD_WARNINGS=1",
            &system,
            tool,
            "--nolocking",
            "--config",
            &config,
        ];
        let words: Vec<&OsStr> = fixed.iter().chain(args).map(OsStr::new).collect();
        crate::run("env", &words)
    }
}

impl Drop for Volumes {
    fn drop(&mut self) {
        for device in &self.devices {
            let _ = crate::output("losetup", &["-d".as_ref(), device.as_ref()]);
        }
    }
}

fn attach(image: &Path, options: &[&str]) -> String {
    // Two tests may be given the same free loop device; the one that comes second asks again.
    for _ in 0..20 {
        let options = options.iter().map(OsStr::new);
        let args: Vec<&OsStr> = options
            .chain(["-f".as_ref(), "--show".as_ref(), image.as_os_str()])
            .collect();
        let output = crate::output("losetup", &args);
        if output.status.success() {
            return String::from_utf8_lossy(&output.stdout).trim().to_owned();
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("no loop device is free for {}", image.display());
}
