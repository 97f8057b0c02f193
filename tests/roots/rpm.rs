//! Roots that the host's own dnf and zypper install, and the same tools inside: real ones, those of Debian, on repositories
//! of a toy distribution that foreign tools made. rpm judges what is in the image in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use oracle::blackbox;
use serde_json::Value;

use crate::distribution::Distribution;

/// The packages of an image, by the elements that bring them.
type Brought = [(&'static str, &'static str)];

const FEDORA: &Brought = &[
    // An upgrade brings a newer kernel beside the one that was asked for, which goes.
    ("base", "kernel"),
    (
        "fedora-minimal",
        "fedora-release-cloud fedora-repos filesystem toy-system",
    ),
    ("probe", "daemon extra iputils"),
    (
        "yum-minimal",
        "NetworkManager dracut-config-generic e2fsprogs iproute openssh-clients sudo systemd",
    ),
];

const SUSE: &Brought = &[
    ("opensuse-minimal", "filesystem toy-system"),
    ("probe", "daemon extra iputils kernel-default"),
    (
        "zypper-minimal",
        "ca-certificates e2fsprogs iproute2 openssh-clients sudo systemd wicked",
    ),
];

/// Files of packages that others than packages change: the builder, and programs that scripts of packages call.
const CHANGED: [&str; 9] = [
    "/etc/fstab",
    "/etc/group",
    "/etc/group-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/passwd",
    "/etc/passwd-",
    "/etc/shadow",
    "/etc/shadow-",
];

/// An element that installs and removes packages, by names of its own too, and has the root made twice.
const PROBE: [(&str, &str); 6] = [
    ("element-deps", "package-installs\npkg-map\n"),
    (
        "pkg-map",
        r#"{"family": {"redhat": {"pinger": "iputils"}, "suse": {"pinger": "iputils"}}}"#,
    ),
    (
        "package-installs.yaml",
        "daemon:\nextra:\npinger:\nabsent: {uninstall: true}\nunwanted: {uninstall: true}\n",
    ),
    (
        "root.d/60-once-more",
        r#"
            state() { chroot "$TARGET_ROOT" rpm --query --all | sort && ls -A "$TARGET_ROOT"; }
            before=$(state)
            "$TMP_HOOKS_PATH"/root.d/08-*-minimal
            [ "$(state)" = "$before" ] || exit 9"#,
    ),
    (
        "pre-install.d/60-older",
        r#"install-packages unwanted "$KERNEL-6.9.1""#,
    ),
    ("install.d/90-installed", "rpm --verify extra iputils"),
];

struct Build<'a> {
    toys: &'a Distribution,
    dir: PathBuf,
    variables: Vec<(String, String)>,
}

/// What a build said.
struct Said {
    ok: bool,
    text: String,
    errors: String,
}

impl<'a> Build<'a> {
    fn of(toys: &'a Distribution, name: &str, variables: &[(&str, &str)]) -> Self {
        let dir = toys.path(name);
        for name in ["elements", "home", "out", "tmp"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        for (name, text) in PROBE {
            let path = dir.join("elements/probe").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let is_hook = name.contains(".d/");
            let head = if is_hook {
                "#!/bin/bash\nset -eu -o pipefail\n"
            } else {
                ""
            };
            fs::write(&path, format!("{head}{text}\n")).unwrap();
            let mode = if is_hook { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let text = |name: &str| dir.join(name).display().to_string();
        let own = [
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
            ("HOME", text("home")),
            ("TMP_DIR", text("tmp")),
            ("ELEMENTS_PATH", text("elements")),
            ("DIB_SKIP_BASE_PACKAGE_INSTALL", "1".to_owned()),
        ];
        let given = variables.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let variables = own.into_iter().chain(given);
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).collect();
        Self { toys, dir, variables }
    }

    fn run(&self, args: &[&str]) -> Said {
        let program = Path::new(env!("CARGO_BIN_EXE_disk-image-create"));
        let environment: Vec<(&str, &str)> = self
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let output = blackbox::run(program, args, &environment, &self.dir.join("out"));
        let [text, errors] =
            [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        Said {
            ok: output.status.success(),
            text,
            errors,
        }
    }

    /// Builds an image of an element, and unpacks it. Gives what was asked of the server.
    fn image(&self, element: &str) -> (PathBuf, Vec<String>) {
        let before = self.toys.server.asked().len();
        let said = self.run(&["--sbom", "-t", "tar", "-o", "image", element, "probe"]);
        assert!(said.ok, "{}{}", said.text, said.errors);
        assert_eq!(said.errors, "", "a build that succeeds is quiet");
        let root = self.dir.join("root");
        let _ = fs::remove_dir_all(&root);
        fs::create_dir(&root).unwrap();
        let archive = self.dir.join("out/image.tar");
        let words = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"].map(OsStr::new);
        let places = [archive.as_os_str(), OsStr::new("-C"), root.as_os_str()];
        oracle::run("tar", &[&words[..], &places].concat());
        let asked = self.toys.server.asked().split_off(before);
        (root, asked.into_iter().map(|asked| asked.target).collect())
    }

    /// Builds in vain, for a reason that is told.
    fn refuses(&self, element: &str, told: &str) {
        let said = self.run(&["-t", "tar", element]);
        assert!(
            !said.ok && said.errors.contains(told),
            "no '{told}' in {}",
            said.errors
        );
    }

    /// Name, version and architecture of the packages that the bill of materials lists, and the element of each.
    fn billed(&self) -> BTreeMap<String, String> {
        let bill = fs::read(self.dir.join("out/image.cdx.json")).unwrap();
        let bill: Value = serde_json::from_slice(&bill).unwrap();
        let of_rpm = |one: &Value| {
            let purl = one["purl"].as_str().unwrap().strip_prefix("pkg:rpm/")?;
            let (name, rest) = purl.split_once('/').unwrap().1.split_once('@').unwrap();
            let (version, rest) = rest.split_once("?arch=").unwrap();
            let package = format!("{name} {version} {}", rest.split('&').next().unwrap());
            let mut properties = one["properties"].as_array().unwrap().iter();
            let element = properties.find(|property| property["name"] == "dib:element");
            let element = element.unwrap_or_else(|| panic!("{package} has no element"));
            Some((package, element["value"].as_str().unwrap().to_owned()))
        };
        let components = bill["components"].as_array().unwrap().iter();
        components.filter_map(of_rpm).collect()
    }
}

/// The host's rpm on the database of a root.
fn rpm(root: &Path, args: &[&str]) -> String {
    let place = [OsStr::new("--root"), root.as_os_str()];
    let database = ["--dbpath", "/usr/lib/sysimage/rpm"].map(OsStr::new);
    let args = args.iter().map(OsStr::new);
    let output = oracle::output(
        "rpm",
        &place.into_iter().chain(database).chain(args).collect::<Vec<_>>(),
    );
    // Nonzero is the status of a verification that finds something.
    String::from_utf8(output.stdout).unwrap()
}

/// Has rpm judge a root: all files are as packages have them, and the packages are those that are wanted and listed.
fn judge(build: &Build<'_>, root: &Path, brought: &Brought) {
    let format = "%{NAME} %{VERSION}-%{RELEASE} %{ARCH}\n";
    let listed = rpm(root, &["--query", "--all", "--queryformat", format]);
    let listed = listed.lines().filter(|line| !line.starts_with("gpg-pubkey "));
    let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
    let billed = build.billed();
    assert_eq!(billed.keys().cloned().collect::<BTreeSet<_>>(), listed);
    let mut by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (package, element) in &billed {
        by.entry(element)
            .or_default()
            .push(package.split(' ').next().unwrap());
    }
    let by: Vec<(&str, String)> = by
        .into_iter()
        .map(|(element, names)| (element, names.join(" ")))
        .collect();
    let brought: Vec<(&str, String)> = brought
        .iter()
        .map(|(element, names)| (*element, (*names).to_owned()))
        .collect();
    assert_eq!(by, brought);
    let verified = rpm(root, &["--verify", "--all", "--nomtime"]);
    let changed: Vec<&str> = verified
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    assert_eq!(changed, CHANGED, "{verified}");
    let kernels: Vec<String> = names_in(&root.join("boot"));
    let arch = std::env::consts::ARCH;
    let of = |start: &str, end: &str| format!("{start}-6.9.2-1.{arch}{end}");
    assert_eq!(kernels, [of("initramfs", ".img"), of("vmlinuz", "")]);
    // Of scripts of packages.
    for (file, text) in [
        ("var/lib/toyd/log", "installed\n"),
        ("var/lib/unwanted", "removed\n"),
    ] {
        assert_eq!(fs::read_to_string(root.join(file)).unwrap(), text);
    }
    // Of the tools of this host, and of caches.
    for name in [
        ".rpm-root",
        "root/.rpmdb",
        "tmp/yum",
        "var/cache/dnf",
        "var/cache/zypp/packages",
    ] {
        assert!(!root.join(name).exists(), "{name}");
    }
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Packages among what was asked of a server.
fn packages(asked: &[String]) -> Vec<&str> {
    let paths = asked.iter().map(Path::new);
    let packages = paths.filter(|path| path.extension().is_some_and(|extension| extension == "rpm"));
    packages.filter_map(|path| path.file_name()?.to_str()).collect()
}

/// A directory with the repository of the first packages, whose key is at the server by a name.
fn first_repositories(toys: &Distribution, key: &str) -> String {
    let dir = toys.path(&format!("repositories-{key}"));
    fs::create_dir(&dir).unwrap();
    let text = format!(
        "[first]\nname=Toys\nbaseurl=$mirror/toys/$releasever/$basearch\ngpgcheck=1\ngpgkey=$mirror/{key}.asc\n"
    );
    fs::write(dir.join("first.repo"), text).unwrap();
    dir.display().to_string()
}

/// One test makes the distribution and does all, since that takes longest.
#[test]
fn the_hosts_dnf_and_zypper_make_roots_for_their_like() {
    let Some(toys) = Distribution::new() else { return };
    fedora(&toys);
    suse(&toys);
}

fn fedora(toys: &Distribution) {
    let newer = toys.path("newer.repo");
    let text = format!(
        "[newer]\nname=Newer\nbaseurl={}\ngpgcheck=1\n",
        toys.server.url("/newer")
    );
    fs::write(&newer, text).unwrap();
    let variables = |repositories: &str| {
        [
            ("KERNEL", "kernel".to_owned()),
            ("DIB_DISTRIBUTION_MIRROR", toys.server.url("")),
            ("DIB_YUM_MINIMAL_BOOTSTRAP_REPOS", repositories.to_owned()),
            ("DIB_YUM_REPO_CONF", newer.display().to_string()),
        ]
    };
    let of = |name: &str, repositories: &str| {
        let variables = variables(repositories);
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        Build::of(toys, name, &variables)
    };
    let build = of("fedora", &first_repositories(toys, "toys"));
    let (root, _) = build.image("fedora-minimal");
    judge(&build, &root, FEDORA);
    // What was installed inside is in the cache of this host now.
    let (root, asked) = build.image("fedora-minimal");
    judge(&build, &root, FEDORA);
    let asked = packages(&asked);
    assert!(!asked.contains(&"extra-1-1.noarch.rpm"), "{asked:?}");

    let forged = of("fedora-forged", &first_repositories(toys, "others"));
    forged.refuses("fedora-minimal", "Import of key(s) didn't help, wrong key(s)?");
    let partly = first_repositories(toys, "absent");
    let absent = format!(
        "[absent]\nname=Absent\nbaseurl={}\ngpgcheck=0\n",
        toys.server.url("/absent")
    );
    fs::write(Path::new(&partly).join("absent.repo"), absent).unwrap();
    of("fedora-partly", &partly).refuses("fedora-minimal", "Failed to download metadata for repo 'absent'");
}

fn suse(toys: &Distribution) {
    let mirror = toys.server.url("");
    let variables = [("KERNEL", "kernel-default"), ("DIB_OPENSUSE_MIRROR", &mirror)];
    let build = Build::of(toys, "suse", &variables);
    let (root, _) = build.image("opensuse-minimal");
    judge(&build, &root, SUSE);
    let (root, asked) = build.image("opensuse-minimal");
    judge(&build, &root, SUSE);
    // libzypp leads the old place of the database to that of the image, not to where the host's had it.
    let led = fs::read_link(root.join("var/lib/rpm")).unwrap();
    assert_eq!(led, Path::new("./../../usr/lib/sysimage/rpm"));
    let asked = packages(&asked);
    assert!(!asked.contains(&"extra-1-1.noarch.rpm"), "{asked:?}");

    let forged = format!("oss=>{mirror}/forged");
    let variables = [("KERNEL", "kernel-default"), ("ZYPPER_REPOS", &forged)];
    let forged = Build::of(toys, "suse-forged", &variables);
    forged.refuses("opensuse-minimal", "is signed with an unknown key");
}
