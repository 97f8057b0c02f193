//! Hints: what the last lines of a failed hook are known to mean. One table, read from the last line up.

use std::path::Path;

use super::units;
use crate::room::{Memory, Room};

/// Where a hook ran, and what it had there.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// Whether it ran in the tree, not on the host.
    pub in_tree: bool,
    /// The signal that ended it, if one did.
    pub signal: Option<u8>,
    /// Memory that processes could still get, in bytes.
    pub memory: Option<u64>,
    /// The directory that builds are made in.
    pub dir: String,
    /// Bytes that are free there.
    pub free: Option<u64>,
    /// Whether that directory is in memory itself.
    pub dir_in_memory: bool,
    /// Whether the build was in a tmpfs of its own instead.
    pub tmpfs: bool,
}

impl Scene {
    /// Asks the system for the numbers.
    pub fn look(in_tree: bool, signal: Option<u8>, dir: &Path, tmpfs: bool) -> Self {
        let room = Room::at(dir).ok();
        Self {
            in_tree,
            signal,
            memory: Memory::now().map(|memory| memory.available),
            dir: dir.display().to_string(),
            free: room.map(|room| room.free),
            dir_in_memory: room.is_some_and(|room| room.in_memory),
            tmpfs,
        }
    }

    fn place(&self) -> &'static str {
        if self.in_tree {
            "in the image"
        } else {
            "on this host"
        }
    }
}

/// What a line may say, and what that means.
struct Known {
    /// Any of these texts.
    says: &'static [&'static str],
    /// What it means: `None` if on closer look it says something else.
    means: fn(line: &str, scene: &Scene) -> Option<String>,
}

/// The most hints that help more than they hide.
const HINTS_MAX: usize = 3;

const NO_INSTALL_PACKAGES: &str = "no element brought install-packages into the image; \
                                   that of its distribution's package manager does, as dpkg";

const KNOWN: [Known; 11] = [
    Known {
        says: &["command not found", ": not found", "env: '"],
        means: missing_command,
    },
    Known {
        says: &["Killed", "Cannot allocate memory", "Out of memory"],
        means: |_, scene| Some(no_memory(scene)),
    },
    Known {
        says: &[
            "Temporary failure resolving",
            "Temporary failure in name resolution",
            "Could not resolve",
            "Name or service not known",
        ],
        means: |_, _| {
            Some(
                "names cannot be resolved: hooks use the host's /etc/resolv.conf and network; \
                 --offline takes downloads from the cache"
                    .to_owned(),
            )
        },
    },
    Known {
        says: &["No space left on device", "Disk quota exceeded"],
        means: |_, scene| Some(no_space(scene)),
    },
    Known {
        says: &["Unable to locate package ", "has no installation candidate"],
        means: missing_package,
    },
    Known {
        says: &["Exec format error", "cannot execute binary file"],
        means: |_, _| {
            Some(
                "a program is for another architecture than this host's: register an emulator \
                 (qemu-user-static, binfmt_misc), or set -a to the host's architecture"
                    .to_owned(),
            )
        },
    },
    Known {
        says: &[
            "mount failed: Operation not permitted",
            "failed to setup loop device",
        ],
        means: |_, _| {
            Some(
                "hooks have no devices, loop devices neither: take files out of an image without a mount, as \
                 'bsdtar -xf disc.iso' or 'dib cat disk.qcow2 PATH' do"
                    .to_owned(),
            )
        },
    },
    Known {
        says: &["unbound variable", "parameter not set"],
        means: unset_variable,
    },
    Known {
        says: &["cannot be started: Permission denied"],
        means: |_, scene| {
            Some(format!(
                "the hook, or the interpreter in its first line, may not be run {}: \
                 give it the run bit; no file system on the way may be mounted noexec",
                scene.place()
            ))
        },
    },
    Known {
        says: &["cannot be started: No such file or directory"],
        means: |line, scene| {
            let (_, named) = line.split_once("its first line names '").unzip();
            let named = named.and_then(|named| named.strip_suffix('\''));
            Some(match named {
                _ if line.starts_with("install-packages ") => NO_INSTALL_PACKAGES.to_owned(),
                Some(named) if named.ends_with("\\r") => {
                    "its lines end in CR LF, and the CR belongs to the name of its interpreter: end them in LF"
                        .to_owned()
                }
                Some(named) => format!("its interpreter {named} is not {}", scene.place()),
                None => format!("the interpreter in its first line is not {}", scene.place()),
            })
        },
    },
    Known {
        says: &[
            "NO_PUBKEY",
            "certificate verify failed",
            "SSL certificate problem",
        ],
        means: |_, scene| {
            Some(format!(
                "a signature or certificate cannot be checked: keys (keyring packages, ca-certificates) \
                 are missing {}, or its clock is wrong",
                scene.place()
            ))
        },
    },
];

/// What is known about the end of a hook: its last lines, the last of them saying how it ended.
pub fn hints(lines: &[String], scene: &Scene) -> Vec<String> {
    let mut hints = Vec::new();
    if scene.signal == Some(9) {
        hints.push(no_memory(scene));
    }
    for line in lines.iter().rev() {
        for known in KNOWN
            .iter()
            .filter(|known| known.says.iter().any(|text| line.contains(text)))
        {
            let hint = (known.means)(line, scene);
            hints.extend(hint.filter(|hint| !hints.contains(hint)));
        }
    }
    hints.truncate(HINTS_MAX);
    hints
}

/// `FILE: line 3: WORD: command not found` of bash, `FILE: 3: WORD: not found` of dash, `env: 'WORD': No such file`.
fn missing_command(line: &str, scene: &Scene) -> Option<String> {
    let before = line
        .strip_suffix(": command not found")
        .or_else(|| line.strip_suffix(": not found"));
    let word = if let Some(before) = before {
        before.rsplit(": ").next()?
    } else {
        // With the path that the hook's first line gives it.
        let (path, named) = line.split_once("env: '")?;
        let is_path = path.is_empty() || path.ends_with('/');
        named
            .strip_suffix("': No such file or directory")
            .filter(|_| is_path)?
    };
    if word.is_empty() || word.contains(char::is_whitespace) {
        return None;
    }
    Some(match word {
        "install-packages" => NO_INSTALL_PACKAGES.to_owned(),
        word if scene.in_tree => format!(
            "'{word}' is not in the image: install its package in an earlier phase, \
             say by package-installs.yaml"
        ),
        word => format!("'{word}' is not on this host: install it, or set PATH"),
    })
}

fn no_memory(scene: &Scene) -> String {
    let left = scene.memory.map_or(String::new(), |bytes| {
        format!(" ({} are available now)", units::bytes(bytes))
    });
    let tmpfs = match (scene.tmpfs, scene.dir_in_memory) {
        (true, false) => "; --no-tmpfs keeps the tree out of it".to_owned(),
        (_, true) => format!("; {}", onto_disk(scene)),
        (false, false) => String::new(),
    };
    format!("memory may have run out{left}{tmpfs}")
}

/// How a build leaves memory whose directory is in memory itself.
fn onto_disk(scene: &Scene) -> String {
    let option = if scene.tmpfs { ", and --no-tmpfs" } else { "" };
    format!(
        "{} is a tmpfs itself; a directory on disk in TMP_DIR{option} keeps the tree out of it",
        scene.dir
    )
}

fn no_space(scene: &Scene) -> String {
    let free = scene.free.map_or("unknown room".to_owned(), units::bytes);
    if scene.dir_in_memory {
        format!("the build is in memory: {}", onto_disk(scene))
    } else if scene.tmpfs {
        format!(
            "the build is in memory: --no-tmpfs builds in {}, where {free} are free; \
             TMP_DIR names another directory",
            scene.dir
        )
    } else {
        format!(
            "{free} are free in {}, where this was built: TMP_DIR names another directory",
            scene.dir
        )
    }
}

/// `E: Unable to locate package WORD`, `E: Package 'WORD' has no installation candidate`.
fn missing_package(line: &str, _: &Scene) -> Option<String> {
    let word = match line.split_once("Unable to locate package ") {
        Some((_, word)) => word,
        None => line.split('\'').nth(1)?,
    };
    Some(format!(
        "the archive has no package '{}': is it spelt right, and in the release and components in use? \
         pkg-map translates names",
        word.trim()
    ))
}

/// `FILE: line 3: NAME: unbound variable` of bash, `FILE: 3: NAME: parameter not set` of dash.
fn unset_variable(line: &str, scene: &Scene) -> Option<String> {
    let before = line
        .strip_suffix(": unbound variable")
        .or_else(|| line.strip_suffix(": parameter not set"))?;
    let name = before.rsplit(": ").next()?;
    Some(if scene.in_tree && ["TARGET_ROOT", "TMPDIR"].contains(&name) {
        format!(
            "{name} is never set in the image, where the tree is / and /tmp is its own: only hooks on the host have it"
        )
    } else {
        format!("the variable {name} is not set: the caller or an element's environment.d sets it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(in_tree: bool, tmpfs: bool) -> Scene {
        Scene {
            in_tree,
            signal: None,
            memory: Some(512 << 20),
            dir: "/var/tmp".into(),
            free: Some(3 << 30),
            dir_in_memory: false,
            tmpfs,
        }
    }

    /// Lines as the programs of Debian 12 print them, and the hint that each gets: the committed text is the table.
    #[test]
    fn known_ends_get_their_hints() {
        let cases = [
            (
                "/tmp/in_target.d/install.d/10-x: line 3: jq: command not found",
                true,
            ),
            ("/build/hooks/root.d/10-x: line 3: jq: command not found", false),
            ("/tmp/in_target.d/install.d/10-x: 3: jq: not found", true),
            ("env: 'python3': No such file or directory", true),
            ("/usr/bin/env: 'ruby': No such file or directory", true),
            ("10-x: line 2: install-packages: command not found", true),
            ("10-x: line 2: 12345 Killed                  make", true),
            ("W: Temporary failure resolving 'deb.example.org'", true),
            ("curl: (6) Could not resolve host: example.org", false),
            (
                "tar: ./usr/share/doc: Cannot write: No space left on device",
                true,
            ),
            ("E: Unable to locate package ngnix", true),
            ("E: Package 'ngnix' has no installation candidate", true),
            (
                "10-x: line 2: /bin/true: cannot execute binary file: Exec format error",
                true,
            ),
            ("mount: /mnt: mount failed: Operation not permitted.", false),
            ("mount: /mnt: failed to setup loop device for disc.iso.", false),
            ("10-x: line 2: DIB_SITE: unbound variable", true),
            ("10-x: line 2: TARGET_ROOT: unbound variable", true),
            ("10-x: line 2: TARGET_ROOT: unbound variable", false),
            ("10-x cannot be started: Permission denied (os error 13)", true),
            (
                "install-packages cannot be started: No such file or directory (os error 2)",
                true,
            ),
            (
                "10-x cannot be started: No such file or directory (os error 2)",
                false,
            ),
            (
                "10-x cannot be started: No such file or directory (os error 2): its first line names '/bin/zsh'",
                true,
            ),
            (
                r"10-x cannot be started: No such file or directory (os error 2): its first line names '/bin/sh\r'",
                true,
            ),
            ("W: GPG error: NO_PUBKEY 0E98404D386FA1D9", true),
        ];
        let mut table = Vec::new();
        for (line, in_tree) in cases {
            let found = hints(&[line.to_owned()], &scene(in_tree, true));
            assert_eq!(found.len(), 1, "{line}: {found:?}");
            table.push(format!("{line}\nhint: {}\n", found[0]));
        }
        oracle::golden::check("messages/hints.txt", &table.join("\n"));
    }

    #[test]
    fn what_is_not_known_gets_none_and_the_last_line_counts_first() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            hints(
                &lines("make: *** [all] Error 1\nnothing not found here"),
                &scene(true, false)
            ),
            [""; 0]
        );
        let many = "x: 1: a: not found\nx: 1: b: not found\nx: 1: c: not found\nx: 1: d: not found";
        let found = hints(&lines(many), &scene(true, false));
        assert_eq!(found.len(), HINTS_MAX);
        assert!(found[0].starts_with("'d' is not in the image"), "{found:?}");
        let killed = Scene {
            signal: Some(9),
            ..scene(true, false)
        };
        assert_eq!(
            hints(&[], &killed),
            ["memory may have run out (512.0 MiB are available now)"]
        );
        assert_eq!(
            hints(&lines("No space left on device"), &scene(true, false)),
            ["3.0 GiB are free in /var/tmp, where this was built: TMP_DIR names another directory"]
        );
        // Where TMP_DIR is a tmpfs, --no-tmpfs alone changes nothing.
        for (tmpfs, option) in [(true, ", and --no-tmpfs"), (false, "")] {
            let memory = Scene {
                dir_in_memory: true,
                ..scene(true, tmpfs)
            };
            let way = format!(
                "/var/tmp is a tmpfs itself; a directory on disk in TMP_DIR{option} keeps the tree out of it"
            );
            assert_eq!(
                hints(&lines("No space left on device"), &memory),
                [format!("the build is in memory: {way}")]
            );
            assert_eq!(
                hints(&lines("Killed"), &memory),
                [format!(
                    "memory may have run out (512.0 MiB are available now); {way}"
                )]
            );
        }
    }
}
