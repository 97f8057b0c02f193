//! qemu-img and `OpenStack`'s gatekeeper: what others think of containers of disks.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Panics unless `qemu-img check` finds no errors in an image of a format.
pub fn check(format: &str, image: &Path) {
    let text = qemu_img(&["check", "-f", format], &[image]);
    assert!(text.contains("No errors were found"), "{text}");
}

/// Panics unless the guest of an image of a format equals a raw one, byte for byte and in length.
pub fn compare(raw: &Path, format: &str, image: &Path) {
    let text = qemu_img(&["compare", "-f", "raw", "-F", format], &[raw, image]);
    assert!(!text.contains("size mismatch"), "{text}");
}

/// What `qemu-img info` says of an image, as JSON.
pub fn info(format: &str, image: &Path) -> String {
    qemu_img(&["info", "--output=json", "-f", format], &[image])
}

/// Converts an image, as `qemu-img convert` does with these words.
pub fn convert(words: &[&str], from: &Path, to: &Path) {
    let mut args = vec!["convert"];
    args.extend(words);
    qemu_img(&args, &[from, to]);
}

fn qemu_img(args: &[&str], files: &[&Path]) -> String {
    let args = args.iter().map(OsStr::new);
    let files = files.iter().map(|file| file.as_os_str());
    crate::run("qemu-img", &args.chain(files).collect::<Vec<_>>())
}

/// Whether oslo.utils can be had: the format inspector that Glance, Nova, Cinder and Ironic judge images by.
pub fn require_inspector() -> bool {
    inspector().is_some() || crate::skip("no oslo.utils: neither python3 nor a virtual environment has it")
}

/// The interpreter that has it: the system's, or one of a virtual environment, which is made once beside the build.
fn inspector() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let python = crate::find("python3")?;
        if has_inspector(&python) {
            return Some(python);
        }
        let target = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/oslo.utils-10.2.0");
        let (made, fresh) = (PathBuf::from(target), format!("{target}.{}", std::process::id()));
        let installed = made.join("bin/python3");
        if !has_inspector(&installed) {
            let quiet = |program: &Path, args: &[&str]| {
                let ended = Command::new(program).args(args).output();
                ended.is_ok_and(|ended| ended.status.success())
            };
            let pip = [
                "-m",
                "pip",
                "install",
                "--quiet",
                "oslo.utils==10.2.0",
                "cryptography",
            ];
            let done = quiet(&python, &["-m", "venv", &fresh])
                && quiet(&Path::new(&fresh).join("bin/python3"), &pip)
                && std::fs::rename(&fresh, &made).is_ok();
            if !done {
                // Another test may have been first.
                let _ = std::fs::remove_dir_all(&fresh);
            }
        }
        Some(installed).filter(|python| has_inspector(python))
    };
    FOUND.get_or_init(find).as_deref()
}

fn has_inspector(python: &Path) -> bool {
    let args = ["-c", "import oslo_utils.imageutils.format_inspector"];
    let ended = Command::new(python).args(args).output();
    ended.is_ok_and(|ended| ended.status.success())
}

/// Panics unless the inspector takes an image for one of a format, and calls it safe.
pub fn inspect(format: &str, image: &Path) {
    const PROGRAM: &str = "\
import sys
from oslo_utils.imageutils import format_inspector
found = format_inspector.detect_file_format(sys.argv[2])
assert str(found) == sys.argv[1], str(found)
found.safety_check()
";
    let python = inspector().expect("require_inspector comes first");
    let ended = Command::new(python)
        .args(["-c", PROGRAM, format])
        .arg(image)
        .output()
        .expect("the inspector starts");
    let text = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{}: {text}", image.display());
}
