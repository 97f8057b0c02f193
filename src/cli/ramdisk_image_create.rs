//! `ramdisk-image-create`: builds a ramdisk from elements, and takes the kernel along for which it is.
//!
//! It is `disk-image-create` with an element more, and with other outputs: `NAME.initramfs` and `NAME.kernel`.

use std::ffi::OsString;

use clap::Parser;

use super::{after_help, disk_image_create};
use crate::environment::Environment;
use crate::error::Result;

const EXAMPLES: &str = "\
Examples:
  ramdisk-image-create -o rescue debian-minimal
      rescue.initramfs and rescue.kernel: busybox, udev and all modules of Debian's kernel

  ramdisk-image-create --ramdisk-compression zstd:19 -o small debian-minimal my-tools
      with an element of one's own, as small as zstd makes it

  ramdisk-image-create --ramdisk-element dracut-ramdisk -o deploy fedora
      by dracut, where there is no busybox

Variables DIB_RAMDISK_MODULES, DIB_RAMDISK_FIRMWARE, DIB_RAMDISK_MICROCODE and DIB_KERNEL_VERSION say what goes into it: see
the README.md of the element ramdisk-base.";

/// Build a ramdisk from elements. Takes all options of disk-image-create; those about disks have no say.
#[derive(Debug, Parser)]
#[command(name = "ramdisk-image-create", version, disable_version_flag = true)]
#[command(args_override_self = true, after_help = after_help(EXAMPLES))]
pub struct Args {
    #[command(flatten)]
    build: disk_image_create::Args,
}

/// Builds.
pub fn run(args: Args, line: &[OsString], environment: Environment) -> Result<()> {
    disk_image_create::run(args.build.for_ramdisk(true), line, environment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_is_sound() {
        Args::command().debug_assert();
    }
}
