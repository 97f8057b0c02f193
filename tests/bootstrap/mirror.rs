//! A small archive that tests write, sign with `GnuPG`, and serve from the loopback or a directory.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use oracle::http::{Asked, Reply};
use oracle::{blackbox, find};
use sha2::{Digest as _, Sha256};

/// An archive: its files by path, and the key that signs it.
#[derive(Clone, Debug)]
pub(super) struct Mirror {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    home: PathBuf,
}

/// What of an archive is written how.
#[derive(Clone, Debug)]
pub(super) struct Style {
    /// Fields of `Release`.
    pub(super) fields: String,
    /// The ending of the index, which says how it is compressed.
    pub(super) form: &'static str,
    /// Whether the signature stands in a file of its own.
    pub(super) detached: bool,
    /// Whether files can be had by their digest.
    pub(super) by_hash: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            fields: "Origin: Test\n".to_owned(),
            form: "",
            detached: false,
            by_hash: true,
        }
    }
}

/// The packages of the archive.
const PACKAGES: [(&str, &str); 3] = [
    ("base", "Essential: yes\n"),
    ("apt", "Priority: important\nDepends: base, lib\n"),
    ("lib", "Provides: thing (= 1)\n"),
];

pub(super) fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

impl Mirror {
    /// An archive with the suite `toy`.
    pub(super) fn new(home: &Path, style: &Style) -> Self {
        let mut mirror = Self::empty(home);
        let index = PACKAGES.map(|(name, fields)| mirror.add(name, "1", fields, &small(name)));
        mirror.publish("toy", &[("main", &index.concat())], style);
        mirror
    }

    /// An archive without a suite, and the key that will sign them.
    pub(super) fn empty(home: &Path) -> Self {
        let mirror = Self {
            files: BTreeMap::new(),
            home: home.join("gnupg"),
        };
        if !mirror.home.exists() {
            fs::create_dir(&mirror.home).unwrap();
            fs::set_permissions(&mirror.home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
            let user = "Toy Archive <toy@archive.invalid>";
            mirror.gpg(
                &[
                    "--passphrase",
                    "",
                    "--quick-generate-key",
                    user,
                    "ed25519",
                    "sign",
                    "never",
                ],
                b"",
            );
        }
        mirror
    }

    /// Adds a package of the files of a tar archive; its paragraph of an index.
    pub(super) fn add(&mut self, name: &str, version: &str, fields: &str, data: &[u8]) -> String {
        let about = format!("Package: {name}\nVersion: {version}\nArchitecture: all\n{fields}");
        let bytes = deb(&about, data);
        let path = format!("pool/{name}_{version}_all.deb");
        let paragraph = format!(
            "{about}Filename: {path}\nSize: {}\nSHA256: {}\n\n",
            bytes.len(),
            hex(&bytes)
        );
        self.files.insert(path, bytes);
        paragraph
    }

    /// Describes a suite by the indexes of its components, and signs that.
    pub(super) fn publish(&mut self, suite: &str, components: &[(&str, &str)], style: &Style) {
        let by_hash = if style.by_hash { "yes" } else { "no" };
        let names: Vec<&str> = components.iter().map(|(name, _)| *name).collect();
        let mut release = format!(
            "Suite: {suite}\nArchitectures: amd64\nComponents: {}\nAcquire-By-Hash: {by_hash}\n{}SHA256:\n",
            names.join(" "),
            style.fields
        );
        for (component, index) in components {
            let index = compressed(index.as_bytes(), style.form);
            let dir = format!("{component}/binary-amd64");
            let path = format!("{dir}/Packages{}", style.form);
            writeln!(release, " {} {} {path}", hex(&index), index.len()).unwrap();
            let at = if style.by_hash {
                format!("dists/{suite}/{dir}/by-hash/SHA256/{}", hex(&index))
            } else {
                format!("dists/{suite}/{path}")
            };
            self.files.insert(at, index);
        }
        if style.detached {
            let signature = self.gpg(&["--armor", "--detach-sign"], release.as_bytes());
            self.files
                .insert(format!("dists/{suite}/Release"), release.into_bytes());
            self.files.insert(format!("dists/{suite}/Release.gpg"), signature);
        } else {
            let signed = self.gpg(&["--clearsign"], release.as_bytes());
            self.files.insert(format!("dists/{suite}/InRelease"), signed);
        }
    }

    /// The key ring that vouches for it.
    pub(super) fn keyring(&self) -> PathBuf {
        let path = self.home.join("ring.gpg");
        let keys = self.gpg(&["--export"], b"");
        fs::write(&path, keys).unwrap();
        path
    }

    /// The bytes of a package, as the archive has them.
    pub(super) fn package(&mut self, name: &str) -> &mut Vec<u8> {
        let path = format!("pool/{name}_1_all.deb");
        self.files.get_mut(&path).unwrap()
    }

    /// What a server of it answers.
    pub(super) fn answer(&self, asked: &Asked) -> Reply {
        let path = asked.target.trim_start_matches('/');
        match self.files.get(path) {
            Some(bytes) => Reply::new(200, bytes.as_slice()),
            None => Reply::new(404, ""),
        }
    }

    /// Writes it into a directory.
    pub(super) fn write(&self, to: &Path) {
        for (path, bytes) in &self.files {
            let path = to.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    fn gpg(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let file = self.home.join("input");
        fs::write(&file, input).unwrap();
        let mut all = vec![
            "--batch",
            "--quiet",
            "--pinentry-mode",
            "loopback",
            "--output",
            "-",
        ];
        all.extend(args);
        let path = file.to_str().unwrap();
        if !input.is_empty() {
            all.push(path);
        }
        let home = self.home.to_str().unwrap();
        let environment = [("GNUPGHOME", home), ("PATH", "/usr/bin:/bin")];
        let output = blackbox::run(&find("gpg").unwrap(), &all, &environment, &self.home);
        assert!(
            output.status.success(),
            "gpg {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }
}

fn compressed(bytes: &[u8], form: &str) -> Vec<u8> {
    let tool = match form {
        "" => return bytes.to_vec(),
        ".gz" => "gzip",
        ".xz" => "xz",
        ".zst" => "zstd",
        other => panic!("no tool for {other}"),
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x");
    fs::write(&file, bytes).unwrap();
    let args = ["-c", file.to_str().unwrap()];
    blackbox::run(&find(tool).unwrap(), &args, &[], dir.path()).stdout
}

/// The files of a package that has one.
pub(super) fn small(name: &str) -> Vec<u8> {
    tar(&format!("./usr/share/{name}"), &[b'x'; 3000])
}

/// A package file.
fn deb(about: &str, data: &[u8]) -> Vec<u8> {
    let control = format!("{about}Description: toy\n");
    let mut ar = b"!<arch>\n".to_vec();
    for (member, bytes) in [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar", tar("./control", control.as_bytes())),
        ("data.tar", data.to_vec()),
    ] {
        ar.extend(
            format!(
                "{member:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                0,
                0,
                0,
                100_644,
                bytes.len()
            )
            .bytes(),
        );
        ar.extend(bytes);
    }
    ar
}

fn tar(path: &str, bytes: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000);
    builder.append_data(&mut header, path, bytes).unwrap();
    builder.into_inner().unwrap()
}
