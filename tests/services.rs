//! Elements of the library: what they write into an image, on a toy root, with fakes for the tools of a distribution.
//!
//! Real packages, and machines that boot, are the business of `debian.rs` and of the elements' own `test-elements`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::lab::{Lab, Said};

mod boot;
mod configuration;
mod operation;
mod packages;
mod python;

/// Notes down, line by line, what is called, and does nothing.
const FAKE: &str = "#!/bin/sh\necho \"${0##*/} $*\" >>/calls\n";

/// Makes users as the real one does, as far as hooks look.
const USERADD: &str = "#!/bin/bash
set -eu
echo \"useradd $*\" >>/calls
name=${*: -1}
mkdir -p \"/home/$name\"
echo \"$name:x:1234:1235::/home/$name:/bin/sh\" >>/etc/passwd
";

/// A lab whose image is a Debian by name. Packages are installed by writing them down.
fn lab() -> Option<Lab> {
    let mut lab = Lab::new()?;
    lab.set("DISTRO_NAME", "debian")
        .set("DIB_RELEASE", "bookworm")
        .set("DIB_INIT_SYSTEM", "systemd")
        .set("YUM", "yum");
    lab.file("probe/element-deps", "install-bin\n");
    for name in ["install-packages", "chpasswd", "systemctl", "usermod"] {
        lab.file(&format!("probe/bin/{name}"), FAKE);
    }
    lab.file("probe/bin/useradd", USERADD);
    lab.hook("root.d/40-tools", "cp -L $(type -P tail test) $TARGET_ROOT/bin");
    // What of the tree a test looks at: files, their modes, and what was called.
    lab.hook(
        "cleanup.d/90-show",
        "cd \"$TARGET_ROOT\"; out=$OLDPWD
        [ ! -e calls ] || cp calls \"$out/\"
        for path in $SHOW; do
            [ ! -e \"$path\" ] || cp -RP --parents \"$path\" \"$out/\"
            find \"$path\" -printf '%m %U:%G %p\\n' 2>/dev/null | sort
        done >\"$out/modes\"",
    );
    lab.set("SHOW", "etc");
    Some(lab)
}

/// What may be said though all is well: by hooks, what was not asked of them, and whence sources come; by the builder, that
/// one takes its time.
const SAID: [&str; 4] = [
    "is not set: ",
    "there is neither a key nor a password",
    "source-repositories: ",
    "still running: ",
];

/// Builds with elements of the library beside the probe: their hooks, whose tools have nothing to say here, have nothing to
/// say either.
#[track_caller]
fn build(lab: &Lab, elements: &[&str]) -> Said {
    let said = lab.build(&[&["no-final-image", "mini-os", "probe"], elements].concat());
    let spoke = spoke(&said.out);
    assert!(said.status != 0 || spoke.is_empty(), "{}", spoke.join("\n"));
    said
}

/// `PHASE/HOOK: LINE` of each line that a hook of the library wrote into a log.
fn spoke(log: &str) -> Vec<String> {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("elements");
    let elements = fs::read_dir(library).unwrap();
    let elements: Vec<PathBuf> = elements.map(|entry| entry.unwrap().path()).collect();
    let mut running = None;
    let mut spoke = Vec::new();
    for line in log.lines() {
        if let Some((_, path)) = line.split_once(" Running ") {
            let mut parts = path.rsplit('/');
            let hook = parts
                .next()
                .zip(parts.next())
                .map(|(hook, phase)| format!("{phase}/{hook}"));
            running = hook.filter(|hook| elements.iter().any(|element| element.join(hook).is_file()));
        } else if line.ends_with(" completed") {
            running = None;
        } else if let Some(hook) = &running
            && !SAID.iter().any(|known| line.contains(known))
        {
            spoke.push(format!("{hook}: {line}"));
        }
    }
    spoke
}

/// Writes a file in the home of who builds.
fn home(lab: &Lab, path: &str, text: &str) {
    let path = lab.dir().join("home").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Whether the image has a file of that mode and owner.
#[track_caller]
fn has(lab: &Lab, line: &str) {
    let modes = lab.text("modes");
    assert!(
        modes.lines().any(|known| known == line),
        "no '{line}' in\n{modes}"
    );
}
