//! `grub-probe`, `grub-mkrelpath`, `grub-mkconfig` and `update-grub`, for disks that are only planned.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use crate::boot::answers::{Asked, plain, probe};
use crate::boot::facts;
use crate::boot::substitute::mkconfig;
use crate::boot::words::{Known, Words, flag, short, valued};
use crate::error::{Error, Kind, Result};
use crate::ui;

const PROBE: [Known; 5] = [
    short('d', flag("device")),
    short('t', valued("target")),
    short('m', valued("device-map")),
    short('v', flag("verbose")),
    short('0', flag("zero")),
];

/// Runs `grub-probe`.
pub fn run(args: &[OsString]) -> u8 {
    print(probed(args.get(1..).unwrap_or_default()))
}

/// Runs `grub-mkrelpath`.
pub fn run_relative(args: &[OsString]) -> u8 {
    print(relative(args.get(1..).unwrap_or_default()))
}

/// Runs `grub-mkconfig`.
pub fn run_config(args: &[OsString]) -> u8 {
    configure(args.get(1..).unwrap_or_default())
}

/// Runs `update-grub`, which writes the configuration where GRUB looks for it.
pub fn run_update(args: &[OsString]) -> u8 {
    let dir = if Path::new("/boot/grub2").is_dir() {
        "grub2"
    } else {
        "grub"
    };
    let mut words = vec!["-o".into(), format!("/boot/{dir}/grub.cfg").into()];
    words.extend_from_slice(args.get(1..).unwrap_or_default());
    configure(&words)
}

fn configure(args: &[OsString]) -> u8 {
    let done = facts("grub-mkconfig").and_then(|facts| mkconfig(args, &facts));
    done.unwrap_or_else(|error| {
        ui::error(&error);
        error.kind().status()
    })
}

fn print(answer: Result<String>) -> u8 {
    match answer.and_then(ui::print) {
        Ok(()) => 0,
        Err(error) => {
            ui::error(&error);
            error.kind().status()
        }
    }
}

fn probed(args: &[OsString]) -> Result<String> {
    let words = Words::read("grub-probe", args, &PROBE)?;
    if words.operands.is_empty() {
        return Err(Error::usage("grub-probe: no path or device is given"));
    }
    let facts = facts("grub-probe")?;
    let target = words.value("target").unwrap_or("fs");
    let end = if words.has("zero") { '\0' } else { '\n' };
    let mut answers = String::new();
    for operand in &words.operands {
        let path;
        let asked = if words.has("device") {
            Asked::Device(operand)
        } else {
            path = real(Path::new(operand))?;
            Asked::Path(&path)
        };
        let answer = probe(&facts, target, asked)
            .map_err(|said| Error::new(Kind::Elements, format!("grub-probe: error: {said}")))?;
        write!(answers, "{answer}{end}").expect("a String takes everything");
    }
    Ok(answers)
}

/// The path that links lead to, which is there.
fn real(path: &Path) -> Result<std::path::PathBuf> {
    let real = std::fs::canonicalize(path);
    real.map_err(|error| {
        let message = format!(
            "grub-probe: error: failed to get canonical path of {}",
            path.display()
        );
        Error::new(Kind::Elements, message).because(error)
    })
}

fn relative(args: &[OsString]) -> Result<String> {
    let words = Words::read("grub-mkrelpath", args, &[short('r', flag("relative"))])?;
    let [path] = &words.operands[..] else {
        return Err(Error::usage("grub-mkrelpath: one path is needed"));
    };
    let facts = facts("grub-mkrelpath")?;
    let real = plain(&real(Path::new(path))?);
    let (_, inside) = facts.holding(&real).ok_or_else(|| {
        Error::new(
            Kind::Elements,
            format!("grub-mkrelpath: error: no file system of the layout holds {path}"),
        )
    })?;
    // The root of a file system has no name in it.
    Ok(format!(
        "{}\n",
        if inside == Path::new("/") {
            String::new()
        } else {
            inside.display().to_string()
        }
    ))
}
