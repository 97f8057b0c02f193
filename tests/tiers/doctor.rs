//! `dib doctor`, and tiers that are forced.

use std::process::Command;

use crate::lab::Lab;
use crate::rung::{Rung, Stairs};

/// What `dib doctor --json` says of a tier, by a foreign reader of JSON.
fn works(json: &str, tier: &str) -> bool {
    let mark = format!("\"tier\": \"{tier}\"");
    let (_, rest) = json
        .split_once(&mark)
        .unwrap_or_else(|| panic!("no {tier} in {json}"));
    rest.split_once("\"works\": ").unwrap().1.starts_with("true")
}

#[test]
fn every_tier_is_explained() {
    for (rung, expected) in [
        (Rung::T0, [true, true, true]),
        (Rung::T1, [false, true, true]),
        (Rung::T2, [false, false, true]),
    ] {
        let Some(stairs) = Stairs::new(rung) else { continue };
        let json = stairs.run(&["doctor", "--json"]).ok().out;
        // Whether root may make a user namespace of its own, too, is the machine's affair.
        let known = if rung == Rung::T2 { 3 } else { 2 };
        for (tier, works_there) in ["T0", "T1", "T2"].iter().zip(expected).take(known) {
            assert_eq!(works(&json, tier), works_there, "{rung:?} {tier}: {json}");
        }
        assert!(json.contains(&format!("\"chosen\": \"{rung:?}\"")), "{json}");
        let text = stairs.run(&["doctor"]).ok().out;
        assert!(text.contains(&format!("A build takes {rung:?};")), "{text}");
        assert!(text.contains(&format!("{rung:?}  works: ")), "{text}");
    }
}

#[test]
fn the_report_is_json() {
    if !oracle::require(&["python3"]) {
        return;
    }
    let Some(stairs) = Stairs::new(Rung::T0) else {
        return;
    };
    std::fs::write(
        stairs.lab.out("report"),
        stairs.run(&["doctor", "--json"]).ok().out,
    )
    .unwrap();
    let script = "import json, sys; d = json.load(open(sys.argv[1])); \
                  assert [t['tier'] for t in d['tiers']] == ['T0', 'T1', 'T2'] and d['directory']['path']";
    let status = Command::new("python3")
        .arg("-c")
        .arg(script)
        .arg(stairs.lab.out("report"))
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn what_a_user_lacks_is_named_with_its_remedy() {
    let Some(stairs) = Stairs::new(Rung::T2) else {
        return;
    };
    stairs.revoke_ids();
    let said = stairs.run(&["doctor"]).failed(1, "this host allows no build");
    for what in [
        "T0  impossible: root with the right to mount\n      not root\n",
        "/etc/subuid grants this user no ids\n        as root, add this line to it: dibtest:2000065536:65536\n",
        "/etc/subgid grants this user no ids\n",
    ] {
        assert!(said.out.contains(what), "no '{what}' in {}", said.out);
    }
    let said = stairs
        .run(&["build", "-n", "mini-os"])
        .failed(1, "this host allows no build");
    assert!(
        said.err
            .contains("T2: /etc/subuid grants this user no ids; as root"),
        "{}",
        said.err
    );
    assert!(said.err.contains("'dib assemble' needs none"), "{}", said.err);
}

#[test]
fn a_directory_without_programs_or_devices_is_a_place_for_builds_that_mount_only() {
    let Some(lab) = Lab::new() else { return };
    lab.file("no-final-image/README.md", "");
    let tmp = lab.dir().join("tmp").display().to_string();
    let build = |tier, option| {
        let mount = format!("mount -t tmpfs -o {option} x {tmp}");
        let args = ["--privileges", tier, "--no-tmpfs", "no-final-image", "mini-os"];
        lab.build_between(&mount, &args, "")
    };
    let noexec =
        format!("{tmp} is mounted noexec; name another directory in TMP_DIR, or mount -o remount,exec it");
    for (tier, option, why) in [
        ("T1", "noexec", &*noexec),
        ("T2", "noexec", &*noexec),
        ("T1", "nodev", "whose file system allows device nodes"),
    ] {
        let said = build(tier, option).failed(1, &format!("tier {tier} is impossible here"));
        assert!(said.err.contains(why), "{}", said.err);
    }
    for option in ["noexec", "nodev"] {
        build("T0", option).ok();
    }
    build("T2", "nodev").ok();
}

#[test]
fn what_hooks_shall_not_change_is_mounted_read_only() {
    for rung in [Rung::T0, Rung::T2] {
        let Some(stairs) = Stairs::new(rung) else { continue };
        stairs.lab.file("no-final-image/README.md", "");
        stairs.lab.hook(
            "install.d/50-look",
            "for point in /sys /tmp/in_target.d; do
                 grep -q \"^[^ ]* $point [^ ]* ro,\" /proc/mounts
                 ! touch $point/by-a-hook 2> /dev/null
             done",
        );
        stairs.build(&["no-final-image", "mini-os", "probe"]).ok();
    }
}

#[test]
fn a_tier_is_forced_or_said_to_be_impossible() {
    let Some(stairs) = Stairs::new(Rung::T0) else {
        return;
    };
    stairs.lab.file("no-final-image/README.md", "");
    let script = "[ $DIB_PRIVILEGES = T1 ]; ! mount -t tmpfs x $TARGET_ROOT/mnt";
    stairs.lab.hook("root.d/50-tier", script);
    let args = ["no-final-image", "mini-os", "probe"];
    let said = stairs.build(&[&["--privileges", "T1"], &args[..]].concat()).ok();
    assert!(said.out.contains("Privileges: T1, "), "{}", said.out);
    stairs.build(&args).failed(1, "50-tier");
    stairs
        .build(&[&["--privileges", "T3"], &args[..]].concat())
        .failed(1, "--privileges: there is no tier 'T3'");
    let Some(stairs) = Stairs::new(Rung::T1) else {
        return;
    };
    stairs.build(&["--privileges", "T0", "mini-os"]).failed(
        1,
        "tier T0 is impossible here\nhint: T0: root lacks CAP_SYS_ADMIN",
    );
}

#[test]
fn assembling_needs_no_tier() {
    let Some(stairs) = Stairs::new(Rung::T2) else {
        return;
    };
    stairs.revoke_ids();
    std::fs::create_dir_all(stairs.lab.out("tree/etc")).unwrap();
    stairs.run(&["assemble", "tree", "-o", "x", "-t", "raw"]).ok();
    assert!(stairs.lab.out("x.raw").is_file());
}
