//! What a build starts on its host: bash and hooks, and nothing else of its own accord. What hooks call is their business.
//!
//! strace is the judge: no PATH, no whole path and no shell hides a program from it.

use oracle::trace::{self, Start};

use crate::lab::{DISK_IMAGE_CREATE, Lab};

/// The programs that the builder itself started on its host.
fn of_its_own(starts: &[Start]) -> Vec<&str> {
    let own = |start: &&Start| start.by.ends_with("/disk-image-create") && !start.elsewhere;
    starts
        .iter()
        .filter(own)
        .map(|start| start.program.as_str())
        .collect()
}

#[test]
fn a_build_starts_bash_and_hooks_and_nothing_else() {
    let Some(lab) = Lab::new() else { return };
    if !oracle::require(&["strace"]) {
        return;
    }
    lab.file("probe/environment.d/10-set.bash", "export PROBE=set\n");
    lab.hook("root.d/50-host", "chroot \"$TARGET_ROOT\" /bin/sleep 0")
        .hook("install.d/50-chroot", "sleep 0")
        .hook("cleanup.d/50-host", "uname >/dev/null");
    let file = lab.dir().join("trace");
    let mut words = trace::words(&file);
    words.push(DISK_IMAGE_CREATE.to_owned());
    words.extend(["-n", "-t", "raw,qcow2", "-o", "x", "mini-os", "probe"].map(str::to_owned));
    let args: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    lab.run(&words[0], &args).ok();
    let starts = trace::read(&file);
    let hooks = lab.dir().join("tmp").display().to_string() + "/dib_build.";
    let own = of_its_own(&starts);
    assert!(
        own.iter().any(|program| program.ends_with("/root.d/50-host")),
        "{own:?}"
    );
    assert!(
        own.iter().any(|program| program.ends_with("/cleanup.d/50-host")),
        "{own:?}"
    );
    for program in own {
        // bash reads what elements set in their environment.d.
        let is_bash = program.ends_with("/bash");
        assert!(
            is_bash || program.starts_with(&hooks) && program.contains("/hooks/"),
            "{program}"
        );
    }
    // The judge sees what hooks start, and tells the chroot's programs from the host's.
    let saw = |name: &str, elsewhere: bool| {
        let named = |start: &&Start| start.program.ends_with(name) && start.elsewhere == elsewhere;
        starts.iter().filter(named).count()
    };
    assert_eq!((saw("/uname", false), saw("/uname", true)), (1, 0));
    assert_eq!((saw("/sleep", false), saw("/sleep", true)), (0, 2));
}
