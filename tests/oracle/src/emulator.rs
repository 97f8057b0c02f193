//! QEMU's emulators of other architectures' programs, registered with the kernel for as long as a test wants them.
//!
//! Spec: <https://docs.kernel.org/admin-guide/binfmt-misc.html>.

use std::fs;
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

const HANDLERS: &str = "/proc/sys/fs/binfmt_misc";

/// Debian's architectures, what QEMU calls each, and its number in ELF; all of them little-endian.
const EMULATORS: [(&str, &str, u8); 2] = [("arm64", "aarch64", 183), ("armhf", "arm", 40)];

/// Programs of an architecture run as long as this lives.
#[derive(Debug)]
pub struct Emulator {
    /// The handler that was registered for this, if none was there.
    added: Option<String>,
    has_mounted: bool,
}

impl Emulator {
    /// Registers one, unless the machine has: `None`, said or refused as a missing judge is, where it cannot be.
    pub fn of(architecture: &str) -> Option<Self> {
        let known = EMULATORS.iter().find(|known| known.0 == architecture);
        let (_, name, machine) = known.expect("a test names an architecture of the list");
        if is_registered(architecture) {
            return Some(Self {
                added: None,
                has_mounted: false,
            });
        }
        let program = format!("qemu-{name}-static");
        if !crate::require_root() || !crate::require(&[&program]) {
            return None;
        }
        let program = crate::find(&program).expect("required above");
        let has_mounted = !Path::new(HANDLERS).join("register").exists();
        if has_mounted {
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            mount("binfmt_misc", HANDLERS, "binfmt_misc", flags, None).expect("binfmt_misc can be mounted");
        }
        let added = format!("dib-test-{architecture}");
        // F: opened now, since the trees that it is for hold none.
        let line = format!(
            ":{added}:M:0:{}:{}:{}:F",
            head(*machine),
            mask(),
            program.display()
        );
        let emulator = Self {
            added: Some(added),
            has_mounted,
        };
        fs::write(Path::new(HANDLERS).join("register"), line).expect("an emulator can be registered");
        Some(emulator)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        if let Some(name) = &self.added {
            // One that was not registered is not there.
            let _ = fs::write(Path::new(HANDLERS).join(name), "-1");
        }
        if self.has_mounted {
            // Still in use by others: then it stays, which harms nobody.
            let _ = unmount(HANDLERS, UnmountFlags::empty());
        }
    }
}

/// Whether an emulator is registered that was opened then, by whatever name QEMU's packages give it.
pub fn is_registered(architecture: &str) -> bool {
    let known = EMULATORS.iter().find(|known| known.0 == architecture);
    let name = known.map_or(architecture, |known| known.1);
    let entry = Path::new(HANDLERS).join(format!("qemu-{name}"));
    fs::read_to_string(entry).is_ok_and(|text| {
        let is_fixed = |line: &str| line.starts_with("flags: ") && line.contains('F');
        text.starts_with("enabled") && text.lines().any(is_fixed)
    })
}

/// How programs of a machine begin: ELF, its class and byte order, any system, an executable.
fn head(machine: u8) -> String {
    let class = if machine == 183 { 2 } else { 1 };
    let ident = [0x7f, b'E', b'L', b'F', class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    escaped(&[&ident[..], &[2, 0, machine, 0]].concat())
}

/// Which bits of it count: not the system, nor whether the program may lie anywhere.
fn mask() -> String {
    let mut mask = [0xff; 20];
    mask[7] = 0;
    mask[16] = 0xfe;
    escaped(&mask)
}

fn escaped(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    digits.concat()
}
