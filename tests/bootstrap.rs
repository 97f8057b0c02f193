//! `deb-bootstrap` before archives of every temper: what it believes, what it refuses, what it keeps.
//!
//! The archives are made here, and `GnuPG` signs them. Whole roots are made of Debian's own archive, in `roots.rs`.

mod cached_root;
mod locked;
mod mirror;
mod ubuntu;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use oracle::http::{Reply, Server};
use oracle::{require, require_root};

use crate::lab::{DIB, DISK_IMAGE_CREATE, DISKIMAGE_BUILDER, Lab, Said};
use mirror::{Mirror, Style, hex};

/// The applet in a lab.
fn applet(lab: &Lab) -> String {
    let link = lab.dir().join("deb-bootstrap");
    if !link.exists() {
        std::os::unix::fs::symlink(DIB, &link).unwrap();
    }
    link.to_str().unwrap().to_owned()
}

/// A lab with a cache of its own, or none where there is no `GnuPG`.
fn lab() -> Option<Lab> {
    require(&["gpg", "gzip", "xz", "zstd"]).then(|| {
        let mut lab = Lab::unprivileged();
        let cache = lab.dir().join("cache");
        let locks = lab.dir().join("locks").display().to_string();
        lab.set("DIB_IMAGE_CACHE", cache.to_str().unwrap())
            .set("DIB_LOCKFILES", &locks)
            .set("DIB_RETRY_SECONDS", "0.01")
            .set("NO_COLOR", "1");
        lab
    })
}

/// Chooses packages, and makes no root.
fn choose(lab: &Lab, mirror: &Mirror, at: &str, more: &[&str]) -> Said {
    let ring = format!("--keyring={}", mirror.keyring().display());
    let args = ["--arch=amd64", "--print-packages", &ring];
    lab.run(&applet(lab), &[&args, more, &["toy", "nowhere", at]].concat())
}

/// Makes a root, as far as that goes with these packages.
fn make(lab: &Lab, mirror: &Mirror, at: &str) -> Said {
    let ring = format!("--keyring={}", mirror.keyring().display());
    lab.run(&applet(lab), &["--arch=amd64", &ring, "toy", "root", at])
}

/// All files of the store, each of which is what its name says.
fn kept(lab: &Lab) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![lab.dir().join("cache/packages/sha256")];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            if path.is_dir() {
                open.push(path);
            } else if !name.ends_with(".dib-meta") && !name.ends_with("lock") {
                assert_eq!(hex(&fs::read(&path).unwrap()), name, "{}", path.display());
                found.insert(name);
            }
        }
    }
    found
}

#[test]
fn a_signed_suite_is_read_in_every_form() {
    let Some(lab) = lab() else { return };
    let styles = ["", ".gz", ".xz", ".zst"].map(|form| Style {
        form,
        detached: form == ".gz",
        by_hash: form != ".xz",
        ..Style::default()
    });
    for style in styles {
        let mirror = Mirror::new(lab.dir(), &style);
        let served = mirror.clone();
        let server = Server::start(move |_, asked| served.answer(asked));
        let said = choose(&lab, &mirror, &server.url("/"), &["--include=thing"]).ok();
        assert_eq!(said.out, "apt 1 all\nbase 1 all\nlib 1 all\n", "{style:?}");
        let asked = server.asked();
        assert_eq!(
            asked.iter().any(|asked| asked.target.contains("by-hash")),
            style.by_hash
        );
    }
}

#[test]
fn what_is_not_believed_is_refused_by_its_reason() {
    let Some(lab) = lab() else { return };
    let refused = |mirror: &Mirror, change: &dyn Fn(&mut Mirror), ring: &Mirror, told: &str| {
        let mut served = mirror.clone();
        change(&mut served);
        let server = Server::start(move |_, asked| served.answer(asked));
        let said = choose(&lab, ring, &server.url(""), &[]).failed(1, told);
        assert!(said.err.contains("suite toy of http://127.0.0.1"), "{}", said.err);
        assert_eq!(kept(&lab).len(), 0, "nothing is kept of what nobody vouches for");
    };
    let mirror = Mirror::new(lab.dir(), &Style::default());
    let tamper = |mirror: &mut Mirror| {
        let text = mirror.files.get_mut("dists/toy/InRelease").unwrap();
        *text = String::from_utf8_lossy(text)
            .replace("Suite: toy", "Suite: toy2")
            .into_bytes();
    };
    refused(&mirror, &tamper, &mirror, "InRelease: the signature by key ");
    refused(&mirror, &tamper, &mirror, "is bad: this is not what was signed");
    let unsigned = |mirror: &mut Mirror| {
        mirror
            .files
            .insert("dists/toy/InRelease".to_owned(), b"Suite: toy\n".to_vec());
    };
    refused(
        &mirror,
        &unsigned,
        &mirror,
        "it is not signed as an archive signs",
    );
    let second = lab.dir().join("second");
    fs::create_dir(&second).unwrap();
    let other = Mirror::new(&second, &Style::default());
    refused(&mirror, &|_| {}, &other, "ring.gpg signed it (it is signed by ");
    let style = |fields: &str, detached| Style {
        fields: fields.to_owned(),
        detached,
        ..Style::default()
    };
    let detached = Mirror::new(lab.dir(), &style("Origin: Test\n", true));
    let without = |mirror: &mut Mirror| drop(mirror.files.remove("dists/toy/Release.gpg"));
    refused(
        &detached,
        &without,
        &detached,
        "nobody signed it: there is no Release.gpg",
    );
    let without = |mirror: &mut Mirror| drop(mirror.files.remove("dists/toy/InRelease"));
    refused(
        &mirror,
        &without,
        &mirror,
        "there is no such suite: it has neither InRelease nor Release",
    );
    let old = Mirror::new(
        lab.dir(),
        &style("Valid-Until: Sat, 01 Jan 2000 00:00:00 UTC\n", false),
    );
    let told = "InRelease has expired: it was valid until Sat, 01 Jan 2000 00:00:00 GMT";
    refused(&old, &|_| {}, &old, told);
    let early = Mirror::new(lab.dir(), &style("Date: Tue, 01 Jan 2199 00:00:00 UTC\n", false));
    refused(
        &early,
        &|_| {},
        &early,
        "InRelease is of the future, Tue, 01 Jan 2199",
    );
}

#[test]
fn what_is_not_believed_is_taken_only_where_that_is_asked_for() {
    let Some(lab) = lab() else { return };
    let fields = "Valid-Until: Sat, 01 Jan 2000 00:00:00 UTC\n".to_owned();
    let old = Mirror::new(
        lab.dir(),
        &Style {
            fields,
            ..Style::default()
        },
    );
    let at = lab.dir().join("mirror");
    old.write(&at);
    let url = format!("file:{}", at.display());
    choose(&lab, &old, &url, &["--no-check-valid-until"]).ok();
    fs::write(at.join("dists/toy/InRelease"), {
        let text = String::from_utf8(old.files["dists/toy/InRelease"].clone()).unwrap();
        text.replace("Sat, 01 Jan 2000", "Mon, 01 Jan 2001")
    })
    .unwrap();
    choose(&lab, &old, &url, &["--no-check-valid-until"]).failed(1, "this is not what was signed");
    let said = choose(&lab, &old, &url, &["--no-check-valid-until", "--no-check-gpg"]).ok();
    assert!(said.err.contains("it is taken, as asked"), "{}", said.err);
    choose(&lab, &old, &url, &["--no-check-gpg"]).failed(1, "has expired");
}

#[test]
fn a_package_that_is_not_what_it_should_be_is_named() {
    let Some(lab) = lab().filter(|_| require_root()) else {
        return;
    };
    let mirror = Mirror::new(lab.dir(), &Style::default());
    let told = |served: Mirror, answer: &'static (dyn Fn(Reply) -> Reply + Sync), told: &str| {
        let server = Server::start(move |_, asked| {
            let reply = served.answer(asked);
            if asked.target.contains("lib_1") {
                answer(reply)
            } else {
                reply
            }
        });
        let said = make(&lab, &mirror, &server.url("")).failed(1, "cannot have package lib 1: ");
        assert!(said.err.contains(told), "{}", said.err);
        let lib = hex(&mirror.files["pool/lib_1_all.deb"]);
        assert!(!kept(&lab).contains(&lib), "nothing of it is in the cache");
        fs::remove_dir_all(lab.out("root")).unwrap();
    };
    let mut damaged = mirror.clone();
    damaged.package("lib")[2000] ^= 1;
    let sum = hex(&damaged.files["pool/lib_1_all.deb"]);
    told(damaged, &|reply| reply, &format!("its SHA-256 is {sum}, not "));
    let len = mirror.files["pool/lib_1_all.deb"].len();
    let cut = format!("the answer ended after 100 of {len} bytes (tried 4 times)");
    told(mirror.clone(), &|reply| reply.cut(100), &cut);
    told(
        mirror.clone(),
        &|_| Reply::new(404, ""),
        "the server answered 404 Not Found",
    );
    told(
        mirror.clone(),
        &|_| Reply::new(500, ""),
        "the server answered 500 Internal Server Error (tried 4 times)",
    );
}

#[test]
fn what_cannot_be_had_is_told_before_anything_is_made() {
    let Some(lab) = lab() else { return };
    let mirror = Mirror::new(lab.dir(), &Style::default());
    let served = mirror.clone();
    let server = Server::start(move |_, asked| served.answer(asked));
    let url = server.url("");
    choose(&lab, &mirror, &url, &["--include=nano"]).failed(1, "the archive has no package nano");
    choose(&lab, &mirror, &url, &["--exclude=lib"]).failed(1, "lib is excluded, but apt needs it");
    let said = choose(&lab, &mirror, &url, &["--components=main,odd"]).failed(1, "it has no component odd");
    assert!(said.err.contains("hint: it has main"), "{}", said.err);
    let source = format!("--source=deb {url} gone main");
    choose(&lab, &mirror, &url, &[&source]).failed(1, "suite gone of http://127.0.0.1");
    // Nobody listens any more where somebody did.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let said = choose(&lab, &mirror, &silent, &[]).failed(1, "cannot have InRelease of suite toy");
    assert!(
        said.err
            .contains("hint: DIB_DISTRIBUTION_MIRROR names another mirror"),
        "{}",
        said.err
    );
    fs::create_dir(lab.out("root")).unwrap();
    fs::write(lab.out("root/file"), "").unwrap();
    make(&lab, &mirror, &url).failed(1, "root is not empty: it has 'file'");
}

#[test]
fn foreign_programs_are_refused_before_the_first_download() {
    let Some(lab) = lab() else { return };
    let server = Server::start(|_, _| Reply::new(404, ""));
    let url = server.url("");
    lab.run(&applet(&lab), &["--arch=vax", "toy", "root", &url])
        .failed(1, "there is no architecture 'vax'");
    let registered = fs::read_to_string("/proc/sys/fs/binfmt_misc/qemu-s390x").is_ok();
    if !registered {
        let said = lab.run(&applet(&lab), &["--arch=s390x", "toy", "root", &url]);
        said.failed(1, "programs for s390x do not run on this machine");
    }
    assert_eq!(server.asked().len(), 0);
}

/// A build says it before anything begins, and once.
#[test]
fn a_build_for_foreign_programs_is_refused_before_its_first_hook() {
    let Some(mut lab) = lab() else { return };
    let server = Server::start(|_, _| Reply::new(404, ""));
    lab.set("DIB_DISTRIBUTION_MIRROR", &server.url(""));
    let refused = |arch: &str, told: &str| {
        let said = lab.run(DISK_IMAGE_CREATE, &["-n", "-a", arch, "debian-minimal"]);
        let said = said.failed(1, told);
        let all = format!("{}{}", said.out, said.err);
        assert_eq!(all.matches(told).count(), 1, "{all}");
        assert!(!all.contains("root.d"), "{all}");
    };
    refused("vax", "there is no architecture 'vax'");
    if fs::read_to_string("/proc/sys/fs/binfmt_misc/qemu-s390x").is_err() {
        refused("s390x", "programs for s390x do not run on this machine");
    }
    assert_eq!(server.asked().len(), 0);
    assert!(!lab.out("image.qcow2").exists());
    // An element of the same name has its own ways.
    lab.file("debootstrap/root.d/10-end", "#!/bin/sh\nexit 9\n");
    let said = lab.run(DISK_IMAGE_CREATE, &["-n", "-a", "vax", "debian-minimal"]);
    assert!(!said.err.contains("no architecture"), "{}", said.err);
}

#[test]
fn arguments_of_debootstrap_that_make_no_sense_are_refused_by_name() {
    let Some(lab) = lab() else { return };
    for (word, told) in [
        (
            "--foreign",
            "--foreign is not for this: programs of other architectures run by binfmt_misc",
        ),
        (
            "--extractor=ar",
            "--extractor is not for this: packages are unpacked in-process",
        ),
        ("--no-merged-usr", "--no-merged-usr is not for this"),
        ("--variant=buildd", "there is no variant 'buildd', only minbase"),
        ("--odd", "unexpected argument '--odd'"),
    ] {
        let said = lab.run(&applet(&lab), &[word, "toy", "root", "http://127.0.0.1:9"]);
        assert!(said.status != 0 && said.err.contains(told), "{}", said.err);
    }
    lab.run(&applet(&lab), &["toy", "root"])
        .failed(1, "no archive to take packages from");
    lab.run(&applet(&lab), &["toy", "root", "ftp://h"])
        .failed(1, "'ftp://h' is no archive");
}

#[test]
fn a_full_disk_leaves_nothing_half_kept() {
    let Some(mut lab) = lab() else { return };
    if !require_root() || !require(&["unshare", "mount"]) {
        return;
    }
    let mirror = Mirror::new(lab.dir(), &Style::default());
    let at = lab.dir().join("mirror");
    mirror.write(&at);
    let small = lab.dir().join("small");
    fs::create_dir(&small).unwrap();
    lab.set("DIB_IMAGE_CACHE", small.to_str().unwrap());
    let ring = mirror.keyring();
    let script = format!(
        "mount -t tmpfs -o size=32k x {small}; status=0; {applet} --arch=amd64 --keyring={ring} toy root file:{at} || status=$?; \
         find {small} -type f ! -name '*lock' ! -name '*.dib-meta' -printf '%p %s\\n'; exit $status",
        small = small.display(),
        applet = applet(&lab),
        ring = ring.display(),
        at = at.display(),
    );
    let said = lab.run("/usr/bin/unshare", &["-m", "sh", "-c", &script]);
    let said = said.failed(1, "No space left on device");
    assert!(
        said.err.contains("hint: the cache's disk is full"),
        "{}",
        said.err
    );
    for line in said.out.lines() {
        let (path, len) = line.rsplit_once(' ').unwrap();
        assert!(!path.ends_with("-part"), "{}", said.out);
        let name = Path::new(path).file_name().unwrap().to_str().unwrap();
        if path.contains("/sha256/") {
            let whole = mirror.files.values().find(|bytes| hex(bytes) == name);
            assert_eq!(whole.unwrap().len().to_string(), len, "{path}");
        }
    }
}

#[test]
fn passwords_reach_the_archive_and_nothing_else() {
    let Some(lab) = lab() else { return };
    let mirror = Mirror::new(lab.dir(), &Style::default());
    let served = mirror.clone();
    let server = Server::start(move |_, asked| {
        // printf 'me:secret' | base64
        match asked.header("authorization") {
            Some("Basic bWU6c2VjcmV0") => served.answer(asked),
            _ => Reply::new(401, ""),
        }
    });
    let with = server.url("").replace("http://", "http://me:secret@");
    let said = choose(&lab, &mirror, &with, &["--lock=lock"]).ok();
    let lock = lab.text("lock");
    assert!(
        !format!("{}{}{lock}", said.out, said.err).contains("secret"),
        "{lock}"
    );
    choose(&lab, &mirror, &server.url(""), &[]).failed(1, "the server answered 401");
}

#[test]
fn a_proxy_is_asked_for_what_it_can_reach() {
    let Some(mut lab) = lab() else { return };
    let mirror = Mirror::new(lab.dir(), &Style::default());
    let served = mirror.clone();
    let server = Server::start(move |_, asked| {
        let mut asked = asked.clone();
        asked.target = asked.target.replace("http://archive.invalid", "");
        served.answer(&asked)
    });
    lab.set("http_proxy", &server.url("/"));
    choose(&lab, &mirror, "http://archive.invalid/", &[]).ok();
    assert!(server.asked()[0].target.starts_with("http://archive.invalid/"));
}

#[test]
fn archives_in_directories_need_no_network_and_caches_neither() {
    let Some(mut lab) = lab() else { return };
    let mirror = Mirror::new(lab.dir(), &Style::default());
    let at = lab.dir().join("mirror");
    mirror.write(&at);
    for scheme in ["file:", "copy:", "file://"] {
        choose(&lab, &mirror, &format!("{scheme}{}", at.display()), &[]).ok();
    }
    let gone = Arc::new(AtomicBool::new(false));
    let (served, off) = (mirror.clone(), Arc::clone(&gone));
    let server = Server::start(move |_, asked| {
        if off.load(Ordering::Relaxed) {
            Reply::new(404, "")
        } else {
            served.answer(asked)
        }
    });
    let url = server.url("");
    choose(&lab, &mirror, &url, &[]).ok();
    gone.store(true, Ordering::Relaxed);
    let asked = server.asked().len();
    lab.set("DIB_OFFLINE", "1");
    choose(&lab, &mirror, &url, &[]).ok();
    assert_eq!(server.asked().len(), asked, "offline nobody is asked");
    lab.set("DIB_OFFLINE", "");
    choose(&lab, &mirror, &url, &[]).failed(1, "there is no such suite");
}

#[test]
fn builds_at_once_fetch_each_package_once() {
    let Some(lab) = lab() else { return };
    let mirror = Mirror::new(lab.dir(), &Style::default());
    let served = mirror.clone();
    let times = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&times);
    let server = Server::start(move |_, asked| {
        if asked.target.contains("by-hash") {
            list.lock().unwrap().push(asked.target.clone());
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        served.answer(asked)
    });
    let (url, link) = (server.url(""), applet(&lab));
    let ring = format!("--keyring={}", mirror.keyring().display());
    let args = ["--arch=amd64", "--print-packages", &ring, "toy", "nowhere", &url];
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| lab.run(&link, &args).ok());
        }
    });
    assert_eq!(times.lock().unwrap().len(), 1, "{times:?}");
}

#[test]
fn packages_come_once_for_builds_at_once_and_go_on_where_they_were_cut() {
    let Some(lab) = lab().filter(|_| require_root()) else {
        return;
    };
    let mirror = Mirror::new(lab.dir(), &Style::default());
    let (served, is_first) = (mirror.clone(), AtomicBool::new(true));
    let server = Server::start(move |_, asked| {
        let path = asked.target.trim_start_matches('/');
        let Some(package) = served.files.get(path).filter(|_| path.starts_with("pool/")) else {
            return served.answer(asked);
        };
        let reply = Reply::file(asked, package, "\"1\"");
        if path.contains("lib_1") && is_first.swap(false, Ordering::Relaxed) {
            reply.cut(100)
        } else {
            std::thread::sleep(std::time::Duration::from_millis(200));
            reply
        }
    });
    let (url, link) = (server.url(""), applet(&lab));
    let ring = format!("--keyring={}", mirror.keyring().display());
    std::thread::scope(|scope| {
        for root in ["one", "two", "three"] {
            let args = ["--arch=amd64", &ring, "toy", root, &url].map(str::to_owned);
            let (lab, link) = (&lab, &link);
            // The toy system has no program that could configure it: the packages are what counts.
            scope.spawn(move || lab.run(link, &args.each_ref().map(String::as_str)));
        }
    });
    let asked = server.asked();
    let of = |name: &str| -> Vec<Option<String>> {
        let these = asked.iter().filter(|asked| asked.target.contains(name));
        these
            .map(|asked| asked.header("range").map(str::to_owned))
            .collect()
    };
    assert_eq!(of("base_1"), [None]);
    assert_eq!(of("apt_1"), [None]);
    assert_eq!(of("lib_1"), [None, Some("bytes=100-".to_owned())]);
    for (path, bytes) in mirror.files.iter().filter(|(path, _)| path.starts_with("pool/")) {
        assert!(kept(&lab).contains(&hex(bytes)), "{path}");
    }
}

#[test]
fn a_lock_pins_what_was_chosen() {
    let Some(lab) = lab().filter(|_| require_root()) else {
        return;
    };
    let mirror = Mirror::new(lab.dir(), &Style::default());
    let served = mirror.clone();
    let server = Server::start(move |_, asked| served.answer(asked));
    let url = server.url("");
    choose(&lab, &mirror, &url, &["--lock=lock"]).ok();
    let lock = lab.text("lock");
    for (name, bytes) in &mirror.files {
        if name.starts_with("pool/") {
            assert!(lock.contains(&hex(bytes)) && lock.contains(name), "{lock}");
        }
    }
    let before = server.asked().len();
    let said = choose(&lab, &mirror, &url, &["--locked=lock"]).ok();
    assert_eq!(said.out, "apt 1 all\nbase 1 all\nlib 1 all\n");
    assert_eq!(server.asked().len(), before, "a lock asks for no index");
    choose(&lab, &mirror, &url, &["--locked=lock", "--include=lib"])
        .failed(1, "the lock is for the packages '', not 'lib'");
    fs::write(lab.out("lock"), lock.replace("\"lib\"", "\"other\"")).unwrap();
    let ring = format!("--keyring={}", mirror.keyring().display());
    lab.run(
        &applet(&lab),
        &["--arch=amd64", &ring, "--locked=lock", "toy", "root", &url],
    )
    .failed(1, "its Package is 'lib', not 'other'");
    fs::write(lab.out("lock"), "{}").unwrap();
    choose(&lab, &mirror, &url, &["--locked=lock"]).failed(1, "lock is no lock: missing field");
    choose(&lab, &mirror, &url, &["--locked=lock", "--lock=lock"]).failed(1, "cannot be used with");
}

#[test]
fn a_build_writes_its_lock_or_says_that_it_cannot() {
    let Some(lab) = Lab::new() else { return };
    let elements = ["mini-os", "probe", "element-manifest"];
    let lock = [&["lock", "--file", "x.lock", "-n"], &elements[..]].concat();
    lab.hook("cleanup.d/10-nothing", ":");
    lab.run(DIB, &lock)
        .failed(1, "no element of this build writes a lock");
    // What elements leave beside an image goes with it: manifests, and what a hook names after it.
    let beside = "echo kernel >\"$IMAGE_NAME.vmlinuz\"; echo locked >\"$DIB_LOCK\"";
    lab.hook("cleanup.d/10-lock", beside);
    lab.run(DIB, &lock).ok();
    assert_eq!(lab.text("x.lock"), "locked\n");
    assert_eq!(lab.names(), ["x.lock"], "nothing but the lock");
    assert_eq!(lab.left_behind(), [""; 0]);
    lab.hook("cleanup.d/90-fails", "exit 3");
    lab.run(DIB, &lock).failed(3, "90-fails");
    assert_eq!(lab.names(), ["x.lock"], "no half of a lock");
    lab.remove("probe/cleanup.d/90-fails");
    // A file of images names its locks.
    lab.hook("cleanup.d/10-lock", "echo \"$PROBE\" >\"$DIB_LOCK\"");
    let images = "- {imagename: x, skip-base: true, locked: y.lock, environment: {PROBE: of x}, elements: [mini-os, probe]}\n- imagename: z\n";
    fs::write(lab.out("images.yaml"), images).unwrap();
    lab.run(DISKIMAGE_BUILDER, &["--lock", "images.yaml"]).ok();
    assert_eq!(lab.text("y.lock"), "of x\n");
    assert_eq!(lab.names(), ["images.yaml", "x.lock", "y.lock"]);
    lab.run(DISKIMAGE_BUILDER, &["images.yaml"])
        .failed(1, "y.lock is no lock");
    fs::write(lab.out("images.yaml"), "- imagename: z\n").unwrap();
    lab.run(DISKIMAGE_BUILDER, &["--lock", "images.yaml"])
        .failed(1, "no image names a lock");
    lab.run(DISK_IMAGE_CREATE, &["--locked", "none", "mini-os"])
        .failed(1, "cannot read the lock none");
    lab.run(DISK_IMAGE_CREATE, &["--locked", "x.lock", "mini-os"])
        .failed(1, "x.lock is no lock");
}

/// Versions of some pieces, in the order that dpkg gives them.
#[test]
fn versions_sort_as_dpkg_itself_sorts_them() {
    const PIECES: [&str; 13] = [
        "0", "1", "9", "10", "01", "~", "~~", "+", "-1", ".", "a", "Z", "+b1",
    ];
    if !require(&["dpkg"]) {
        return;
    }
    let mut state = 1_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut version = || {
        let epoch = ["", "", "0:", "1:"][next(4)];
        let pieces: String = (0..next(5)).map(|_| PIECES[next(13)]).collect();
        format!("{epoch}{}{pieces}", next(3))
    };
    let dpkg = oracle::find("dpkg").unwrap();
    for _ in 0..400 {
        let (a, b) = (version(), version());
        let words = [("lt", "less"), ("eq", "equal"), ("gt", "greater")];
        let judged = words.map(|(word, _)| {
            let args = ["--compare-versions", &a, word, &b];
            oracle::blackbox::run(&dpkg, &args, &[("PATH", "/usr/bin:/bin")], Path::new("/"))
                .status
                .success()
        });
        let ours = diskimage_builder::bootstrap::version::compare(&a, &b);
        assert_eq!(judged, [ours.is_lt(), ours.is_eq(), ours.is_gt()], "{a} {b}");
    }
}
