//! `dib plan`: every fact of a build before it begins, with the reason or the origin of each.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use diskimage_builder::settings::origins::{ROWS, Source};

use crate::lab::{DIB, Lab};

fn lab() -> Lab {
    let lab = Lab::unprivileged();
    lab.file("os/element-provides", "operating-system\n")
        .file("app/element-deps", "virtual\n")
        .file("provider/element-provides", "virtual\n");
    lab
}

fn planned(lab: &Lab, args: &[&str]) -> Value {
    let said = lab.run(DIB, &[&["plan", "--json"], args].concat()).ok();
    serde_json::from_str(&said.out).unwrap()
}

/// Settings that an option and a variable can decide: name; value by default, if every machine has the same; the variable,
/// what it is set to, the value by that; the option, what is given with it, the value by that. Values in JSON.
type Precedence = (
    &'static str,
    Option<&'static str>,
    [&'static str; 3],
    [&'static str; 3],
);

const EXACT_1: &str = r#"{"rule": "exact", "kib": 1048576}"#;
const EXACT_2: &str = r#"{"rule": "exact", "kib": 2097152}"#;
const EXTRA_10: &str = r#"{"rule": "extra", "mib": 10.0}"#;
const EXTRA_20: &str = r#"{"rule": "extra", "mib": 20.0}"#;
const HEADROOM: Option<&str> = Some(r#"{"rule": "headroom"}"#);
const MEMORY_2: Option<&str> = Some(r#"{"rule": "memory", "kib": 2097152}"#);
const MEMORY_3: &str = r#"{"rule": "memory", "kib": 3145728}"#;
const MEMORY_4: &str = r#"{"rule": "memory", "kib": 4194304}"#;
const NEVER: &str = r#"{"rule": "never"}"#;
const BOTH: &str = r#"["md5", "sha256"]"#;
const NULL: Option<&str> = Some("null");

#[rustfmt::skip]
const PRECEDENCES: [Precedence; 27] = [
    ("arch", None, ["ARCH", "s390x", r#""s390x""#], ["-a", "armhf", r#""armhf""#]),
    ("name", Some(r#""image""#), ["IMAGE_NAME", "v", r#""v""#], ["-o", "f", r#""f""#]),
    ("format_options", NULL, ["QEMU_IMG_OPTIONS", "compat=1.1", r#""compat=1.1""#],
        ["--qemu-img-options", "compat=0.10", r#""compat=0.10""#]),
    ("checksums", Some("[]"), ["DIB_CHECKSUM", "sha256", r#"["sha256"]"#], ["--checksum", "", BOTH]),
    ("base", Some("true"), ["SKIP_BASE", "0", "true"], ["-n", "", "false"]),
    ("trace", Some("0"), ["DIB_DEBUG_TRACE", "0", "0"], ["-x", "", "1"]),
    ("size", HEADROOM, ["DIB_IMAGE_SIZE", "2", EXACT_2], ["--image-size", "1", EXACT_1]),
    ("size", HEADROOM, ["DIB_IMAGE_EXTRA_SIZE", "20", EXTRA_20], ["--image-extra-size", "10", EXTRA_10]),
    ("journal_mib", NULL, ["DIB_JOURNAL_SIZE", "16", "16"], ["--mkfs-journal-size", "8", "8"]),
    ("root_label", Some(r#""cloudimg-rootfs""#), ["ROOT_LABEL", "v", r#""v""#], ["--root-label", "f", r#""f""#]),
    ("max_online_resize", NULL, ["MAX_ONLINE_RESIZE", "2000000", "2000000"],
        ["--max-online-resize", "1000000", "1000000"]),
    ("tmpfs", MEMORY_2, ["DIB_MIN_TMPFS", "4", MEMORY_4], ["--min-tmpfs", "3", MEMORY_3]),
    ("tmpfs", MEMORY_2, ["DIB_NO_TMPFS", "1", NEVER], ["--no-tmpfs", "", NEVER]),
    ("image_cache", None, ["DIB_IMAGE_CACHE", "/var/v", r#""/var/v""#], ["--image-cache", "/var/f", r#""/var/f""#]),
    ("offline", Some("false"), ["DIB_OFFLINE", "1", "true"], ["--offline", "", "true"]),
    ("ramdisk_element", Some(r#""ramdisk""#), ["RAMDISK_ELEMENT", "v", r#""v""#], ["--ramdisk-element", "f", r#""f""#]),
    ("ramdisk_compression", Some(r#""gzip:6""#), ["DIB_RAMDISK_COMPRESSION", "xz", r#""xz:6""#],
        ["--ramdisk-compression", "zstd:19", r#""zstd:19""#]),
    ("install_type", Some(r#""source""#), ["DIB_DEFAULT_INSTALLTYPE", "package", r#""package""#],
        ["--install-type", "repo", r#""repo""#]),
    ("docker_target", NULL, ["DOCKER_TARGET", "v:1", r#""v:1""#], ["--docker-target", "f:1", r#""f:1""#]),
    ("vhd_creator", Some(r#""xen""#), ["DIB_VHD_CREATOR", "azure", r#""azure""#], ["--vhd-creator", "tap", r#""tap""#]),
    ("squashfs_compression", Some(r#""xz""#), ["DIB_SQUASHFS_COMPRESSION", "zstd", r#""zstd""#],
        ["--squashfs-compression", "gzip", r#""gzip""#]),
    ("privileges", NULL, ["DIB_PRIVILEGES", "T1", r#""T1""#], ["--privileges", "T2", r#""T2""#]),
    ("network", Some(r#""host""#), ["DIB_NETWORK", "none", r#""none""#], ["--network", "host", r#""host""#]),
    ("network", Some(r#""host""#), ["DIB_HERMETIC", "1", r#""none""#], ["--hermetic", "", r#""none""#]),
    ("strict", Some("false"), ["DIB_STRICT", "1", "true"], ["--strict", "", "true"]),
    ("sbom", Some("false"), ["DIB_SBOM", "1", "true"], ["--sbom", "", "true"]),
    ("seed", NULL, ["DIB_IMAGE_SEED", "v", r#""v""#], ["--seed", "f", r#""f""#]),
];

#[test]
fn an_option_beats_its_variable_which_beats_the_default() {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    for (setting, default, [variable, set, by_variable], [option, given, by_option]) in PRECEDENCES {
        let mut lab = lab();
        let found = |lab: &Lab, args: &[&str]| {
            let args = args.iter().filter(|word| !word.is_empty()).copied();
            let mut plan = planned(lab, &["os"].into_iter().chain(args).collect::<Vec<_>>());
            plan["settings"][setting].take()
        };
        let by_default = found(&lab, &[]);
        match default {
            Some(known) => assert_eq!(by_default["value"], parse(known), "{setting}"),
            None => assert!(![parse(by_variable), parse(by_option)].contains(&by_default["value"])),
        }
        // Caches are in the caller's home, which a variable tells.
        let by_home = by_default["name"] == "HOME" && setting == "image_cache";
        assert!(by_home || by_default["origin"] == "default", "{by_default}");
        let flag = json!({ "value": parse(by_option), "origin": "flag", "name": option });
        assert_eq!(found(&lab, &[option, given]), flag);
        lab.set(variable, set);
        let environment = json!({ "value": parse(by_variable), "origin": "environment", "name": variable });
        assert_eq!(found(&lab, &[]), environment);
        assert_eq!(found(&lab, &[option, given]), flag, "with {variable} set");
    }
}

/// Options whose value is not that of the variable beside them, which take none, or which need more than a plan has.
const ALONE: [&str; 5] = ["--minimal", "--threads", "--logfile", "ELEMENT", "--docker-load"];

#[test]
fn no_option_that_has_a_variable_is_left_out() {
    let tested: BTreeSet<(&str, &str)> = PRECEDENCES
        .iter()
        .map(|(_, _, [variable, ..], [option, ..])| (*variable, *option))
        .collect();
    let mut pairs = 0;
    for row in ROWS {
        let variables: Vec<&str> = row
            .sources
            .iter()
            .filter_map(|source| match source {
                Source::Variable(name, ..) => Some(*name),
                Source::Flag(..) => None,
            })
            .collect();
        for source in row.sources {
            let Source::Flag(flag, _) = source else { continue };
            if variables.is_empty() || ALONE.contains(flag) {
                continue;
            }
            pairs += 1;
            let covered = variables
                .iter()
                .any(|variable| tested.contains(&(variable, flag)));
            assert!(covered, "{}: {flag} against {variables:?}", row.name);
        }
    }
    assert_eq!(pairs, tested.len());
}

#[test]
fn variables_without_an_option_are_origins_too() {
    for (setting, variable, value, expected) in [
        ("fs_type", "FS_TYPE", "ext3", json!("ext3")),
        ("overwrite", "OVERWRITE_OLD_IMAGE", "1", json!(true)),
        ("tmp_dir", "TMPDIR", "/var/tmp", json!("/var/tmp")),
        ("lockfiles", "DIB_LOCKFILES", "/var/locks", json!("/var/locks")),
        ("ccache", "DIB_CCACHE", "0", json!(null)),
        ("ccache", "DIB_CCACHE_DIR", "/var/cc", json!("/var/cc")),
        ("quiet", "DIB_QUIET", "1", json!(true)),
        ("timestamps", "DIB_NO_TIMESTAMP", "1", json!(false)),
        ("epoch", "SOURCE_DATE_EPOCH", "1700000000", json!(1_700_000_000)),
        (
            "tmpfs",
            "GENTOO_PROFILE",
            "hardened/x",
            json!({ "rule": "never" }),
        ),
    ] {
        let mut lab = lab();
        lab.set(variable, value);
        let plan = planned(&lab, &["os"]);
        let expected = json!({ "value": expected, "origin": "environment", "name": variable });
        assert_eq!(plan["settings"][setting], expected);
    }
    let mut lab = lab();
    lab.set("DIB_IMAGE_SIZE", "5").set("DIB_IMAGE_EXTRA_SIZE", "5");
    let size = |args: &[&str]| planned(&lab, &[&["os"], args].concat())["settings"]["size"].clone();
    assert_eq!(size(&[])["name"], "DIB_IMAGE_SIZE");
    assert_eq!(
        size(&["--image-extra-size", "1"]),
        json!({ "value": { "rule": "extra", "mib": 1.0 }, "origin": "flag", "name": "--image-extra-size" })
    );
    assert_eq!(
        size(&["--image-extra-size", "1", "--image-size", "2"])["name"],
        "--image-size"
    );
    lab.set("DIB_NO_TMPFS", "0").set("DIB_DEBUG_TRACE", "2");
    // The one option that does not replace what its variable says.
    assert_eq!(planned(&lab, &["-xx", "os"])["settings"]["trace"]["value"], 4);
    let plan = planned(
        &lab,
        &["--logfile", "log", "--mkfs-options", "-L mine", "-t", "raw", "os"],
    );
    let settings = &plan["settings"];
    assert_eq!(settings["tmpfs"]["origin"], "default");
    assert_eq!(
        settings["quiet"],
        json!({ "value": true, "origin": "flag", "name": "--logfile" })
    );
    assert_eq!(
        settings["root_label"],
        json!({ "value": "mine", "origin": "flag", "name": "--mkfs-options" })
    );
    assert_eq!(
        settings["types"],
        json!({ "value": ["raw"], "origin": "flag", "name": "-t" })
    );
    assert_eq!(
        settings["compress"],
        json!({ "value": true, "origin": "default" })
    );
}

#[test]
fn a_plan_gives_the_reasons_of_every_element() {
    let mut lab = lab();
    lab.set("IMAGE_ELEMENT", "provider");
    lab.file("vm/element-deps", "block-device\n")
        .file("block-device-mbr/element-provides", "block-device\n");
    let plan = planned(&lab, &["-n", "-a", "amd64", "os", "app", "vm"]);
    let reasons: Vec<(&str, &Value)> = plan["elements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|element| (element["name"].as_str().unwrap(), &element["reasons"]))
        .collect();
    let expected = [
        (
            "provider",
            json!([{ "reason": "image-element" }, { "reason": "provides", "what": "virtual", "needed_by": "app" }]),
        ),
        ("os", json!([{ "reason": "command-line" }])),
        ("app", json!([{ "reason": "command-line" }])),
        ("vm", json!([{ "reason": "command-line" }])),
        (
            "block-device-mbr",
            json!([{ "reason": "for-vm" }, { "reason": "provides", "what": "block-device", "needed_by": "vm" }]),
        ),
    ];
    assert_eq!(reasons.len(), expected.len());
    for ((name, found), (expected_name, expected)) in reasons.iter().zip(&expected) {
        assert_eq!((name, *found), (expected_name, expected));
    }
    let with_base = planned(&lab, &["os"]);
    let base = &with_base["elements"][0];
    assert_eq!(
        (&base["name"], &base["place"]),
        (&json!("base"), &json!("this program"))
    );
    assert_eq!(base["reasons"], json!([{ "reason": "base" }]));
    let dpkg = with_base["elements"].as_array().unwrap().iter();
    let needed = dpkg.filter(|element| element["reasons"][0]["reason"] == "dependency");
    assert!(needed.count() > 0, "{with_base}");
}

/// A lab with a file of every sort that a plan lists, and the arguments of its plan.
fn varied() -> (Lab, [&'static str; 8]) {
    let lab = lab();
    lab.file("app/install.d/10-b", "#!/bin/sh\n")
        .file("app/environment.d/10-x", "")
        .file("provider/environment.d/9-x", "")
        .file("provider/install.d/9-a", "#!/bin/sh\n")
        .file("provider/install.d/x.sh", "#!/bin/sh\n")
        .file("provider/finalise.d/01-not-run", "")
        .file("provider/pre-instal.d/01-x", "#!/bin/sh\n")
        .file(
            "app/package-installs.yaml",
            "vim:\n  arch: arm64\ngit:\n  phase: post-install.d\n  when: DISTRO_NAME = debian\n",
        );
    (lab, ["-n", "-a", "amd64", "-p", "nano", "os", "app", "provider"])
}

#[test]
fn a_plan_lists_hooks_snippets_packages_and_what_is_ignored() {
    let (lab, args) = varied();
    let plan = planned(&lab, &args);
    let place = |path: &str| lab.dir().join("elements").join(path).display().to_string();
    let hook = |hook: &str, element: &str, path: &str| json!({ "hook": hook, "element": element, "path": place(path) });
    let vim = json!({
        "package": "vim", "element": "app", "phase": "install.d", "action": "install",
        "conditions": { "arch": "arm64" }, "applies": false, "decided_by": [],
    });
    let git = json!({
        "package": "git", "element": "app", "phase": "post-install.d", "action": "install",
        "conditions": { "when": "DISTRO_NAME = debian" }, "applies": null, "decided_by": ["DISTRO_NAME"],
    });
    let phase = |name: &str| {
        let mut phases = plan["phases"].as_array().unwrap().iter();
        phases.find(|phase| phase["phase"] == name).unwrap()
    };
    assert_eq!(
        phase("install.d"),
        &json!({
            "phase": "install.d", "place": "chroot", "packages": [vim],
            "hooks": [
                hook("9-a", "provider", "provider/install.d/9-a"),
                hook("10-b", "app", "app/install.d/10-b"),
            ],
        })
    );
    assert_eq!(phase("post-install.d")["packages"], json!([git]));
    assert_eq!(phase("cleanup.d")["place"], "host");
    assert_eq!(plan["packages"], json!(["nano"]));
    let snippet = |snippet: &str, element: &str, path: &str| json!({ "snippet": snippet, "element": element, "path": place(path) });
    assert_eq!(
        plan["environment_d"],
        json!([
            snippet("10-x", "app", "app/environment.d/10-x"),
            snippet("9-x", "provider", "provider/environment.d/9-x"),
        ])
    );
    let ignored = |path: &str, reason: &str| json!({ "element": "provider", "path": path, "reason": reason });
    assert_eq!(
        plan["ignored"],
        json!([
            ignored("finalise.d/01-not-run", "not executable"),
            ignored(
                "install.d/x.sh",
                "its name is no hook's: those are made of letters, digits, _ and -"
            ),
            ignored(
                "pre-instal.d",
                "no phase, so never run; did you mean pre-install.d?"
            ),
        ])
    );
    assert_eq!(plan["outputs"], json!(["image.qcow2"]));
}

#[test]
fn a_plan_as_text_tells_the_same_briefly() {
    let (lab, args) = varied();
    let text = lab.run(DIB, &[&["plan"], &args[..]].concat()).ok().out;
    for line in [
        "    arch                 amd64                            option -a\n",
        "    fs_type              ext4                             default\n",
        "install.d  (chroot)\n    9-a ",
        "packages  (chroot)\n    nano\n",
        "    install git                      app                  package  if DISTRO_NAME says so\n",
        "ignored\n    finalise.d/01-not-run            provider             not executable\n",
        "outputs\n    image.qcow2\n",
    ] {
        assert!(text.contains(line), "no '{line}' in {text}");
    }
    assert!(!text.contains("install vim"), "{text}");
}

#[test]
fn a_plan_says_what_would_be_fetched() {
    let mut lab = lab();
    lab.file("source-repositories/README.md", "")
        .file(
            "app/source-repository-app",
            "# the program\napp git /opt/app https://example.org/a/app.git\n\
             data tar /opt/data $DATA_URL .\n\
             doc file /opt/doc ${DOC_URL:-https://example.org/doc}\n\
             tool package /opt/tool https://example.org/tool\n\
             broken git\n",
        )
        .file("provider/element-provides", "virtual\n");
    let cache = lab.out("cache");
    let name = "doc_eb5563426895edc3d07f12f602ace768408f9ea1";
    std::fs::create_dir_all(cache.join("source-repositories").join(name)).unwrap();
    lab.set("DIB_IMAGE_CACHE", cache.to_str().unwrap())
        .set("DIB_GITREPOBASE", "https://mirror.example.org")
        .set("DIB_REPOREF_app", "v2")
        .set("DIB_DISTRIBUTION_MIRROR", "http://debian.example.org/debian");
    let args = ["-n", "os", "app", "provider", "source-repositories"];
    let plan = planned(&lab, &args);
    let fetches = plan["fetches"].as_array().unwrap();
    assert_eq!(
        fetches[0],
        json!({
            "kind": "mirror", "name": "packages", "element": "os", "from": null, "destination": null,
            "location": "http://debian.example.org/debian", "reference": null,
            "overridden_by": ["DIB_DISTRIBUTION_MIRROR"], "fetched": true, "note": null, "cached": null,
        })
    );
    assert_eq!(
        fetches[1],
        json!({
            "kind": "git", "name": "app", "element": "app", "from": "source-repository-app:2",
            "destination": "/opt/app", "location": "https://mirror.example.org/a/app.git", "reference": "v2",
            "overridden_by": ["DIB_GITREPOBASE", "DIB_REPOREF_app"], "fetched": true, "note": null, "cached": false,
        })
    );
    assert_eq!(
        fetches[2],
        json!({
            "kind": "tar", "name": "data", "element": "app", "from": "source-repository-app:3",
            "destination": null, "location": "data tar /opt/data $DATA_URL .", "reference": null,
            "overridden_by": [], "fetched": true, "note": "variable DATA_URL is not set", "cached": null,
        })
    );
    assert_eq!(
        (&fetches[3]["name"], &fetches[3]["cached"]),
        (&json!("doc"), &json!(true))
    );
    assert_eq!(
        (&fetches[4]["name"], &fetches[4]["fetched"]),
        (&json!("tool"), &json!(false))
    );
    assert_eq!(
        fetches[5]["note"],
        "expected NAME TYPE DESTINATION LOCATION [REF], found 2 words"
    );
    let text = lab.run(DIB, &[&["plan"], &args[..]].concat()).ok().out;
    let line = "    git app                          app                  https://mirror.example.org/a/app.git v2 -> /opt/app  \
                (by DIB_GITREPOBASE; by DIB_REPOREF_app)\n";
    assert!(text.contains(line), "{text}");
    lab.set("DIB_INSTALLTYPE_app", "package");
    assert_eq!(planned(&lab, &args)["fetches"][1]["fetched"], false);
    let without = planned(&lab, &args[..4]);
    assert_eq!(without["fetches"][1]["fetched"], false);
    assert_eq!(
        without["fetches"][1]["note"],
        "element source-repositories is no part of the build"
    );
}

#[test]
fn the_json_of_a_plan_has_a_documented_version() {
    let plan = planned(&lab(), &["os"]);
    assert_eq!(plan["version"], 1);
    let help = lab().run(DIB, &["plan", "--help"]).ok().out;
    let (_, schema) = help.split_once("JSON, version 1:\n").unwrap();
    for field in plan.as_object().unwrap().keys() {
        assert!(
            schema.contains(&format!("  {field} ")),
            "{field} is not documented"
        );
    }
}

/// A kernel for each architecture that Debian has one of, and none twice.
#[test]
fn debian_brings_the_kernel_of_its_architecture() {
    let lab = Lab::unprivileged();
    let plan = lab.run(DIB, &["plan", "--json", "debian-minimal"]).ok();
    let plan: serde_json::Value = serde_json::from_str(&plan.out).unwrap();
    let mut kernels = Vec::new();
    let mut open = vec![&plan];
    while let Some(value) = open.pop() {
        if let Some(name) = value["package"]
            .as_str()
            .filter(|name| name.starts_with("linux-image-"))
        {
            let condition = |key: &str| value["conditions"][key].to_string().replace(['"', '[', ']'], "");
            kernels.push(format!("{} {} {name}", condition("arch"), condition("when")));
        }
        open.extend(value.as_array().into_iter().flatten());
        open.extend(value.as_object().into_iter().flat_map(serde_json::Map::values));
    }
    kernels.sort();
    assert_eq!(
        kernels,
        [
            "amd64 null linux-image-amd64",
            "arm64 null linux-image-arm64",
            "armhf null linux-image-armmp",
            "i386 DIB_RELEASE = bookworm linux-image-686-pae",
            "ppc64el null linux-image-powerpc64le",
        ]
    );
}
