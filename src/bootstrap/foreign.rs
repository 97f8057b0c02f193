//! Whether programs of an architecture run on this machine: known before the first byte is fetched.
//!
//! Spec: <https://docs.kernel.org/admin-guide/binfmt-misc.html>. A handler must have been opened when it was registered
//! (flag `F`), since the tree holds no emulator.

use std::fs;
use std::path::Path;

use crate::error::{Error, Kind, Result};

/// Architectures of Debian: the class, byte order and machine of their programs.
const ARCHITECTURES: [(&str, u8, u8, u16); 11] = [
    ("amd64", 2, 1, 62),
    ("i386", 1, 1, 3),
    ("arm64", 2, 1, 183),
    ("armhf", 1, 1, 40),
    ("armel", 1, 1, 40),
    ("ppc64el", 2, 1, 21),
    ("riscv64", 2, 1, 243),
    ("s390x", 2, 2, 22),
    ("mips64el", 2, 1, 8),
    ("mipsel", 1, 1, 8),
    ("loong64", 2, 1, 258),
];

/// The architecture of this machine as Debian calls it.
pub fn native() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "i386",
        "aarch64" => "arm64",
        "arm" => "armhf",
        "powerpc64" => "ppc64el",
        other => other,
    }
}

/// Refuses an architecture whose programs do not run here.
pub fn must_run(architecture: &str) -> Result<()> {
    must_run_by(architecture, Path::new("/proc/sys/fs/binfmt_misc"))
}

fn must_run_by(architecture: &str, handlers: &Path) -> Result<()> {
    let by_itself = architecture == native() || (native() == "amd64" && architecture == "i386");
    if by_itself {
        return Ok(());
    }
    let known = ARCHITECTURES.iter().find(|known| known.0 == architecture);
    let Some((_, class, order, machine)) = known else {
        let names: Vec<_> = ARCHITECTURES.iter().map(|known| known.0).collect();
        let error = Error::usage(format!("there is no architecture '{architecture}'"));
        return Err(error.hint(format!("ARCH is one of {}", names.join(", "))));
    };
    let machine = if *order == 1 {
        machine.to_le_bytes()
    } else {
        machine.to_be_bytes()
    };
    let kind = if *order == 1 { [2, 0] } else { [0, 2] };
    let ident = [
        0x7f, b'E', b'L', b'F', *class, *order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let head = [&ident[..], &kind, &machine].concat();
    let entries = fs::read_dir(handlers).into_iter().flatten().flatten();
    let texts: Vec<String> = entries
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .collect();
    let fitting: Vec<&String> = texts.iter().filter(|text| handles(text, &head)).collect();
    if fitting.iter().any(|text| is_fixed(text)) {
        return Ok(());
    }
    let told = if fitting.is_empty() {
        format!(
            "programs for {architecture} do not run on this machine ({})",
            native()
        )
    } else {
        format!(
            "the emulator for {architecture} cannot be used in a tree: it was registered without the flag F"
        )
    };
    Err(Error::new(Kind::Host, told).hint(format!(
        "register an emulator with binfmt_misc, as Debian's package qemu-user-static does, or build for {}",
        native()
    )))
}

/// Whether a handler, as `binfmt_misc` shows it, is for programs that begin so.
fn handles(text: &str, head: &[u8]) -> bool {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let (Some(magic), offset) = (field("magic ").and_then(bytes), field("offset ").unwrap_or("0")) else {
        return false;
    };
    let mask = field("mask ")
        .and_then(bytes)
        .unwrap_or_else(|| vec![0xff; magic.len()]);
    let same = |at: usize| {
        let mask = mask.get(at).copied().unwrap_or(0xff);
        head.get(at).is_some_and(|byte| byte & mask == magic[at] & mask)
    };
    text.starts_with("enabled")
        && offset == "0"
        && magic.starts_with(b"\x7fELF")
        && (0..magic.len()).all(same)
}

fn is_fixed(text: &str) -> bool {
    text.lines().any(|line| {
        line.strip_prefix("flags: ")
            .is_some_and(|flags| flags.contains('F'))
    })
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.trim();
    let pairs = (0..digits.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emulator_is_known_by_what_it_is_registered_for() {
        let dir = tempfile::tempdir().unwrap();
        let foreign = if native() == "arm64" { "amd64" } else { "arm64" };
        let machine = if foreign == "arm64" { "b700" } else { "3e00" };
        let entry = |flags: &str| {
            format!(
                "enabled\ninterpreter /usr/bin/qemu\nflags: {flags}\noffset 0\n\
                 magic 7f454c460201010000000000000000000200{machine}\nmask ffffffffffffff00fffffffffffffffffeffffff\n"
            )
        };
        let told = || must_run_by(foreign, dir.path()).map_err(|error| error.message());
        assert!(told().unwrap_err().contains("do not run on this machine"));
        fs::write(dir.path().join("qemu"), entry("OC")).unwrap();
        assert!(told().unwrap_err().contains("without the flag F"));
        fs::write(
            dir.path().join("qemu"),
            entry("OCF").replace("enabled", "disabled"),
        )
        .unwrap();
        assert!(told().is_err());
        fs::write(dir.path().join("qemu"), entry("OCF")).unwrap();
        assert_eq!(told(), Ok(()));
        assert!(must_run_by("riscv64", dir.path()).is_err() && must_run_by(native(), dir.path()).is_ok());
        let error = must_run_by("vax", dir.path()).unwrap_err().to_string();
        assert!(error.contains("'vax'") && error.contains("amd64"), "{error}");
    }
}
