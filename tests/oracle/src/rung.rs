//! Tiers of privileges, on a machine where tests are root.
//!
//! T1: root gives up what containers do not give it. T2: a plain user, whom a copy of `/etc` knows and grants
//! subordinate ids; it covers the machine's own in a mount namespace of the program's. The machine itself is not
//! changed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// The user of T2, who owns nothing on any machine.
pub const USER: u32 = 61_234;

/// The first subordinate id, and how many there are.
const SUBORDINATE: (u32, u32) = (2_000_000_000, 65_536);

/// What root has in a container.
const CAPABILITIES: &str = "-all,+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,+setuid,+setfcap,\
                            +setpcap,+net_bind_service,+sys_chroot,+kill,+audit_write";

/// A tier, and how the program gets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// Root as it is.
    T0,
    /// Root of a default container.
    T1,
    /// A user with subordinate ids.
    T2,
    /// T0 of the user of T2, whom sudo makes root.
    Sudo,
}

impl Rung {
    /// The tiers, each once.
    pub const ALL: [Rung; 3] = [Rung::T0, Rung::T1, Rung::T2];

    /// Whether a plain user calls the program.
    pub fn is_of_a_user(self) -> bool {
        matches!(self, Rung::T2 | Rung::Sudo)
    }

    /// Whether the machine has what the rung stands on; if not, says so, or fails where skips are forbidden.
    pub fn require(self) -> bool {
        crate::require(match self {
            Rung::T0 => &[],
            Rung::T1 => &["setpriv"],
            Rung::T2 => &["setpriv", "unshare", "newuidmap", "newgidmap"],
            Rung::Sudo => &["setpriv", "unshare", "sudo"],
        })
    }

    /// Makes what the rung stands on in a fresh directory `etc`: a copy of `/etc` that knows the user.
    pub fn prepare(self, etc: &Path) {
        if !self.is_of_a_user() {
            return;
        }
        let status = Command::new("cp").arg("-a").arg("/etc").arg(etc).status();
        assert!(status.is_ok_and(|status| status.success()), "cp -a /etc");
        let add = |name: &str, line: String| {
            let path = etc.join(name);
            let text = fs::read_to_string(&path).unwrap_or_default();
            fs::write(&path, format!("{text}{line}\n")).expect("the copy is ours");
        };
        add("passwd", format!("dibtest:*:{USER}:{USER}::/nonexistent:/bin/sh"));
        add("group", format!("dibtest:x:{USER}:"));
        if self == Rung::Sudo {
            let rule = etc.join("sudoers.d/dibtest");
            fs::write(&rule, "dibtest ALL=(root) NOPASSWD: ALL\n").expect("the copy is ours");
            fs::set_permissions(&rule, fs::Permissions::from_mode(0o440)).expect("the copy is ours");
            return;
        }
        let (first, count) = SUBORDINATE;
        for name in ["subuid", "subgid"] {
            add(name, format!("dibtest:{first}:{count}"));
        }
    }

    /// The words before a command line that take it to the rung; `etc` is what [`Rung::prepare`] made.
    pub fn words(self, etc: &Path) -> Vec<String> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        // By whole paths: the PATH of what runs may be short.
        let tool =
            |name: &str| crate::find(name).map_or_else(|| name.to_owned(), |path| path.display().to_string());
        match self {
            Rung::T0 => Vec::new(),
            Rung::T1 => owned(&[
                &tool("setpriv"),
                "--inh-caps",
                "-all",
                "--bounding-set",
                CAPABILITIES,
            ]),
            Rung::T2 | Rung::Sudo => {
                // Not sh: dash forgets variables whose names it cannot say.
                let (mount, setpriv) = (tool("mount"), tool("setpriv"));
                let script = format!("{mount} --bind \"$1\" /etc && shift && exec {setpriv} \"$@\"");
                let (etc, user) = (etc.display().to_string(), USER.to_string());
                let drop = ["--clear-groups", "--inh-caps", "-all"];
                let mut words: Vec<String> = owned(&[
                    &tool("unshare"),
                    "--mount",
                    &tool("bash"),
                    "-c",
                    &script,
                    "bash",
                    &etc,
                ]);
                words.extend(owned(&["--reuid", &user, "--regid", &user]));
                words.extend(owned(&drop));
                words
            }
        }
    }
}
