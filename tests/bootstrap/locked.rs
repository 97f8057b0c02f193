//! Locked builds, whole: `debian-minimal` of an archive with three suites and two components, written down, and made again
//! of that without any archive: the same bytes wherever it is done.
//!
//! The system is made of this machine's own dpkg and apt, and of packages that are nothing but their names.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use oracle::http::{Reply, Server};
use oracle::{require, require_root};

use super::mirror::{Mirror, Style, small};
use super::{choose, lab};
use crate::lab::{DIB, DISK_IMAGE_CREATE, Lab};

/// Makes, where it runs, the smallest tree in which dpkg and apt work, and the archive `base.tar` of it.
const SYSTEM: &str = r#"
set -eu -o pipefail
mkdir -p base/{dev,etc/apt/apt.conf.d,etc/dpkg,proc,root,run,sys,usr/bin,usr/sbin,usr/lib/apt,var/log}
cd base
tools=$(type -P apt-get basename bash cat chmod chown cp cut date diff dirname dpkg dpkg-deb dpkg-divert dpkg-query \
    dpkg-split env find grep head id install ln ls mkdir mktemp mv readlink realpath rm rmdir sed sleep sort stat tail tar \
    tee touch tr wc)
mapfile -t tools <<<"$tools"
cp -L "${tools[@]}" usr/bin
cp -rL /usr/lib/apt/methods usr/lib/apt
cp --parents /usr/share/dpkg/*table .
ldd "${tools[@]}" /usr/lib/apt/methods/{file,http} | sed -n 's|^\t[^/]*\(/[^ ]*\) .*|\1|p' | sort -u |
    while read -r library; do
        install -D "$library" "usr/${library#/usr}"
    done
ln -s bash usr/bin/sh
for name in ldconfig locale-gen start-stop-daemon update-locale; do
    printf '#!/bin/sh\n' >usr/sbin/$name
    chmod 755 usr/sbin/$name
done
echo '# en_US.UTF-8 UTF-8' >etc/locale.gen
echo 'log /var/log/dpkg.log' >etc/dpkg/dpkg.cfg
echo 'root:x:0:0:root:/root:/bin/bash' >etc/passwd
echo 'root:x:0:' >etc/group
cat >etc/apt/apt.conf.d/99toy <<'TEXT'
APT::Get::AllowUnauthenticated "true";
Acquire::AllowInsecureRepositories "true";
Acquire::http::Proxy::127.0.0.1 "DIRECT";
TEXT
tar --owner=0 --group=0 --numeric-owner -cf ../base.tar .
"#;

/// What `debian-minimal` installs.
const INSTALLED: [&str; 15] = [
    "busybox",
    "dhcpcd-base",
    "e2fsprogs",
    "gnupg",
    "ifupdown",
    "iproute2",
    "linux-image-amd64",
    "locales",
    "netbase",
    "python3",
    "sudo",
    "systemd-sysv",
    "tzdata",
    "udev",
    "zstd",
];

/// An archive with the suites `toy`, `toy-updates` and `toy-security`, each with the components `main` and `extra`.
fn archive(home: &Path, base: &[u8]) -> Mirror {
    let mut mirror = Mirror::empty(home);
    let mut main = [
        mirror.add("base", "1", "Essential: yes\n", base),
        mirror.add(
            "apt",
            "1",
            "Priority: important\nDepends: base, lib\n",
            &small("apt"),
        ),
        mirror.add("lib", "1", "", &small("lib")),
    ]
    .concat();
    let mut extra = String::new();
    for name in INSTALLED {
        let of = if name == "zstd" { &mut extra } else { &mut main };
        of.push_str(&mirror.add(name, "1", "", &small(name)));
    }
    let update = mirror.add("zstd", "2", "", &small("zstd"));
    let fix = mirror.add("lib", "2", "", &small("lib"));
    let style = Style {
        fields: "Date: Tue, 14 Nov 2023 22:13:20 UTC\n".to_owned(),
        detached: true,
        ..Style::default()
    };
    for (suite, main, extra) in [
        ("toy", &main, &extra),
        ("toy-updates", &String::new(), &update),
        ("toy-security", &fix, &String::new()),
    ] {
        mirror.publish(suite, &[("main", main), ("extra", extra)], &style);
    }
    mirror
}

/// Serves it, its updates of security by an address of their own.
fn serve(mirror: &Mirror) -> Server {
    let served = mirror.clone();
    Server::start(move |_, asked| {
        // The system's apt has no keys, and takes what has no signature.
        let agent = asked.header("user-agent").unwrap_or_default();
        if asked.target.ends_with("Release.gpg") && agent.contains("APT") {
            return Reply::new(404, "");
        }
        let mut asked = asked.clone();
        asked.target = asked.target.replace("/security/", "/");
        served.answer(&asked)
    })
}

#[test]
fn suites_and_components_make_one_root() {
    let Some(lab) = lab() else { return };
    let mirror = archive(lab.dir(), &small("base"));
    let server = serve(&mirror);
    let url = server.url("");
    let security = format!("--source=deb {url}/security toy-security main extra");
    let updates = format!("--source=deb {url} toy-updates main extra");
    let all = [
        "--components=main,extra",
        "--include=zstd",
        "--lock=lock",
        &security,
        &updates,
    ];
    let said = choose(&lab, &mirror, &url, &all).ok();
    assert_eq!(said.out, "apt 1 all\nbase 1 all\nlib 2 all\nzstd 2 all\n");
    // Each package comes from where it was found.
    let lock = lab.text("lock");
    for (name, archive) in [
        ("apt", url.clone()),
        ("lib", format!("{url}/security")),
        ("zstd", url.clone()),
    ] {
        let line = lock
            .lines()
            .find(|line| line.contains(&format!("\"name\":\"{name}\"")));
        assert!(
            line.is_some_and(|line| line.contains(&format!("\"archive\":\"{archive}\""))),
            "{lock}"
        );
    }
    choose(&lab, &mirror, &url, &["--include=zstd"]).failed(1, "the archive has no package zstd");
    let said = choose(
        &lab,
        &mirror,
        &url,
        &["--include=zstd", "--components=main,extra"],
    )
    .ok();
    assert_eq!(said.out, "apt 1 all\nbase 1 all\nlib 1 all\nzstd 1 all\n");
}

/// The files of a directory, by name.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// An image of a lock, in a place of its own, with nobody to ask.
fn built_of(lock: &Path, set: &[(&str, String)]) -> Lab {
    let mut lab = Lab::unprivileged();
    for (name, value) in set {
        lab.set(name, value);
    }
    fs::copy(lock, lab.out("toy.lock")).unwrap();
    let args = [
        "--locked",
        "toy.lock",
        "--offline",
        "--hermetic",
        "-n",
        "-a",
        "amd64",
        "-t",
        "raw",
        "--mkfs-journal-size",
        "4",
        "debian-minimal",
    ];
    lab.run(DISK_IMAGE_CREATE, &args).ok();
    assert_eq!(lab.names(), ["image.d", "image.raw", "toy.lock"]);
    lab
}

#[test]
fn a_lock_makes_the_same_image_anywhere_without_an_archive() {
    let Some(mut lab) = lab().filter(|_| require_root() && require(&["apt-get", "dpkg", "ldd", "tar"]))
    else {
        return;
    };
    lab.run("/bin/bash", &["-c", SYSTEM]).ok();
    let mirror = archive(lab.dir(), &fs::read(lab.out("base.tar")).unwrap());
    fs::remove_dir_all(lab.out("base")).unwrap();
    fs::remove_file(lab.out("base.tar")).unwrap();
    let server = serve(&mirror);
    let set = [
        ("DIB_RELEASE", "toy".to_owned()),
        ("DIB_DISTRIBUTION_MIRROR", server.url("")),
        ("DIB_DEBIAN_SECURITY_MIRROR", server.url("/security")),
        ("DIB_DEBIAN_COMPONENTS", "main,extra".to_owned()),
        ("DIB_APT_KEYRING", mirror.keyring().display().to_string()),
        ("DIB_IMAGE_CACHE", lab.dir().join("cache").display().to_string()),
        ("DIB_LOCKFILES", lab.dir().join("locks").display().to_string()),
        ("SOURCE_DATE_EPOCH", "1700000000".to_owned()),
    ];
    for (name, value) in &set {
        lab.set(name, value);
    }
    lab.run(
        DIB,
        &[
            "lock",
            "--file",
            "toy.lock",
            "-n",
            "-a",
            "amd64",
            "debian-minimal",
        ],
    )
    .ok();
    assert_eq!(lab.names(), ["toy.lock"]);
    drop(server);
    let [first, second] = [(); 2].map(|()| built_of(&lab.out("toy.lock"), &set));
    let image = |lab: &Lab| fs::read(lab.out("image.raw")).unwrap();
    assert!(image(&first) == image(&second), "the images differ");
    let [records, again] = [&first, &second].map(|lab| files(&lab.out("image.d/dib-manifests")));
    assert_eq!(records, again);
    let packages = String::from_utf8_lossy(&records["dib-manifest-dpkg-image"]).into_owned();
    for (name, version) in [("lib", "2"), ("zstd", "2"), ("sudo", "1")] {
        let line = format!("\"package\": \"{name}\", \"arch\": \"all\", \"version\": \"{version}\"");
        assert!(packages.contains(&line), "{packages}");
    }
    // The image has its own sources, and nothing of the lock.
    let said = first
        .run(DIB, &["ls", "image.raw", "/etc/apt/sources.list.d", "/var/cache"])
        .ok();
    assert!(
        said.out.contains("security.list") && !said.out.contains("locked"),
        "{}",
        said.out
    );
}
