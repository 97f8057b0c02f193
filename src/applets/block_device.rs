//! `dib-block-device`: what elements ask about the disks of a build, answered from [`Facts`].
//!
//! The original's engine is a command with this name. Its verbs that make, mount or remove devices have nothing to do here, and
//! say so; `getval` answers in every phase, since all of it is decided before the first hook.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use crate::blockdevice::facts::{FILE, Facts};
use crate::blockdevice::layout::FIRST;
use crate::ui;

/// Verbs of the original that have nothing to do here.
const IDLE: [&str; 6] = ["init", "create", "writefstab", "umount", "cleanup", "delete"];

/// What can be asked for.
const SYMBOLS: [&str; 7] = [
    "root-label",
    "root-fstype",
    "boot-label",
    "mount-points",
    "image-path",
    "image-block-device",
    "image-block-devices",
];

/// Runs it.
pub fn run(args: &[OsString]) -> u8 {
    let words: Vec<String> = args
        .iter()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    match answer(&words) {
        Ok(Some(text)) => u8::from(ui::print(format_args!("{text}\n")).is_err()),
        Ok(None) => 0,
        Err(message) => {
            ui::note(format_args!("dib-block-device: {message}"));
            1
        }
    }
}

fn answer(words: &[String]) -> Result<Option<String>, String> {
    let mut words = words.iter().map(String::as_str);
    let mut word = words.next();
    // The original keeps its state in a file of which this names one; there is none here.
    if word == Some("--params") {
        words.next();
        word = words.next();
    }
    let rest: Vec<&str> = words.collect();
    match (word, &rest[..]) {
        (Some("getval"), [symbol]) if SYMBOLS.contains(symbol) => value(&facts()?, symbol).map(Some),
        (Some("getval"), [symbol]) => {
            // Callers of the original know that this is no failure.
            ui::note(format_args!(
                "dib-block-device: getval: unknown symbol '{symbol}'; there are {}",
                SYMBOLS.join(", ")
            ));
            Ok(None)
        }
        (Some("getval"), _) => Err(format!("getval: expected one of {}", SYMBOLS.join(", "))),
        (Some(verb), []) if IDLE.contains(&verb) => {
            ui::note(format_args!(
                "dib-block-device: {verb}: nothing to do, the disks are written when the tree is finished"
            ));
            Ok(None)
        }
        (Some(other), _) => Err(format!(
            "unknown command '{other}'; there are getval, {}",
            IDLE.join(", ")
        )),
        (None, _) => Err(format!("expected a command: getval, {}", IDLE.join(", "))),
    }
}

/// Those of the build that this hook belongs to.
fn facts() -> Result<Facts, String> {
    let lent = PathBuf::from("/tmp/in_target.d").join(FILE);
    let named = std::env::var_os("TMP_HOOKS_PATH").map(|dir| PathBuf::from(dir).join(FILE));
    // In the chroot the host's path leads nowhere.
    let path = named.filter(|path| path.is_file()).unwrap_or(lent);
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("{}: {error}; this is for hooks of a build", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn value(facts: &Facts, symbol: &str) -> Result<String, String> {
    let first = facts.disks.iter().find(|disk| disk.name == FIRST);
    let device = first.map(|disk| disk.device.clone());
    Ok(match symbol {
        "root-label" => facts.root_label.clone(),
        "root-fstype" => facts.root_fstype.clone(),
        "boot-label" => facts.boot_label.clone(),
        "mount-points" => facts.mount_points.clone(),
        "image-block-devices" => facts.devices(),
        _ => device.ok_or_else(|| format!("there is no disk {FIRST}"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_that_make_devices_have_nothing_to_do() {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for verb in IDLE {
            assert_eq!(answer(&words(verb)), Ok(None));
            assert_eq!(answer(&words(&format!("--params f {verb}"))), Ok(None));
        }
        assert_eq!(answer(&words("getval root-uuid")), Ok(None));
        for bad in ["", "getval", "mkfs", "getval root-label more", "create x"] {
            assert!(answer(&words(bad)).is_err(), "{bad}");
        }
    }
}
