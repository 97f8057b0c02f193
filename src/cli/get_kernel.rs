//! `disk-image-get-kernel`: a kernel and its initial ramdisk out of an image.
//!
//! Both appear whole or not at all: each is written beside its place, and they are renamed when both are there.

use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Parser;
use tempfile::NamedTempFile;

use super::after_help;
use super::inspect::finder;
use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::inspect::copied::copied_into;
use crate::inspect::find::Finder;
use crate::inspect::kernels::{Wanted, choose};
use crate::inspect::report::printable;
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  disk-image-get-kernel debian.qcow2
      /tmp/baremetal-vmlinuz and /tmp/baremetal-initrd

  disk-image-get-kernel -i debian.qcow2 -d boot -o debian
      boot/debian-vmlinuz and boot/debian-initrd

Which kernel:
  DIB_BAREMETAL_KERNEL_PATTERN and DIB_BAREMETAL_INITRD_PATTERN, where both are set, are patterns below /boot. Else the
  newest, as ls -v orders them, by what /etc says the system is: redhat-release, debian_version, SuSE-release or
  gentoo-release.";

/// Take kernel and initial ramdisk out of an image. Needs no right and no device.
#[derive(Debug, Parser)]
#[command(name = "disk-image-get-kernel", args_override_self = true, after_help = after_help(EXAMPLES))]
pub struct Args {
    /// The image
    #[arg(short = 'i', value_name = "IMAGE")]
    image: Option<PathBuf>,
    /// Directory of the files
    #[arg(short = 'd', value_name = "DIR", default_value = "/tmp")]
    dir: PathBuf,
    /// What their names begin with
    #[arg(short = 'o', value_name = "PREFIX", default_value = "baremetal")]
    prefix: OsString,
    /// Say what is done
    #[arg(short = 'x')]
    trace: bool,
    /// The image, without -i
    #[arg(value_name = "IMAGE", conflicts_with = "image")]
    positional: Option<PathBuf>,
}

/// Takes them out, and prints their names.
pub fn run(args: &Args, environment: &Environment) -> Result<()> {
    let image = args.image.as_ref().or(args.positional.as_ref());
    let image = image.ok_or_else(|| Error::usage("no image was named").hint("-i IMAGE names it"))?;
    let wanted = wanted(environment)?;
    let mut finder = finder(image, None, &[b"boot", b"etc"], environment)?;
    let tried = || format!("no kernel can be taken out of {}", image.display());
    let pair = choose(&mut finder, &wanted).image(tried)?;
    if pair.differs() {
        ui::warn(format_args!(
            "/{} is by its name not the ramdisk of /{}",
            printable(&pair.initrd),
            printable(&pair.kernel)
        ));
    }
    let place = |suffix: &str| {
        let name = [args.prefix.as_bytes(), suffix.as_bytes()].concat();
        args.dir.join(OsString::from_vec(name))
    };
    let outputs = [(pair.kernel, place("-vmlinuz")), (pair.initrd, place("-initrd"))];
    // Of what can be known, nothing may hinder the second when the first has its place.
    if let Some((_, to)) = outputs.iter().find(|(_, to)| to.is_dir()) {
        let message = format!("cannot write {}: it is a directory", to.display());
        return Err(Error::new(Kind::Host, message));
    }
    let mut ready = Vec::new();
    for (path, to) in &outputs {
        if args.trace {
            ui::note(format_args!("/{} -> {}", printable(path), to.display()));
        }
        ready.push(taken(&finder, path, to, image)?);
    }
    for (file, (_, to)) in ready.into_iter().zip(&outputs) {
        let kept = file.persist(to).map_err(|error| error.error);
        kept.host(|| format!("cannot write {}", to.display()))?;
    }
    let prefix = args.prefix.display();
    ui::print(format_args!("{prefix}-vmlinuz,{prefix}-initrd\n"))
}

fn wanted(environment: &Environment) -> Result<Wanted> {
    let pattern = |name| environment.non_empty(name).map(|value| value.as_bytes().to_vec());
    let kernel = pattern("DIB_BAREMETAL_KERNEL_PATTERN");
    Ok(Wanted {
        patterns: kernel.zip(pattern("DIB_BAREMETAL_INITRD_PATTERN")),
        distribution: environment.text("DISTRO_NAME")?.map(str::to_owned),
    })
}

/// A file of the image, whole, beside its place.
fn taken(finder: &Finder, path: &[u8], to: &Path, image: &Path) -> Result<NamedTempFile> {
    let tried = || format!("cannot read /{} of {}", printable(path), image.display());
    let writing = || format!("cannot write {}", to.display());
    let view = finder.view();
    let spot = view.at(path).and_then(|spot| Some((spot, view.length(spot)?)));
    let (spot, len) =
        spot.ok_or_else(|| Error::new(Kind::Image, format!("{}: it is no regular file", tried())))?;
    let dir = to
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let file = NamedTempFile::new_in(dir).host(writing)?;
    let copied = copied_into(view, spot, len, file.as_file());
    copied.image(tried)?.host(writing)?;
    let synced = file.as_file().sync_all();
    let allowed = file.as_file().set_permissions(Permissions::from_mode(0o644));
    synced.and(allowed).host(writing)?;
    Ok(file)
}
