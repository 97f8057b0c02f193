//! A boot of an image in a machine of qemu, where there is one: the only thing in this program that asks for it, and it is no
//! part of any build.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::inspect::scratch;
use crate::environment::Environment;
use crate::error::{Context as _, Error, Result};
use crate::inspect::image::Image;
use crate::inspect::layout;
use crate::sandbox::launch::{Ending, Sandbox, run_self_in};

const QEMU: &str = "qemu-system-x86_64";

const MACHINE: &str =
    "-M q35 -cpu max -smp 2 -m 2048 -display none -monitor none -nic none -no-reboot -serial";

/// The second boots where no virtualisation is lent, if slower.
const ACCELERATORS: [&str; 2] = ["kvm", "tcg,thread=multi"];

/// How long a boot may take, in seconds, unless the variable says otherwise.
const SECONDS: u64 = 600;

/// Bytes of a console that are read.
const CONSOLE_MAX: u64 = 64 << 20;

/// How a boot went.
#[derive(Debug)]
pub(super) enum Booted {
    /// As it should.
    Yes,
    /// It cannot be tried here.
    Not(String),
    /// It did not say what it should.
    Otherwise {
        /// Why that is known.
        why: String,
        /// What it said instead.
        console: PathBuf,
    },
}

/// Boots an image until its serial line has said every line of `wanted`.
pub(super) fn boot(image: &Path, wanted: &str, dir: &Path, environment: &Environment) -> Result<Booted> {
    let not = |why: String| Ok(Booted::Not(why));
    let arch = environment.text("ARCH")?.unwrap_or(std::env::consts::ARCH);
    if !["amd64", "x86_64"].contains(&arch) {
        return not(format!("no machine of {arch} is known here"));
    }
    let path = environment.non_empty("PATH").unwrap_or_default();
    if !std::env::split_paths(path).any(|dir| dir.join(QEMU).is_file()) {
        return not(format!("no {QEMU}"));
    }
    let Some(format @ ("raw" | "qcow2")) = image.extension().and_then(OsStr::to_str) else {
        return not("the first type of the image is neither raw nor qcow2".to_owned());
    };
    let mut args: Vec<OsString> = MACHINE.split_whitespace().map(OsString::from).collect();
    let console = dir.join("console");
    File::create(&console).host(|| format!("cannot write {}", console.display()))?;
    args.push(prefixed("file:", &console));
    let choice = layout::choice(environment, std::env::consts::ARCH)?;
    let opened = Image::open(image, &choice, &scratch(environment));
    let opened = opened
        .map_err(|error| error.of_named(image))
        .image(|| format!("cannot read {}", image.display()))?;
    if opened.table.is_none() {
        args.extend(kernel(image, dir, environment)?);
    }
    let mut drive = prefixed("file=", image);
    drive.push(format!(",format={format},if=virtio,snapshot=on"));
    args.extend(["-drive".into(), drive]);
    let wanted: Vec<&str> = wanted
        .lines()
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .collect();
    let seconds = environment.text("DIB_TEST_BOOT_SECONDS")?;
    let seconds = seconds.map_or(Ok(SECONDS), |text| {
        let wrong = |_| Error::usage(format!("DIB_TEST_BOOT_SECONDS={text} is no number"));
        text.parse().map_err(wrong)
    })?;
    let mut missing = String::new();
    let mut done = || {
        let text = said(&console)?;
        let lacks = wanted.iter().find(|words| !text.contains(**words));
        missing = lacks.map(|words| (*words).to_owned()).unwrap_or_default();
        Ok(lacks.is_none())
    };
    let limit = Duration::from_secs(seconds);
    let (booted, took) =
        run(&args, (dir, &console), environment, limit, &mut done).host(|| format!("cannot run {QEMU}"))?;
    if booted {
        return Ok(Booted::Yes);
    }
    if took < limit {
        let why = format!("{QEMU} ended before its serial line said '{missing}'");
        // What went wrong with the machine itself it says on its own output, and else on the line.
        let own = dir.join("qemu.log");
        let spoke = fs::metadata(&own).is_ok_and(|meta| meta.len() > 0);
        let console = if spoke { own } else { console };
        return Ok(Booted::Otherwise { why, console });
    }
    let why = format!("its serial line did not say '{missing}' within {seconds} s");
    Ok(Booted::Otherwise { why, console })
}

/// Runs the machine until it is done, and tells whether it is, and how long it ran.
fn run(
    args: &[OsString],
    (dir, console): (&Path, &Path),
    environment: &Environment,
    limit: Duration,
    done: &mut dyn FnMut() -> std::io::Result<bool>,
) -> std::io::Result<(bool, Duration)> {
    let mut ended = (false, Duration::ZERO);
    for accelerator in ACCELERATORS {
        let accelerated = [&["-accel".into(), accelerator.into()], args].concat();
        let log = File::create(dir.join("qemu.log"))?;
        let since = Instant::now();
        let place = (dir, &log);
        let program = OsStr::new(QEMU);
        let booted =
            Sandbox::host().run_until(place, program, &accelerated, environment, limit, &mut *done)?;
        ended = (booted, since.elapsed());
        // KVM that one machine lends to another may end before the first word, and not for want of it.
        if booted || ended.1 >= limit || !said(console)?.is_empty() {
            break;
        }
    }
    Ok(ended)
}

fn prefixed(prefix: &str, path: &Path) -> OsString {
    let mut word = OsString::from(prefix);
    // A comma would end the value.
    word.push(path.to_string_lossy().replace(',', ",,"));
    word
}

fn said(console: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(console)?
        .take(CONSOLE_MAX)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The words that start an image's own kernel, where nothing on the disk does.
fn kernel(image: &Path, dir: &Path, environment: &Environment) -> Result<Vec<OsString>> {
    let tried = || format!("cannot take the kernel out of {}", image.display());
    let log = dir.join("kernel.log");
    let output = File::create(&log).host(tried)?;
    let args = [
        OsStr::new("-i"),
        image.as_os_str(),
        OsStr::new("-d"),
        dir.as_os_str(),
        OsStr::new("-o"),
        OsStr::new("boot"),
    ];
    let args = args.map(OsStr::to_owned);
    let (ending, _) = run_self_in(dir, &output, "disk-image-get-kernel", &args, environment).host(tried)?;
    if ending != Ending::Exited(0) {
        let said = fs::read_to_string(&log).unwrap_or_default();
        return Err(Error::new(
            crate::error::Kind::Image,
            format!("{}: {}", tried(), said.trim()),
        ));
    }
    Ok(vec![
        "-kernel".into(),
        dir.join("boot-vmlinuz").into(),
        "-initrd".into(),
        dir.join("boot-initrd").into(),
        "-append".into(),
        "root=LABEL=cloudimg-rootfs console=ttyS0".into(),
    ])
}
