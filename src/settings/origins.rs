//! Where each setting comes from: the one table of settings, their options and their variables.
//!
//! Precedence is the order of a setting's sources: the first that says something wins, and a setting for which none does
//! has its default. `dib plan` prints values with their origins, the manual lists the variables; a test holds the table
//! against what [`Settings::new`](super::Settings::new) does.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Flags, Settings, SizeRule, Tmpfs, WordOrigin};
use crate::environment::Environment;
use crate::sandbox::tier::Network;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "origin", content = "name", rename_all = "kebab-case")]
pub enum Origin {
    /// An option of the command line.
    Flag(&'static str),
    /// A variable of the environment.
    Environment(&'static str),
    /// Neither.
    Default,
}

/// Something that can decide a setting.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// An option, and whether it was given.
    Flag(&'static str, fn(&Flags) -> bool),
    /// A variable, what it is for, and which of its values say something.
    Variable(&'static str, &'static str, fn(&OsStr) -> bool),
}

/// A setting.
#[derive(Debug)]
pub struct Row {
    /// Its name in a plan.
    pub name: &'static str,
    /// What can decide it, the strongest first.
    pub sources: &'static [Source],
    /// Its value, as a plan shows it.
    pub value: fn(&Settings) -> Value,
}

use Source::{Flag, Variable};

/// Every setting.
pub static ROWS: &[Row] = &[
    Row {
        name: "arch",
        sources: &[
            Flag("-a", |flags| flags.arch.is_some()),
            Variable("ARCH", "the architecture of the image, as -a", any),
        ],
        value: |settings| json!(settings.arch),
    },
    Row {
        name: "name",
        sources: &[
            Flag("-o", |flags| flags.output.is_some()),
            Variable("IMAGE_NAME", "the name of the image, as -o", any),
        ],
        value: |settings| json!(settings.name),
    },
    Row {
        name: "types",
        sources: &[Flag("-t", |flags| !flags.types.is_empty())],
        value: |settings| json!(words(&settings.formats)),
    },
    Row {
        name: "compress",
        sources: &[Flag("-u", |flags| flags.uncompressed)],
        value: |settings| json!(settings.compress),
    },
    Row {
        name: "format_options",
        sources: &[
            Flag("--qemu-img-options", |flags| flags.format_options.is_some()),
            Variable("QEMU_IMG_OPTIONS", "as --qemu-img-options", any),
        ],
        value: |settings| json!(settings.format_options),
    },
    Row {
        name: "vhd_creator",
        sources: &[
            Flag("--vhd-creator", |flags| flags.vhd_creator.is_some()),
            Variable("DIB_VHD_CREATOR", "as --vhd-creator", any),
        ],
        value: |settings| json!(settings.vhd.word()),
    },
    Row {
        name: "squashfs_compression",
        sources: &[
            Flag("--squashfs-compression", |flags| flags.squashfs.is_some()),
            Variable("DIB_SQUASHFS_COMPRESSION", "as --squashfs-compression", any),
        ],
        value: |settings| json!(settings.squashfs.word()),
    },
    Row {
        name: "checksums",
        sources: &[
            Flag("--checksum", |flags| flags.checksum),
            Variable(
                "DIB_CHECKSUM",
                "1 as --checksum; or the digests to write, md5 and sha256",
                any,
            ),
        ],
        value: |settings| {
            let digests = [
                ("md5", settings.checksums.md5),
                ("sha256", settings.checksums.sha256),
            ];
            let wanted = digests.iter().filter(|(_, wanted)| *wanted);
            json!(wanted.map(|(name, _)| name).collect::<Vec<_>>())
        },
    },
    Row {
        name: "overwrite",
        sources: &[Variable(
            "OVERWRITE_OLD_IMAGE",
            "1: an older image of the same name is replaced, not renamed",
            any,
        )],
        value: |settings| json!(settings.overwrite),
    },
    Row {
        name: "base",
        sources: &[
            Flag("-n", |flags| flags.skip_base),
            Variable("SKIP_BASE", "1: leave out the element base, as -n", any),
        ],
        value: |settings| json!(settings.word_origins.contains(&WordOrigin::Base)),
    },
    Row {
        name: "elements_path",
        sources: &[Variable(
            "ELEMENTS_PATH",
            "directories of elements, a colon between; earlier ones win, the built-in elements come last",
            any,
        )],
        value: |settings| json!(words(settings.elements_path.iter().map(|dir| dir.display()))),
    },
    Row {
        name: "packages",
        sources: &[Flag("-p", |flags| !flags.packages.is_empty())],
        value: |settings| json!(settings.packages),
    },
    Row {
        name: "trace",
        sources: &[
            Flag("-x", |flags| flags.trace > 0),
            Variable("DIB_DEBUG_TRACE", "how much to trace; each -x adds 1", any),
        ],
        value: |settings| json!(settings.trace),
    },
    Row {
        name: "size",
        sources: &[
            Flag("--minimal", |flags| flags.minimal),
            Flag("--image-size", |flags| flags.image_size.is_some()),
            Flag("--image-extra-size", |flags| flags.image_extra_size.is_some()),
            Variable("DIB_IMAGE_SIZE", "the size in GiB, as --image-size", any),
            Variable(
                "DIB_IMAGE_EXTRA_SIZE",
                "room in MiB besides the tree, as --image-extra-size",
                any,
            ),
        ],
        value: |settings| match settings.size {
            SizeRule::Kib(kib) => json!({ "rule": "exact", "kib": kib }),
            SizeRule::Extra(mib) => json!({ "rule": "extra", "mib": mib }),
            SizeRule::Headroom => json!({ "rule": "headroom" }),
            SizeRule::Minimal => json!({ "rule": "minimal" }),
        },
    },
    Row {
        name: "journal_mib",
        sources: &[
            Flag("--mkfs-journal-size", |flags| flags.journal_size.is_some()),
            Variable(
                "DIB_JOURNAL_SIZE",
                "the journal in MiB, as --mkfs-journal-size",
                any,
            ),
        ],
        value: |settings| json!(settings.journal_mib),
    },
    Row {
        name: "threads",
        sources: &[Flag("--threads", |flags| flags.threads.is_some())],
        value: |settings| json!(settings.threads),
    },
    Row {
        name: "fs_type",
        sources: &[Variable("FS_TYPE", "the type of the root file system", any)],
        value: |settings| json!(settings.fs_type),
    },
    Row {
        name: "root_label",
        sources: &[
            Flag("--root-label", |flags| flags.root_label.is_some()),
            Variable(
                "ROOT_LABEL",
                "the label of the root file system, as --root-label",
                any,
            ),
        ],
        value: |settings| json!(settings.root_label),
    },
    Row {
        name: "mkfs_options",
        sources: &[Flag("--mkfs-options", |flags| flags.mkfs_options.is_some())],
        value: |settings| json!(settings.mkfs_options),
    },
    Row {
        name: "max_online_resize",
        sources: &[
            Flag("--max-online-resize", |flags| flags.max_online_resize.is_some()),
            Variable("MAX_ONLINE_RESIZE", "as --max-online-resize", any),
        ],
        value: |settings| json!(settings.max_online_resize),
    },
    Row {
        name: "tmpfs",
        sources: &[
            Flag("--no-tmpfs", |flags| flags.no_tmpfs),
            Variable("DIB_NO_TMPFS", "1: build in no tmpfs, as --no-tmpfs", |value| {
                any(value) && value != "0"
            }),
            Variable("GENTOO_PROFILE", "a hardened one: build in no tmpfs", |value| {
                let hardened = b"hardened";
                value
                    .as_bytes()
                    .windows(hardened.len())
                    .any(|part| part == hardened)
            }),
            Flag("--min-tmpfs", |flags| flags.min_tmpfs.is_some()),
            Variable(
                "DIB_MIN_TMPFS",
                "GiB that a tmpfs must be able to hold, as --min-tmpfs",
                any,
            ),
        ],
        value: |settings| match settings.tmpfs {
            Tmpfs::No => json!({ "rule": "never" }),
            Tmpfs::With { kib } => json!({ "rule": "memory", "kib": kib }),
        },
    },
    Row {
        name: "tmp_dir",
        sources: &[
            Variable(
                "TMPDIR",
                "where the directory of a build is made, before TMP_DIR",
                any,
            ),
            Variable("TMP_DIR", "where the directory of a build is made", any),
        ],
        value: |settings| json!(settings.tmp_dir.display().to_string()),
    },
    Row {
        name: "image_cache",
        sources: &[
            Flag("--image-cache", |flags| flags.image_cache.is_some()),
            Variable("DIB_IMAGE_CACHE", "cached downloads, as --image-cache", any),
            Variable("HOME", "holds .cache, where caches and locks are by default", any),
        ],
        value: |settings| json!(settings.cache.display().to_string()),
    },
    Row {
        name: "lockfiles",
        sources: &[
            Variable("DIB_LOCKFILES", "where locks are kept", any),
            Variable("HOME", "holds .cache, where caches and locks are by default", any),
        ],
        value: |settings| json!(settings.lockfiles.display().to_string()),
    },
    Row {
        name: "ccache",
        sources: &[
            Variable(
                "DIB_CCACHE",
                "0: compilations in the chroot are not cached; 1: ccache is installed, too",
                |value| value == "0",
            ),
            Variable(
                "DIB_CCACHE_DIR",
                "where compilations are cached, by default beside the downloads",
                any,
            ),
            Variable("DIB_IMAGE_CACHE", "cached downloads, as --image-cache", any),
            Variable("HOME", "holds .cache, where caches and locks are by default", any),
        ],
        value: |settings| {
            let dir = settings.ccache.as_ref();
            json!(dir.map(|dir| dir.display().to_string()))
        },
    },
    Row {
        name: "offline",
        sources: &[
            Flag("--offline", |flags| flags.offline),
            Variable("DIB_OFFLINE", "not empty: as --offline", any),
        ],
        value: |settings| json!(settings.offline),
    },
    Row {
        name: "ramdisk_element",
        sources: &[
            Flag("--ramdisk-element", |flags| flags.ramdisk_element.is_some()),
            Variable("RAMDISK_ELEMENT", "as --ramdisk-element", any),
        ],
        value: |settings| json!(settings.ramdisk_element),
    },
    Row {
        name: "ramdisk_compression",
        sources: &[
            Flag("--ramdisk-compression", |flags| {
                flags.ramdisk_compression.is_some()
            }),
            Variable("DIB_RAMDISK_COMPRESSION", "as --ramdisk-compression", any),
        ],
        value: |settings| json!(settings.ramdisk_compression.to_string()),
    },
    Row {
        name: "install_type",
        sources: &[
            Flag("--install-type", |flags| flags.install_type.is_some()),
            Variable("DIB_DEFAULT_INSTALLTYPE", "as --install-type", any),
        ],
        value: |settings| json!(settings.install_type),
    },
    Row {
        name: "docker_target",
        sources: &[
            Flag("--docker-target", |flags| flags.docker_target.is_some()),
            Variable("DOCKER_TARGET", "as --docker-target", any),
        ],
        value: |settings| json!(settings.docker_target),
    },
    Row {
        name: "docker_load",
        sources: &[
            Flag("--docker-load", |flags| flags.docker_load),
            Variable(
                "DIB_DOCKER_LOAD",
                "1: load an image of type docker, as --docker-load",
                any,
            ),
        ],
        value: |settings| json!(settings.docker_load),
    },
    Row {
        name: "logfile",
        sources: &[Flag("--logfile", |flags| flags.logfile.is_some())],
        value: |settings| {
            let file = settings.logging.file.as_ref();
            json!(file.map(|file| file.display().to_string()))
        },
    },
    Row {
        name: "quiet",
        sources: &[
            Variable(
                "DIB_QUIET",
                "1: nothing on standard output; 0: the log there, even with --logfile",
                |_| true,
            ),
            Flag("--logfile", |flags| flags.logfile.is_some()),
        ],
        value: |settings| json!(settings.logging.quiet),
    },
    Row {
        name: "timestamps",
        sources: &[Variable(
            "DIB_NO_TIMESTAMP",
            "1: no time before the lines on standard output",
            any,
        )],
        value: |settings| json!(settings.logging.timestamps),
    },
    Row {
        name: "epoch",
        sources: &[Variable(
            "SOURCE_DATE_EPOCH",
            "seconds since 1970: the time stamp of the image, no later than which every file is; with it the same \
             inputs give the same bytes",
            any,
        )],
        value: |settings| json!(settings.repeat.epoch),
    },
    Row {
        name: "seed",
        sources: &[
            Flag("--seed", |flags| flags.seed.is_some()),
            Variable("DIB_IMAGE_SEED", "UUIDs derive from it, as --seed", any),
        ],
        value: |settings| json!(settings.repeat.seed),
    },
    Row {
        name: "privileges",
        sources: &[
            Flag("--privileges", |flags| flags.privileges.is_some()),
            Variable("DIB_PRIVILEGES", "the tier of privileges, as --privileges", any),
        ],
        value: |settings| json!(settings.isolation.tier.map(|tier| tier.to_string())),
    },
    Row {
        name: "network",
        sources: &[
            Flag("--hermetic", |flags| flags.hermetic),
            Variable(
                "DIB_HERMETIC",
                "1: hooks have no network, as --hermetic",
                |value| any(value) && value != "0",
            ),
            Flag("--network", |flags| flags.network.is_some()),
            Variable("DIB_NETWORK", "the network of hooks, as --network", any),
        ],
        value: |settings| {
            json!(match settings.isolation.network {
                Network::Host => "host",
                Network::None => "none",
            })
        },
    },
    Row {
        name: "strict",
        sources: &[
            Flag("--strict", |flags| flags.strict),
            Variable(
                "DIB_STRICT",
                "1: an operating system must be among the elements, as --strict",
                |value| any(value) && value != "0",
            ),
        ],
        value: |settings| json!(settings.strict),
    },
    Row {
        name: "sbom",
        sources: &[
            Flag("--sbom", |flags| flags.sbom),
            Variable(
                "DIB_SBOM",
                "1: list the packages of the image beside it, as --sbom",
                |value| any(value) && value != "0",
            ),
        ],
        value: |settings| json!(settings.sbom),
    },
    Row {
        name: "elements",
        sources: &[
            Flag("ELEMENT", |flags| !flags.elements.is_empty()),
            Variable("IMAGE_ELEMENT", "elements of the image, before those named", any),
        ],
        value: |settings| json!(settings.elements),
    },
];

/// Whether a variable is set and not empty: most say something then.
fn any(value: &OsStr) -> bool {
    !value.is_empty()
}

fn words<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

/// The origin of every setting, in the order of the table.
pub(super) fn origins(flags: &Flags, environment: &Environment) -> Vec<Origin> {
    let origin = |row: &Row| {
        let found = row.sources.iter().find_map(|source| match *source {
            Flag(name, given) => given(flags).then_some(Origin::Flag(name)),
            Variable(name, _, counts) => environment
                .get(name)
                .filter(|value| counts(value))
                .map(|_| Origin::Environment(name)),
        });
        found.unwrap_or(Origin::Default)
    };
    ROWS.iter().map(origin).collect()
}

/// Every variable of the table once, with what it is for.
pub fn variables() -> Vec<(&'static str, &'static str)> {
    let mut variables: Vec<(&str, &str)> = Vec::new();
    for source in ROWS.iter().flat_map(|row| row.sources) {
        if let Variable(name, what, _) = *source
            && !variables.iter().any(|(known, _)| *known == name)
        {
            variables.push((name, what));
        }
    }
    variables
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Flag(name) => write!(f, "option {name}"),
            Origin::Environment(name) => write!(f, "variable {name}"),
            Origin::Default => f.write_str("default"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new field does not compile here until somebody has thought of its row.
    #[test]
    fn every_setting_has_a_row() {
        let Settings {
            arch: _,
            name: _,
            formats: _,
            compress: _,
            format_options: _,
            vhd: _,
            squashfs: _,
            checksums: _,
            overwrite: _,
            elements: _,
            elements_path: _,
            packages: _,
            trace: _,
            size: _,
            journal_mib: _,
            threads: _,
            fs_type: _,
            root_label: _,
            mkfs_options: _,
            max_online_resize: _,
            tmpfs: _,
            tmp_dir: _,
            cache: _,
            lockfiles: _,
            ccache: _,
            offline: _,
            ramdisk_element: _,
            ramdisk_compression: _,
            install_type: _,
            docker_target: _,
            docker_load: _,
            logging:
                super::super::Logging {
                    file: _,
                    quiet: _,
                    timestamps: _,
                },
            repeat: crate::identity::Repeat { epoch: _, seed: _ },
            isolation: super::super::Isolation { tier: _, network: _ },
            // Which command it is.
            ramdisk: _,
            // Notes on the others.
            line: _,
            word_origins: _,
            origins,
            strict: _,
            sbom: _,
        } = Settings::new(Flags::default(), &Environment::default()).unwrap();
        let fields = 33 + 3 + 2 + 2;
        // And whether the element `base` is one.
        assert_eq!((ROWS.len(), origins.len()), (fields + 1, fields + 1));
    }
}
