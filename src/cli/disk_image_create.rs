//! `disk-image-create`: builds an image from elements.
//!
//! Options and elements interleave, `--` ends options, long options may be abbreviated, short ones cluster.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{ArgAction, Parser};

use crate::environment::Environment;
use crate::error::Result;
use crate::pipeline;
use crate::plan::BuildPlan;
use crate::settings::{Flags, Settings};

const EXAMPLES: &str = "\
Examples:
  disk-image-create -o debian debian-minimal
      debian.qcow2, a Debian image

  ELEMENTS_PATH=~/elements disk-image-create -o web -t qcow2,raw -p nginx debian-minimal my-site
      web.qcow2 and web.raw, with an element of one's own and a package

  SOURCE_DATE_EPOCH=1700000000 disk-image-create -o same --seed same debian-minimal
      the same bytes every time, as long as the packages are the same

Every option has its variable (ARCH, IMAGE_NAME, DIB_IMAGE_SIZE, DIB_OFFLINE, ...); an option beats it.";

/// Build an image from elements.
#[derive(Debug, Parser)]
#[command(
    name = "disk-image-create",
    version,
    disable_version_flag = true,
    infer_long_args = true
)]
#[command(args_override_self = true, after_help = EXAMPLES)]
#[group(skip)]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line are bools")]
pub struct Args {
    /// Architecture of the image, such as amd64, arm64, armhf or i386 [default: the host's]
    #[arg(short = 'a', value_name = "ARCH", allow_hyphen_values = true)]
    arch: Option<String>,
    /// Name of the image, without the suffix of its type [default: image]
    #[arg(short = 'o', value_name = "NAME")]
    output: Option<String>,
    /// Types of the image: qcow2, raw [default: qcow2]
    #[arg(short = 't', value_name = "TYPE,...", value_delimiter = ',', action = ArgAction::Set)]
    types: Vec<String>,
    /// Trace hooks; twice: more
    #[arg(short = 'x', action = ArgAction::Count)]
    trace: u8,
    /// Do not compress the image
    #[arg(short = 'u')]
    uncompressed: bool,
    /// Leave out the element base
    #[arg(short = 'n')]
    skip_base: bool,
    /// Packages to install besides; may be given again
    #[arg(short = 'p', value_name = "PACKAGE,...", value_delimiter = ',', action = ArgAction::Append)]
    packages: Vec<String>,
    /// Write MD5 and SHA-256 digests beside the image
    #[arg(long)]
    checksum: bool,
    /// Size of the image in GiB [default: as the tree needs]
    #[arg(long, value_name = "GIB")]
    image_size: Option<String>,
    /// Room in MiB that the tree gets besides what it needs
    #[arg(long, value_name = "MIB")]
    image_extra_size: Option<String>,
    /// Directory of cached downloads [default: ~/.cache/image-create]
    #[arg(long, value_name = "DIR")]
    image_cache: Option<PathBuf>,
    /// Blocks to which the file system can grow while it is mounted
    #[arg(long, value_name = "BLOCKS")]
    max_online_resize: Option<String>,
    /// GiB that a tmpfs must be able to hold [default: 2]
    #[arg(long, value_name = "GIB")]
    min_tmpfs: Option<String>,
    /// Size of the journal in MiB [default: 64]
    #[arg(long, value_name = "MIB")]
    mkfs_journal_size: Option<String>,
    /// Options of the root file system, in the words of mke2fs
    #[arg(long, value_name = "OPTIONS", allow_hyphen_values = true)]
    mkfs_options: Option<String>,
    /// Do not build in a tmpfs
    #[arg(long)]
    no_tmpfs: bool,
    /// Do not refresh cached downloads
    #[arg(long)]
    offline: bool,
    /// Options of the image's format, in the words of qemu-img convert -o
    #[arg(long, value_name = "KEY=VALUE,...")]
    qemu_img_options: Option<String>,
    /// Label of the root file system [default: cloudimg-rootfs]
    #[arg(long, value_name = "LABEL")]
    root_label: Option<String>,
    /// How elements install by default, source or package [default: source]
    #[arg(long, value_name = "TYPE")]
    install_type: Option<String>,
    /// Write the log to a file, and nothing to standard output
    #[arg(long, value_name = "FILE")]
    logfile: Option<PathBuf>,
    /// Derive UUIDs from this text
    #[arg(long, value_name = "TEXT")]
    seed: Option<String>,
    /// Print the version
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
    /// Elements of the image; their dependencies come by themselves
    #[arg(value_name = "ELEMENT")]
    elements: Vec<String>,
}

impl Args {
    /// The flags, and the whole command line as the image will record it.
    pub(super) fn flags(self, line: &[OsString]) -> Flags {
        Flags {
            arch: self.arch,
            output: self.output,
            types: self.types,
            trace: self.trace,
            uncompressed: self.uncompressed,
            skip_base: self.skip_base,
            packages: self.packages,
            checksum: self.checksum,
            image_size: self.image_size,
            image_extra_size: self.image_extra_size,
            image_cache: self.image_cache,
            max_online_resize: self.max_online_resize,
            min_tmpfs: self.min_tmpfs,
            journal_size: self.mkfs_journal_size,
            mkfs_options: self.mkfs_options,
            no_tmpfs: self.no_tmpfs,
            offline: self.offline,
            format_options: self.qemu_img_options,
            root_label: self.root_label,
            install_type: self.install_type,
            logfile: self.logfile,
            seed: self.seed,
            minimal: false,
            threads: None,
            elements: self.elements,
            line: line.get(1..).unwrap_or_default().join(OsStr::new(" ")),
        }
    }
}

/// Builds.
pub fn run(args: Args, line: &[OsString], environment: Environment) -> Result<()> {
    let settings = Settings::new(args.flags(line), &environment)?;
    pipeline::run(&BuildPlan::new(settings, environment)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Args {
        let words = ["disk-image-create"].into_iter().chain(line.split_whitespace());
        Args::try_parse_from(words).unwrap()
    }

    #[test]
    fn options_are_read_as_getopt_long_does() {
        let args = parsed("a -xx -o n b --image-si=0.1 -un --no-t -p p,q -p r -t raw,qcow2 -- -c");
        assert_eq!(args.elements, ["a", "b", "-c"]);
        assert_eq!(
            (args.trace, args.uncompressed, args.skip_base, args.no_tmpfs),
            (2, true, true, true)
        );
        assert_eq!(args.image_size.as_deref(), Some("0.1"));
        assert_eq!(args.packages, ["p", "q", "r"]);
        assert_eq!(args.types, ["raw", "qcow2"]);
        assert_eq!(parsed("-o a -o b x").output.as_deref(), Some("b"));
        assert_eq!(parsed("--mkfs-options -i x").mkfs_options.as_deref(), Some("-i"));
        let ambiguous = Args::try_parse_from(["disk-image-create", "--image", "1", "x"]);
        assert!(ambiguous.is_err());
    }
}
