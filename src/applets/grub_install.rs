//! `grub-install` and `grub-bios-setup`, for a disk that is only planned.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::boot::install::{Platform, Request, install, modules_of};
use crate::boot::words::{Known, Words, flag, short, valued};
use crate::boot::{facts, setup};
use crate::error::{Error, Result};
use crate::ui;

/// What elements, and scripts of packages, give.
const INSTALL: [Known; 29] = [
    short('d', valued("directory")),
    short('v', flag("verbose")),
    valued("target"),
    valued("modules"),
    valued("install-modules"),
    valued("boot-directory"),
    valued("efi-directory"),
    valued("bootloader-id"),
    valued("themes"),
    valued("fonts"),
    valued("locales"),
    flag("removable"),
    flag("force"),
    flag("recheck"),
    flag("no-nvram"),
    flag("auto-nvram"),
    flag("update-nvram"),
    flag("skip-fs-probe"),
    flag("no-rs-codes"),
    flag("no-bootsector"),
    flag("no-floppy"),
    flag("allow-floppy"),
    flag("force-extra-removable"),
    flag("no-extra-removable"),
    flag("uefi-secure-boot"),
    flag("no-uefi-secure-boot"),
    flag("disable-shim-lock"),
    flag("debug"),
    short('V', flag("version")),
];

const SETUP: [Known; 9] = [
    short('d', valued("directory")),
    short('b', valued("boot-image")),
    short('c', valued("core-image")),
    short('m', valued("device-map")),
    short('f', flag("force")),
    short('s', flag("skip-fs-probe")),
    short('v', flag("verbose")),
    flag("allow-floppy"),
    flag("no-rs-codes"),
];

/// Runs `grub-install`.
pub fn run(args: &[OsString]) -> u8 {
    finish(install_as_told(args.get(1..).unwrap_or_default()))
}

/// Runs `grub-bios-setup`.
pub fn run_setup(args: &[OsString]) -> u8 {
    finish(setup_as_told(args.get(1..).unwrap_or_default()))
}

fn finish(done: Result<()>) -> u8 {
    match done {
        Ok(()) => 0,
        Err(error) => {
            ui::error(&error);
            error.kind().status()
        }
    }
}

fn install_as_told(args: &[OsString]) -> Result<()> {
    let words = Words::read("grub-install", args, &INSTALL)?;
    let device = match &words.operands[..] {
        [] => None,
        [device] => Some(device.clone()),
        [_, second, ..] => {
            return Err(Error::usage(format!(
                "grub-install: more than one device: {second}"
            )));
        }
    };
    let platform = Platform::of(words.value("target"))?;
    let request = Request {
        platform,
        device,
        boot: words.value("boot-directory").unwrap_or("/boot").into(),
        efi: words.value("efi-directory").map(PathBuf::from),
        id: match words.value("bootloader-id") {
            Some(id) if id.is_empty() || id.contains('/') => {
                return Err(Error::usage(format!(
                    "grub-install: '{id}' is no name of a directory"
                )));
            }
            id => id.filter(|_| !words.has("removable")).map(str::to_owned),
        },
        signed: !words.has("no-uefi-secure-boot"),
        modules: modules_of(words.values("modules")),
        library: words.value("directory").map(PathBuf::from),
        reed_solomon: !words.has("no-rs-codes"),
        embed: !words.has("no-bootsector"),
    };
    install(&request, &facts("grub-install")?)?;
    ui::note(format_args!("grub-install: installed for {}", platform.name()));
    Ok(())
}

fn setup_as_told(args: &[OsString]) -> Result<()> {
    let words = Words::read("grub-bios-setup", args, &SETUP)?;
    let [device] = &words.operands[..] else {
        return Err(Error::usage("grub-bios-setup: one device is needed"));
    };
    let dir = PathBuf::from(words.value("directory").unwrap_or("/boot/grub/i386-pc"));
    let boot = dir.join(words.value("boot-image").unwrap_or("boot.img"));
    let core = dir.join(words.value("core-image").unwrap_or("core.img"));
    setup(
        device,
        boot,
        core,
        !words.has("no-rs-codes"),
        &facts("grub-bios-setup")?,
    )
}
