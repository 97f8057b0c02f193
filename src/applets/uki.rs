//! `dib-uki`: a kernel, its initial ramdisk and its command line → one program of UEFI, by the stub of systemd.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Parser;

use crate::boot::uki::assemble;
use crate::error::{Context as _, Error, Kind, Result};
use crate::given;
use crate::ui;

/// Bytes of the longest file that is taken in.
const FILE_MAX: u64 = 1 << 30;

/// Makes a unified kernel image.
#[derive(Debug, Parser)]
#[command(name = "dib-uki")]
struct Args {
    /// The stub, such as /usr/lib/systemd/boot/efi/linuxx64.efi.stub
    #[arg(long)]
    stub: PathBuf,
    /// The kernel
    #[arg(long)]
    linux: PathBuf,
    /// The initial ramdisk
    #[arg(long)]
    initrd: PathBuf,
    /// The words for the kernel
    #[arg(long)]
    cmdline: String,
    /// What the system is called
    #[arg(long, default_value = "/etc/os-release")]
    os_release: PathBuf,
    /// The image
    #[arg(long)]
    output: PathBuf,
}

/// Runs the command.
pub fn run(args: &[OsString]) -> u8 {
    let args: Args = match super::parsed(args) {
        Ok(args) => args,
        Err(status) => return status,
    };
    match make(&args) {
        Ok(()) => 0,
        Err(error) => {
            ui::error(&error);
            error.kind().status()
        }
    }
}

fn make(args: &Args) -> Result<()> {
    let read = |path: &Path| read(path).host(|| format!("dib-uki: cannot read {}", path.display()));
    let (stub, linux, initrd) = (read(&args.stub)?, read(&args.linux)?, read(&args.initrd)?);
    let os_release = read(&args.os_release)?;
    // The kernel comes last: where it unpacks itself in place, what follows is overwritten.
    let cargo: [(&str, &[u8]); 4] = [
        (".osrel", &os_release),
        (".cmdline", args.cmdline.as_bytes()),
        (".initrd", &initrd),
        (".linux", &linux),
    ];
    let image = assemble(&stub, &cargo).map_err(|error| {
        let message = format!("dib-uki: the stub {} cannot be used", args.stub.display());
        Error::new(Kind::Elements, message).because(error)
    })?;
    fs::write(&args.output, image).host(|| format!("dib-uki: cannot write {}", args.output.display()))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = given::open(path)?;
    let len = File::metadata(&file)?.len();
    if len > FILE_MAX {
        let message = format!("it has {len} bytes, more than {FILE_MAX}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}
