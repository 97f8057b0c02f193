//! A toy distribution: packages that rpmbuild makes of a root of Debian, in repositories that `createrepo_c` makes
//! and gpg signs.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use oracle::archive::{self, Part};
use oracle::http::{Reply, Server};
use oracle::{require, require_root};

const TOOLS: [&str; 11] = [
    "createrepo_c",
    "dnf",
    "find",
    "gpg",
    "gpgconf",
    "mmdebstrap",
    "rpm",
    "rpmbuild",
    "rpmsign",
    "tar",
    "zypper",
];

/// What programs run by, and a package tool of each kind.
const PACKAGES: &str = "--include=dnf,gpg,passwd,rpm,sudo,systemd,zypper";

/// What nobody reads in a test.
const LEFT_OUT: [&str; 3] = ["/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*"];

/// What is of Debian's own package tools in a root, of one machine, or of the toy release.
const REMOVED: [&str; 10] = [
    "etc/apt",
    "etc/hostname",
    "etc/machine-id",
    "etc/os-release",
    "etc/resolv.conf",
    "usr/lib/os-release",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/lib/rpm",
];

/// What is in another package than most, or in none.
const ELSEWHERE: [&str; 4] = ["\"/dev/", "\"/run/", "\"/tmp/", "\"/usr/bin/sudo\""];

pub(super) struct Distribution {
    pub(super) dir: tempfile::TempDir,
    pub(super) server: Server,
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(tool: &str, args: &[&str]) -> String {
    oracle::run(tool, &args.iter().map(OsStr::new).collect::<Vec<_>>())
}

impl Distribution {
    /// One that a server of its own serves, or `None` where it cannot be made.
    pub(super) fn new() -> Option<Self> {
        if !require(&TOOLS) || !require_root() {
            return None;
        }
        let Some(archive) = archive::of_apt(Part::Suite) else {
            oracle::skip("the machine's apt names no archive");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        // mmdebstrap's apt drops its privileges, and must reach what it works on.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let served = dir.path().join("served");
        let server = serve(served.clone());
        let made = Self { dir, server };
        made.debian(&archive);
        for who in ["toys", "others"] {
            made.key(who);
        }
        made.packages();
        made.repositories(&served);
        for who in ["toys", "others"] {
            run(
                "gpgconf",
                &["--homedir", text(&made.path(who)), "--kill", "gpg-agent"],
            );
        }
        Some(made)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The root of which the packages are made.
    fn debian(&self, archive: &str) {
        let tree = self.path("debian");
        let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/elements/debootstrap/keyrings");
        let keys = format!("--keyring={keys}");
        let left_out = LEFT_OUT.map(|pattern| format!("--dpkgopt=path-exclude={pattern}"));
        let mut args = vec!["--variant=minbase", "--mode=root", PACKAGES, &keys];
        args.extend(left_out.iter().map(String::as_str));
        // Nobody needs the tree after a loss of power, and a mirror may be frozen.
        args.push("--dpkgopt=force-unsafe-io");
        args.push("--aptopt=Acquire::Check-Valid-Until \"false\"");
        args.extend(["bookworm", text(&tree), archive]);
        run("mmdebstrap", &args);
        for name in REMOVED {
            run("rm", &["-rf", text(&tree.join(name))]);
        }
        fs::create_dir(tree.join("var/cache")).unwrap();
        // As Fedora and openSUSE have it; Debian's lies in the home directory.
        let macros = tree.join("usr/lib/rpm/macros.d/macros.toys");
        fs::create_dir_all(macros.parent().unwrap()).unwrap();
        fs::write(macros, "%_dbpath /usr/lib/sysimage/rpm\n").unwrap();
        let list = |depth: &[&str]| {
            let format = [
                "-type",
                "d",
                "-printf",
                "%%dir \"/%P\"\n",
                "-o",
                "-printf",
                "\"/%P\"\n",
            ];
            run("find", &[&[text(&tree)], depth, &format[..]].concat())
        };
        fs::write(self.path("names"), list(&["-mindepth", "1", "-maxdepth", "1"])).unwrap();
        let files = list(&["-mindepth", "2"]);
        let elsewhere = |line: &str| ELSEWHERE.iter().any(|name| line.contains(name));
        let files: Vec<&str> = files.lines().filter(|line| !elsewhere(line)).collect();
        fs::write(self.path("files"), files.join("\n")).unwrap();
    }

    /// A key of somebody, and its public part.
    fn key(&self, who: &str) {
        let home = self.path(who);
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        let mail = format!("{who}@example.org");
        let fresh = [
            "--passphrase",
            "",
            "--quick-gen-key",
            &mail,
            "rsa2048",
            "sign",
            "never",
        ];
        self.gpg(who, &fresh);
        let public = self.gpg(who, &["--armor", "--export"]);
        fs::write(self.path(&format!("{who}.asc")), public).unwrap();
    }

    fn gpg(&self, who: &str, args: &[&str]) -> String {
        let home = self.path(who);
        run(
            "gpg",
            &[&["--homedir", text(&home), "--batch", "--quiet"][..], args].concat(),
        )
    }

    fn packages(&self) {
        let defined = |name: &str, value: &str| format!("{name} {value}");
        let path = |name: &str| text(&self.path(name)).to_owned();
        let build = |spec: &str, top: &str, words: &[String]| {
            let spec = format!("{}/fixtures/rpm/{spec}.spec", env!("CARGO_MANIFEST_DIR"));
            let top = defined("_topdir", &path(top));
            let words = words.iter().flat_map(|word| ["--define", word.as_str()]);
            let args: Vec<&str> = ["-bb", "--define", &top]
                .into_iter()
                .chain(words)
                .chain([spec.as_str()])
                .collect();
            run("rpmbuild", &args);
        };
        let system = [
            defined("toys_tree", &path("debian")),
            defined("toys_files", &path("files")),
            defined("toys_names", &path("names")),
            defined("toys_key", &path("toys.asc")),
            defined("toys_url", &self.server.url("")),
        ];
        build("system", "older", &system);
        for (package, number, top) in [
            ("kernel", "1", "older"),
            ("kernel", "2", "newer"),
            ("kernel-default", "1", "older"),
            ("kernel-default", "2", "newer"),
        ] {
            build(
                "kernel",
                top,
                &[defined("package", package), defined("number", number)],
            );
        }
    }

    /// `toys/37/ARCH` and `newer`, the same where openSUSE has its own, and `forged`, which others signed.
    fn repositories(&self, served: &Path) {
        let main = served.join("toys/37").join(std::env::consts::ARCH);
        for (top, repository) in [("older", &main), ("newer", &served.join("newer"))] {
            fs::create_dir_all(repository).unwrap();
            let found = run("find", &[text(&self.path(top)), "-name", "*.rpm"]);
            let packages: Vec<&str> = found.lines().collect();
            let path = format!("_gpg_path {}", text(&self.path("toys")));
            let sign = [
                "--define",
                "__gpg /usr/bin/gpg",
                "--define",
                &path,
                "--define",
                "_gpg_name toys@example.org",
                "--addsign",
            ];
            run("rpmsign", &[&sign[..], &packages].concat());
            run("mv", &[&packages[..], &[text(repository)]].concat());
            run("createrepo_c", &["--quiet", text(repository)]);
        }
        run("cp", &["-al", text(&main), text(&served.join("forged"))]);
        for (name, who) in [("newer", "toys"), ("forged", "others")] {
            self.sign(&served.join(name), who);
        }
        self.sign(&main, "toys");
        for (name, to) in [
            ("distribution/leap/15.6/repo", &main),
            ("update/leap/15.6", &served.join("newer")),
        ] {
            fs::create_dir_all(served.join(name)).unwrap();
            symlink(to, served.join(name).join("oss")).unwrap();
        }
        for who in ["toys.asc", "others.asc"] {
            fs::copy(self.path(who), served.join(who)).unwrap();
        }
    }

    /// Signs the index of a repository, which names the toys' key whoever signs.
    fn sign(&self, repository: &Path, who: &str) {
        let index = repository.join("repodata/repomd.xml");
        self.gpg(who, &["--yes", "--detach-sign", "--armor", text(&index)]);
        fs::copy(self.path("toys.asc"), repository.join("repodata/repomd.xml.key")).unwrap();
    }
}

/// A server of the files in a directory.
fn serve(served: PathBuf) -> Server {
    Server::start(
        move |_, asked| match fs::read(served.join(asked.target.trim_start_matches('/'))) {
            Ok(bytes) => Reply::new(200, bytes),
            Err(_) => Reply::new(404, "no such file"),
        },
    )
}
