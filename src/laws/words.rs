//! Laws of words: command lines, names of hooks, and the lists of the system that the builder reads.

use std::cmp::Ordering;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use image_core::laws::Draw;

use crate::applets::sudo;
use crate::cli;
use crate::pipeline::clamp_days;
use crate::runner::hook_order;
use crate::sandbox::mounts::points_below;

/// Words of some of these pieces each, or bytes.
fn words(bytes: &[u8], pieces: &[&str]) -> Vec<OsString> {
    let mut draw = Draw::new(bytes);
    let mut words = Vec::new();
    while !draw.is_empty() && words.len() < 12 {
        let mut word = Vec::new();
        for _ in 0..=draw.below(3) {
            match draw.below(12) {
                11 => word.push(draw.byte().max(1)),
                _ => word.extend(draw.pick(pieces).bytes()),
            }
        }
        words.push(OsString::from_vec(word));
    }
    words
}

/// Whatever stands on the command line of a build, it is read, or the reason is told: never by the parser that comes
/// after `getopt`'s habits, whose words for options are others.
pub fn command_line(bytes: &[u8]) {
    const PIECES: [&str; 18] = [
        "-",
        "--",
        "=",
        "a",
        "o",
        "x",
        "c",
        "image-",
        "size",
        "mkfs-options",
        "offline",
        "checksum",
        "t",
        "qcow2",
        "1",
        "debian",
        "help",
        "p",
    ];
    let words = words(bytes, &PIECES);
    match cli::read_build(&words) {
        Ok(operands) => {
            let mut rest = words.iter();
            assert!(
                operands.iter().all(|operand| rest.any(|word| word == operand)),
                "{operands:?}"
            );
        }
        Err(error) => {
            let told = error.to_string();
            assert!(
                !told.is_empty() && !told.contains("unexpected argument"),
                "{told}"
            );
        }
    }
}

/// Whatever a hook asks of `sudo`, the command is the end of what it said, or the reason is told.
pub fn sudo_words(bytes: &[u8]) {
    const PIECES: [&str; 14] = [
        "-",
        "--",
        "E",
        "u",
        "root",
        "nobody",
        "A=b",
        "=",
        "preserve-env",
        "user",
        "env",
        "n",
        "H",
        "true",
    ];
    let words = words(bytes, &PIECES);
    match sudo::command_of(words.clone()) {
        Ok(command) => assert!(words.ends_with(&command)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Whatever hooks are called, their order is one.
pub fn hook_names(bytes: &[u8]) {
    const PIECES: [&str; 12] = [
        "0",
        "1",
        "00",
        "9",
        "10",
        "-",
        ".",
        "a",
        "Z",
        "_",
        "99999999999999999999",
        ".5",
    ];
    let names = words(bytes, &PIECES);
    for a in &names {
        for b in &names {
            let order = hook_order(a.as_bytes(), b.as_bytes());
            assert_eq!(order, hook_order(b.as_bytes(), a.as_bytes()).reverse());
            assert_eq!(order == Ordering::Equal, a == b);
            for c in &names {
                let next = hook_order(b.as_bytes(), c.as_bytes());
                let over = hook_order(a.as_bytes(), c.as_bytes());
                let [a, b, c] = [a, b, c].map(|name| name.display());
                assert!(order != next || over == order, "{a} {b} {c}");
            }
        }
    }
}

/// Whatever the kernel lists as mounted, only what lies strictly below a directory is found below it.
pub fn mount_points(bytes: &[u8]) {
    const PIECES: [&str; 12] = [
        "1 2 0:3 / ",
        "/b",
        "/b/mnt",
        "/proc",
        "\\040",
        "\\134",
        "\\",
        " rw ",
        "\n",
        "/..",
        "4",
        "x",
    ];
    let list = words(bytes, &PIECES)
        .into_iter()
        .flat_map(OsString::into_vec)
        .collect::<Vec<_>>();
    let dir = Path::new("/b/mnt");
    for point in points_below(&list, dir) {
        assert!(
            point.starts_with(dir) && point.as_os_str() != dir.as_os_str(),
            "{}",
            point.display()
        );
    }
}

/// Whatever a shadow file says, no day of it is later than the epoch's, and nothing else changes.
pub fn shadow_days(bytes: &[u8]) {
    const PIECES: [&str; 10] = [
        ":",
        "root",
        "*",
        "20000",
        "7",
        "\n",
        "-1",
        "00001",
        "99999999999999999999999",
        " ",
    ];
    const DAY: u64 = 19_000;
    let text = words(bytes, &PIECES)
        .into_iter()
        .flat_map(OsString::into_vec)
        .collect::<Vec<_>>();
    let clamped = clamp_days(&text, DAY);
    assert_eq!(clamp_days(&clamped, DAY), clamped);
    let lines = |text: &[u8]| -> Vec<Vec<Vec<u8>>> {
        let fields = |line: &[u8]| line.split(|byte| *byte == b':').map(<[u8]>::to_vec).collect();
        text.split(|byte| *byte == b'\n').map(fields).collect()
    };
    let (before, after) = (lines(&text), lines(&clamped));
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().flatten().zip(after.iter().flatten()) {
        assert!(before == after || after == b"19000");
    }
}
