//! Running a program in a tier of privileges, on a machine where tests are root.
//!
//! T1: root gives up what containers do not give it. T2: a plain user, whom a copy of `/etc` knows and grants
//! subordinate ids; it covers the machine's own in a mount namespace of the program's. The machine itself is not
//! changed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::lab::{DIB, Lab, Said};

/// The user of T2, who owns nothing on any machine.
pub(crate) const USER: u32 = 61_234;

/// The first subordinate id, and how many there are.
pub(crate) const SUBORDINATE: (u32, u32) = (2_000_000_000, 65_536);

/// What root has in a container.
const CAPABILITIES: &str = "-all,+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,+setuid,+setfcap,\
                            +setpcap,+net_bind_service,+sys_chroot,+kill,+audit_write";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rung {
    T0,
    T1,
    T2,
}

impl Rung {
    pub(crate) const ALL: [Rung; 3] = [Rung::T0, Rung::T1, Rung::T2];
}

/// A lab in which programs run in a tier.
pub(crate) struct Stairs {
    pub(crate) lab: Lab,
    rung: Rung,
    program: String,
}

impl Stairs {
    /// One, or `None` where the tier cannot be had.
    pub(crate) fn new(rung: Rung) -> Option<Self> {
        let tools: &[&str] = match rung {
            Rung::T0 => &[],
            Rung::T1 => &["setpriv"],
            Rung::T2 => &["setpriv", "unshare", "newuidmap", "newgidmap"],
        };
        if !oracle::require(tools) {
            return None;
        }
        let mut lab = Lab::new()?;
        let mut program = DIB.to_owned();
        if rung == Rung::T2 {
            let home = lab.dir().join("home");
            fs::create_dir_all(&home).unwrap();
            fs::set_permissions(lab.dir(), fs::Permissions::from_mode(0o755)).unwrap();
            for dir in ["out", "tmp", "home"] {
                chown(lab.dir().join(dir), Some(USER), Some(USER)).unwrap();
            }
            user_database(&lab.dir().join("etc"));
            if !reachable(Path::new(DIB)) {
                let (copy, fixtures) = (lab.dir().join("dib"), lab.dir().join("fixtures"));
                fs::copy(DIB, &copy).unwrap();
                copy_tree(
                    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/elements")),
                    &fixtures,
                );
                let path = format!("{}:{}", lab.dir().join("elements").display(), fixtures.display());
                lab.set("ELEMENTS_PATH", &path);
                copy.to_str().unwrap().clone_into(&mut program);
            }
        }
        Some(Self { lab, rung, program })
    }

    /// The command line that runs `dib` in the tier.
    fn words(&self, args: &[&str]) -> Vec<String> {
        let drop_to = |user: u32| {
            let user = user.to_string();
            [
                "--reuid",
                &user,
                "--regid",
                &user,
                "--clear-groups",
                "--inh-caps",
                "-all",
            ]
            .map(str::to_owned)
            .to_vec()
        };
        let mut words: Vec<String> = match self.rung {
            Rung::T0 => Vec::new(),
            Rung::T1 => ["setpriv", "--inh-caps", "-all", "--bounding-set", CAPABILITIES]
                .map(str::to_owned)
                .to_vec(),
            Rung::T2 => {
                let script = "mount --bind \"$1\" /etc && shift && exec setpriv \"$@\"";
                let etc = self.lab.dir().join("etc").display().to_string();
                let mut words = ["unshare", "--mount", "sh", "-c", script, "sh", &etc]
                    .map(str::to_owned)
                    .to_vec();
                words.extend(drop_to(USER));
                words
            }
        };
        words.push(self.program.clone());
        words.extend(args.iter().map(|arg| (*arg).to_owned()));
        words
    }

    fn command(&self, args: &[&str]) -> Command {
        let words = self.words(args);
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .envs(self.lab.environment())
            .current_dir(self.lab.out(""))
            .stdin(Stdio::null());
        command
    }

    /// Runs `dib` to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        let output = self.command(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            status: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// Builds without the element `base`.
    pub(crate) fn build(&self, args: &[&str]) -> Said {
        let said = self.run(&[&["disk-image-create", "-n"], args].concat());
        assert_eq!(self.lab.left_behind(), [""; 0], "a build leaves nothing");
        said
    }

    /// Starts `dib`, whose output nobody wants.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }
}

/// A copy of `/etc` that knows the user.
fn user_database(etc: &Path) {
    copy_tree(Path::new("/etc"), etc);
    let add = |name: &str, line: String| {
        let path = etc.join(name);
        let text = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, format!("{text}{line}\n")).unwrap();
    };
    add("passwd", format!("dibtest:x:{USER}:{USER}::/nonexistent:/bin/sh"));
    add("group", format!("dibtest:x:{USER}:"));
    let (first, count) = SUBORDINATE;
    for name in ["subuid", "subgid"] {
        add(name, format!("dibtest:{first}:{count}"));
    }
}

fn copy_tree(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// Whether everybody may pass all directories on the way to a file.
fn reachable(path: &Path) -> bool {
    let mut above = path.ancestors().skip(1);
    above.all(|dir| fs::metadata(dir).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0))
}
