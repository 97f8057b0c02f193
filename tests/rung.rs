//! A lab in a tier of privileges.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub(crate) use oracle::rung::{Rung, USER};

use crate::lab::{DIB, Lab, Said};

/// A lab in which programs run in a tier.
pub(crate) struct Stairs {
    pub(crate) lab: Lab,
    rung: Rung,
    program: String,
}

impl Stairs {
    /// One, or `None` where the tier cannot be had.
    pub(crate) fn new(rung: Rung) -> Option<Self> {
        if !rung.require() {
            return None;
        }
        let mut lab = Lab::new()?;
        let mut program = DIB.to_owned();
        if rung.is_of_a_user() {
            let home = lab.dir().join("home");
            fs::create_dir_all(&home).unwrap();
            fs::set_permissions(lab.dir(), fs::Permissions::from_mode(0o755)).unwrap();
            for dir in ["out", "tmp", "home"] {
                chown(lab.dir().join(dir), Some(USER), Some(USER)).unwrap();
            }
            rung.prepare(&lab.dir().join("etc"));
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

    /// What runs a program in the tier.
    fn command(&self, program: &str, args: &[&str]) -> Command {
        let words = self.rung.words(&self.lab.dir().join("etc"));
        let words: Vec<&str> = words.iter().map(String::as_str).chain([program]).collect();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(args)
            .env_clear()
            .envs(self.lab.environment())
            .current_dir(self.lab.out(""))
            .stdin(Stdio::null());
        command
    }

    /// Runs `dib` to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.run_program(&self.program, args)
    }

    /// Runs a program to its end.
    pub(crate) fn run_program(&self, program: &str, args: &[&str]) -> Said {
        let output = self.command(program, args).output().unwrap();
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

    /// Takes the subordinate ids from the user.
    pub(crate) fn revoke_ids(&self) {
        for name in ["subuid", "subgid"] {
            fs::write(self.lab.dir().join("etc").join(name), "other:2000000000:65536\n").unwrap();
        }
    }

    /// Starts `dib`, whose output nobody wants.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        let mut command = self.command(&self.program, args);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
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
