//! qemu-img: what QEMU itself thinks of a qcow2.

use std::ffi::OsStr;
use std::ops::Range;
use std::path::Path;

/// Panics unless `qemu-img check` finds neither errors nor leaks.
pub fn check(image: &Path) {
    let text = qemu_img(&["check", "-f", "qcow2"], &[image]);
    assert!(text.contains("No errors were found"), "{text}");
    assert!(!text.contains("leaked"), "{text}");
}

/// Panics unless the guest of an image equals a raw one, byte for byte and in length.
pub fn compare(raw: &Path, image: &Path) {
    // Strict mode would compare what is allocated too, which is none of a raw image's business.
    let text = qemu_img(&["compare", "-f", "raw", "-F", "qcow2"], &[raw, image]);
    assert!(!text.contains("size mismatch"), "{text}");
}

/// What `qemu-img info` says of an image, as JSON.
pub fn info(image: &Path) -> String {
    qemu_img(&["info", "--output=json", "-f", "qcow2"], &[image])
}

/// The ranges of the guest that hold data, as `qemu-img map` tells them, neighbours joined.
pub fn data(image: &Path) -> Vec<Range<u64>> {
    let text = qemu_img(&["map", "--output=json", "-f", "qcow2"], &[image]);
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for line in text.lines().filter(|line| line.contains("\"data\": true")) {
        let (start, len) = (number(line, "start"), number(line, "length"));
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end = start.saturating_add(len),
            _ => ranges.push(start..start.saturating_add(len)),
        }
    }
    ranges
}

/// A number in qemu's JSON, which has one object a line.
fn number(line: &str, key: &str) -> u64 {
    let (_, rest) = line
        .split_once(&format!("\"{key}\": "))
        .unwrap_or_else(|| panic!("no {key} in {line}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits
        .parse()
        .unwrap_or_else(|_| panic!("{key} is no number in {line}"))
}

fn qemu_img(args: &[&str], files: &[&Path]) -> String {
    let args = args.iter().map(OsStr::new);
    let files = files.iter().map(|file| file.as_os_str());
    crate::run("qemu-img", &args.chain(files).collect::<Vec<_>>())
}

/// Makes a compressed image of a raw one, as fast as qemu-img can: with all its threads, in any order.
pub fn convert_compressed(raw: &Path, image: &Path) {
    let args = ["convert", "-c", "-W", "-m", "16", "-f", "raw", "-O", "qcow2"];
    qemu_img(&args, &[raw, image]);
}
