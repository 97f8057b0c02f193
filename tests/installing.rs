//! What elements bring to be installed: maps of names, package lists, files, commands; and the POSIX scripts that stay in
//! images, in every shell that an image may have.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use oracle::{find, require};

use crate::lab::{DIB, Lab, Said};

const ELEMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/elements");

/// The shells that are here, as `(program, arguments)`.
fn shells() -> Vec<(String, Vec<&'static str>)> {
    let known = [
        ("dash", vec![]),
        ("busybox", vec!["sh"]),
        ("bash", vec!["--posix"]),
    ];
    let here = known.into_iter().filter(|(shell, _)| require(&[shell]));
    here.map(|(shell, words)| (find(shell).unwrap().display().to_string(), words))
        .collect()
}

/// A program under another of its names.
fn applet(lab: &Lab, name: &str) -> String {
    let link = lab.dir().join(name);
    if !link.exists() {
        symlink(DIB, &link).unwrap();
    }
    link.display().to_string()
}

/// A directory of commands: those named of the host, and shell scripts of the test.
fn commands(lab: &Lab, host: &[&str], own: &[(&str, &str)]) -> String {
    let bin = lab.dir().join("bin");
    fs::create_dir_all(&bin).unwrap();
    for name in host {
        symlink(find(name).unwrap(), bin.join(name)).unwrap();
    }
    for (name, text) in own {
        let path = bin.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    bin.display().to_string()
}

const MAP: &str = r#"{
    "release": { "debian": { "trixie": { "dhcp": "dhcpcd-base" } }, "centos": { "8": { "dhcp": "old" } } },
    "distro": { "debian": { "dhcp": "isc-dhcp-client", "both": "one  two", "star": "*" } },
    "family": { "debian": { "dhcp": "dhclient", "gone": "" }, "redhat": { "both": "rpm" } },
    "default": { "dhcp": "dhcp-client", "gone": "gone" }
}"#;

/// What pkg-map is asked, rightly and wrongly.
const QUESTIONS: [&[&str]; 16] = [
    &["--element", "net", "dhcp"],
    &[
        "--element=net",
        "--distro",
        "debian",
        "--release=bookworm",
        "dhcp",
        "both",
        "gone",
    ],
    &["--element", "net", "--distro", "ubuntu", "dhcp", "gone"],
    &["--element", "net", "--distro", "fedora", "dhcp", "both", "gone"],
    &[
        "--element",
        "net",
        "--distro",
        "centos",
        "--release",
        "8-stream",
        "dhcp",
    ],
    &[
        "--element",
        "net",
        "--distro",
        "centos",
        "--release",
        "9-stream",
        "dhcp",
    ],
    &["--element", "net", "--distro", "gentoo", "dhcp"],
    &["--element", "net", "star"],
    &["--element", "net", "unknown"],
    &["--element", "net", "--missing-ok", "unknown", "dhcp"],
    &["--element", "net", "--missing-ok", "--", "-odd"],
    &["--element", "absent", "dhcp"],
    &["--element", "absent", "--missing-ok", "dhcp"],
    &["--element", "net"],
    &["dhcp"],
    &["--element", "net", "--unknown-option", "dhcp"],
];

#[test]
fn package_names_are_the_same_with_and_without_the_builder() {
    let mut lab = Lab::unprivileged();
    lab.file("net/pkg-map", MAP)
        .file("broken/pkg-map", "{")
        .file("other/README.md", "");
    let element = |name: &str| format!("{name}: {}\n", lab.dir().join("elements").join(name).display());
    let published = ["broken", "net", "other"].map(element).concat();
    let tree = lab.out("");
    lab.set("IMAGE_ELEMENT_YAML", &published)
        .set("TMP_MOUNT_PATH", tree.to_str().unwrap())
        .set("DISTRO_NAME", "debian")
        .set("DIB_RELEASE", "trixie");
    let said = lab.run(&applet(&lab, "pkg-map-install"), &[]).ok();
    assert!(said.err.contains("broken/pkg-map: EOF"), "{}", said.err);
    let maps = tree.join("usr/share/pkg-map");
    assert_eq!(fs::read_to_string(maps.join("net")).unwrap(), MAP);
    assert_eq!(
        fs::read_to_string(maps.join(".distribution")).unwrap(),
        "debian trixie\n"
    );

    let script = format!("{ELEMENTS}/pkg-map/bin/pkg-map");
    let applet = applet(&lab, "pkg-map");
    let prefix = tree.display().to_string();
    for words in QUESTIONS {
        let words = [&["--prefix", &prefix], words].concat();
        let by_builder = lab.run(&applet, &words);
        for (shell, options) in shells() {
            let by_script = lab.run(&shell, &[&options[..], &[&script], &words].concat());
            assert_eq!(
                by_builder.out, by_script.out,
                "{shell} {words:?}: {}",
                by_script.err
            );
            assert_eq!(
                by_builder.status, by_script.status,
                "{shell} {words:?}: {}",
                by_script.err
            );
        }
    }
    // The finished image knows no variables of the build.
    lab.set("DISTRO_NAME", "").set("DIB_RELEASE", "");
    for (shell, options) in shells() {
        let words = ["--prefix", &prefix, "--element", "net", "dhcp"];
        let said = lab.run(&shell, &[&options[..], &[&script], &words].concat()).ok();
        assert_eq!(said.out, "dhcpcd-base\n");
    }
}

#[test]
fn services_have_the_name_that_there_is() {
    let lab = Lab::unprivileged();
    let image = lab.dir().join("image").display().to_string();
    for name in ["usr/share/svc-map", "lib/systemd/system", "etc/init"] {
        fs::create_dir_all(lab.dir().join("image").join(name)).unwrap();
    }
    let put = |name: &str, text: &str| fs::write(lab.dir().join("image").join(name), text).unwrap();
    put(
        "usr/share/svc-map/services",
        "nova-api: openstack-nova-api\nunit: other\njob: other\n",
    );
    put("lib/systemd/system/unit.service", "");
    put("etc/init/job.conf", "");
    let text = fs::read_to_string(format!("{ELEMENTS}/svc-map/bin/svc-map")).unwrap();
    let moved = ["/usr/share", "/etc/systemd", "/usr/lib", "/etc/init"];
    let text = moved.iter().fold(
        text.replace(" /lib/", &format!(" {image}/lib/")),
        |text, place| text.replace(place, &format!("{image}{place}")),
    );
    fs::write(lab.out("svc-map"), text).unwrap();
    for (shell, options) in shells() {
        let words = ["svc-map", "nova-api", "unit", "job", "else", "nova-*"];
        let said = lab.run(&shell, &[&options[..], &words].concat()).ok();
        assert_eq!(
            said.out, "openstack-nova-api\nunit\njob\nelse\nnova-*\n",
            "{shell}"
        );
    }
}

/// Runs a script of the elements in a shell, with the commands of a directory.
fn script(lab: &mut Lab, bin: &str, shell: &(String, Vec<&'static str>), path: &str, words: &[&str]) -> Said {
    lab.set("PATH", bin);
    let path = format!("{ELEMENTS}/{path}");
    lab.run(&shell.0, &[&shell.1[..], &[&path], words].concat())
}

#[test]
fn package_lists_are_installed_in_every_shell() {
    for shell in shells() {
        let mut lab = Lab::unprivileged();
        let map = "#!/bin/sh\nfor word; do last=$word; done\n[ $last = gone ] || echo $3-$last\n";
        let bin = commands(
            &lab,
            &["dirname"],
            &[("install-packages", "#!/bin/sh\necho \"$@\"\n"), ("pkg-map", map)],
        );
        fs::write(
            lab.out("package-installs-a"),
            "# no\none\n\n  two  # why\n-three\nfour",
        )
        .unwrap();
        fs::write(lab.out("package-installs-b"), "-five\n").unwrap();
        let said = script(
            &mut lab,
            &bin,
            &shell,
            "package-installs/bin/package-installs",
            &["-d", "."],
        )
        .ok();
        assert_eq!(said.out, "-m a one two four\n");
        let said = script(
            &mut lab,
            &bin,
            &shell,
            "package-installs/bin/package-uninstalls",
            &["-d", "."],
        )
        .ok();
        assert_eq!(said.out, "-e -m a three\n-e -m b five\n");
        script(
            &mut lab,
            &bin,
            &shell,
            "package-installs/bin/package-installs",
            &[],
        )
        .failed(1, "Usage");

        let squashed = "{\n  \"install.d\": {\n    \"install\": [\n      [\n        \"x\",\n        \"net\"\n      ],\n      [\n        \
            \"gone\",\n        \"net\"\n      ]\n    ],\n    \"uninstall\": [\n      [\n        \"y\",\n        \"net\"\n      ]\n    ]\n  },\n  \
            \"post-install.d\": {\n    \"install\": [\n      [\n        \"z\",\n        \"app\"\n      ]\n    ],\n    \"uninstall\": []\n  }\n}\n";
        fs::write(lab.out("list.json"), squashed).unwrap();
        let v2 = "package-installs/bin/package-installs-v2";
        for (words, out) in [
            (&["--phase", "install.d", "list.json"][..], "net-x\n"),
            (
                &["--phase", "install.d", "--uninstall", "list.json"],
                "-e net-y\n",
            ),
            (
                &["--phase=post-install.d", "-n", "list.json"],
                "install-packages app-z\n",
            ),
            (&["--phase", "post-install.d", "--uninstall", "list.json"], ""),
            (&["--phase", "pre-install.d", "list.json"], ""),
        ] {
            let said = script(&mut lab, &bin, &shell, v2, words).ok();
            assert_eq!(said.out, out, "{shell:?} {words:?}");
        }
        script(&mut lab, &bin, &shell, v2, &["list.json"]).failed(1, "Usage");
        // With the builder there it is the builder that translates.
        let applets = lab.dir().join("hooks/.applets");
        fs::create_dir_all(&applets).unwrap();
        symlink(DIB, applets.join("package-installs-list")).unwrap();
        let hooks = lab.dir().join("hooks").display().to_string();
        lab.set("TMP_HOOKS_PATH", &hooks);
        let said = script(&mut lab, &bin, &shell, v2, &["--phase", "install.d", "list.json"]).ok();
        assert_eq!(said.out, "gone x\n");
    }
}

#[test]
fn packages_are_installed_by_apt_in_every_shell() {
    for shell in shells() {
        let mut lab = Lab::unprivileged();
        let bin = commands(
            &lab,
            &["cat"],
            &[
                ("apt-get", "#!/bin/sh\nshift 5\necho \"$DEBIAN_FRONTEND:$*\"\n"),
                (
                    "pkg-map",
                    "#!/bin/sh\nshift 4\nfor name; do [ $name = gone ] || echo \"$name-1\"; done\n",
                ),
            ],
        );
        let install = "dpkg/bin/install-packages";
        for (words, out) in [
            (&["a", "b"][..], "noninteractive:install a b\n"),
            (&["-e", "a"], "noninteractive:remove a\n"),
            (&["-u"], "noninteractive:dist-upgrade\n"),
            (
                &["-m", "net", "a", "gone", "b"],
                "noninteractive:install a-1 b-1\n",
            ),
            (&["-m", "net", "gone"], "install-packages: nothing to install\n"),
            (&["", "a", ""], "noninteractive:install a\n"),
            (&[], "install-packages: nothing to install\n"),
        ] {
            let said = script(&mut lab, &bin, &shell, install, words).ok();
            assert_eq!(said.out, out, "{shell:?} {words:?}");
        }
        script(&mut lab, &bin, &shell, install, &["-x"]).failed(1, "Usage");
        script(&mut lab, &bin, &shell, install, &["-h"]).ok();
    }
}

/// An element that every way of bringing things is used by.
fn bring(lab: &Lab, element: &str, by: &str) {
    let path = |name: &str| format!("{element}/{name}");
    lab.file(
        &path("element-deps"),
        "install-bin\ninstall-static\ninstall-types\npkg-map\nsvc-map\n",
    )
    .file(&path("pkg-map"), &format!(r#"{{"default": {{"name": "{by}"}}}}"#))
    .file(&path("svc-map"), &format!("service: {{default: {by}}}\n"))
    .file(&path("package-installs.yaml"), &format!("{by}:\n"))
    .file(&path("static/etc/brought"), by)
    .file(&path("bin/brought"), &format!("#!/bin/sh\necho {by}\n"))
    .file(&path("bin/no-run-bit"), "text")
    .file(
        &path("install.d/it-source-install/50-source"),
        &format!("#!/bin/sh\necho {by} source >> /log\n"),
    )
    .file(
        &path("install.d/it-package-install/50-package"),
        &format!("#!/bin/sh\necho {by} package >> /log\n"),
    )
    .file(
        &path("install.d/my-tool-source-install/60-tool"),
        &format!("#!/bin/sh\necho {by} tool >> /log\n"),
    );
}

#[test]
fn only_the_element_that_comes_first_brings_anything() {
    let Some(mut lab) = Lab::new() else { return };
    bring(&lab, "thing", "first");
    let second: PathBuf = lab.dir().join("second");
    fs::create_dir(&second).unwrap();
    bring(&lab, "thing2", "second");
    fs::rename(lab.dir().join("elements/thing2"), second.join("thing")).unwrap();
    fs::write(second.join("thing/install.d/99-second"), "#!/bin/sh\nexit 9\n").unwrap();
    let path = format!(
        "{}:{}/fixtures/elements:{}",
        lab.dir().join("elements").display(),
        env!("CARGO_MANIFEST_DIR"),
        second.display()
    );
    lab.set("ELEMENTS_PATH", &path)
        .set("DIB_INSTALLTYPE_my_tool", "package");
    lab.file("probe/element-deps", "thing\n").hook(
        "post-install.d/50-look",
        "[ \"$(pkg-map --element thing name)\" = first ]; [ \"$(svc-map service other)\" = $'first\\nother' ]
        [ \"$(brought)\" = first ]; [ \"$(cat /etc/brought)\" = first ]; [ -x /usr/local/bin/no-run-bit ]
        [ \"$(cat /log)\" = 'first source' ]; read -r line < /usr/local/bin/pkg-map; [ \"$line\" = '#!/bin/sh' ]
        TMP_HOOKS_PATH= pkg-map --element thing name > /log; [ \"$(cat /log)\" = first ]",
    );
    lab.hook(
        "cleanup.d/50-squash",
        "package-installs-squash $TMP_MOUNT_PATH/tmp/list.json; cat $TMP_MOUNT_PATH/tmp/list.json",
    );
    let said = lab.rehearse().ok();
    assert!(
        said.out.contains("\"first\"") && !said.out.contains("\"second\""),
        "{}",
        said.out
    );
    // Another default, and one name by itself.
    lab.set("DIB_INSTALLTYPE_my_tool", "source");
    lab.hook(
        "post-install.d/50-look",
        "[ \"$(cat /log)\" = $'first package\\nfirst tool' ]",
    );
    lab.file("no-final-image/README.md", "");
    lab.build(&["--install-type", "package", "no-final-image", "mini-os", "probe"])
        .ok();
}

#[test]
fn one_service_in_two_elements_is_refused() {
    let Some(lab) = Lab::new() else { return };
    lab.file("probe/element-deps", "other\nsvc-map\n")
        .file("probe/svc-map", "web: {default: a}\n")
        .file("other/svc-map", "web: {default: b}\n");
    let said = lab.rehearse();
    assert_eq!(said.status, 1);
    let told = "element 'probe', service 'web': element 'other' maps it already";
    assert!(said.out.contains(told), "{}", said.out);
}

#[test]
fn what_is_laid_into_a_tree_stays_in_it() {
    let Some(lab) = Lab::new() else { return };
    fs::create_dir(lab.out("victim")).unwrap();
    let victim = lab.out("victim").canonicalize().unwrap().display().to_string();
    lab.file("probe/element-deps", "pkg-map\nsvc-map\n")
        .file("probe/pkg-map", "{}")
        .hook(
            "root.d/50-trap",
            &format!("mkdir -p $TARGET_ROOT/usr; ln -s {victim} $TARGET_ROOT/usr/share"),
        );
    assert_ne!(lab.rehearse().status, 0);
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
}
