//! `cache-url` as hooks call it: the applet, the script that stays in images, and the cache behind the applet.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use oracle::http::{Reply, Server};
use oracle::{blackbox, find, require};

use crate::lab::{DIB, Lab, Said};

const OLD: u64 = 1_500_000_000;

/// The applet in a lab: the program under the name of `cache-url`.
fn applet(lab: &Lab) -> String {
    let link = lab.dir().join("cache-url");
    if !link.exists() {
        std::os::unix::fs::symlink(DIB, &link).unwrap();
    }
    link.to_str().unwrap().to_owned()
}

/// A lab with an own cache and no pauses.
fn lab() -> Lab {
    let mut lab = Lab::unprivileged();
    let cache = lab.dir().join("cache");
    fs::create_dir(&cache).unwrap();
    let locks = lab.dir().join("locks").display().to_string();
    lab.set("DIB_IMAGE_CACHE", cache.to_str().unwrap())
        .set("DIB_LOCKFILES", &locks)
        .set("DIB_RETRY_SECONDS", "0.01");
    lab
}

fn cached(lab: &Lab, name: &str) -> PathBuf {
    lab.dir().join("cache").join(name)
}

fn set_mtime(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(time)
        .unwrap();
}

/// A server of every temper.
fn server() -> Server {
    Server::start(|_, asked| match asked.target.as_str() {
        "/file" if asked.header("if-modified-since") == Some("Fri, 14 Jul 2017 02:40:00 GMT") => {
            Reply::new(304, "")
        }
        "/absent" => Reply::new(404, "no such file"),
        "/broken" => Reply::new(500, "sorry"),
        "/moved" => Reply::new(302, "").with("Location", "/file"),
        "/empty" => Reply::new(200, ""),
        "/short" => Reply::new(200, "not all of it").cut(3),
        _ => Reply::new(200, "new"),
    })
}

/// What every form of `cache-url` must do, called by `call`, which takes the arguments.
fn keeps_the_contract(lab: &Lab, server: &Server, call: &dyn Fn(&[&str]) -> Said) {
    let dest = lab.out("dir/dest");
    let to = dest.to_str().unwrap();
    let last = |name: &str| server.asked().last().unwrap().header(name).map(str::to_owned);
    let content = || fs::read_to_string(&dest).unwrap();

    call(&[&server.url("/moved"), to]).ok();
    assert_eq!(content(), "new");
    assert_eq!(last("if-modified-since"), None);

    fs::write(&dest, "old").unwrap();
    set_mtime(&dest, OLD);
    call(&[&server.url("/file"), to]).ok();
    assert_eq!(content(), "old", "304 keeps");
    call(&["-f", &server.url("/file"), to]).ok();
    assert_eq!(content(), "new");
    assert!(last("cache-control").unwrap().contains("no-cache") && last("pragma").is_some());
    assert_eq!(last("if-modified-since"), None);

    for (target, status) in [("/absent", 44), ("/broken", 1), ("/short", 1)] {
        fs::write(&dest, "old").unwrap();
        let said = call(&["-f", &server.url(target), to]);
        assert_eq!(said.status, status, "{target}: {}", said.err);
        assert_eq!(content(), "old", "{target}");
    }
    call(&[&server.url("/empty"), to]).ok();
    assert_eq!(content(), "old", "nothing is no newer version");
    call(&["-f", &server.url("/empty"), to]).ok();
    assert_eq!(content(), "");

    let local = lab.out("local");
    fs::write(&local, "local").unwrap();
    call(&[&format!("file://{}", local.display()), to]).ok();
    assert_eq!(content(), "local");
    assert_eq!(call(&[&format!("file://{}x", local.display()), to]).status, 1);
    assert_eq!(call(&[&server.url("/file")]).status, 1);
    assert_eq!(call(&["-h"]).status, 0);

    let fifo = lab.out("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let reader = {
        let fifo = fifo.clone();
        thread::spawn(move || fs::read_to_string(fifo).unwrap())
    };
    call(&[&server.url("/other"), fifo.to_str().unwrap()]).ok();
    assert_eq!(reader.join().unwrap(), "new");
    fs::remove_file(fifo).unwrap();
    let left: Vec<_> = fs::read_dir(lab.out("dir")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    fs::remove_file(&dest).unwrap();
}

#[test]
fn the_applet_keeps_the_contract() {
    let (lab, server) = (lab(), server());
    let applet = applet(&lab);
    keeps_the_contract(&lab, &server, &|args| lab.run(&applet, args));
    let told = lab.run(&applet, &[&server.url("/absent").replace("//", "//me:pw@"), "x"]);
    assert!(
        told.err.contains("404 Not Found") && !told.err.contains("pw"),
        "{}",
        told.err
    );
    assert_eq!(
        lab.run(&applet, &["ftp://h/x", "x"])
            .failed(1, "only http, https and file")
            .status,
        1
    );
}

#[test]
fn the_script_keeps_the_contract_in_every_shell() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/elements/cache-url/bin/cache-url");
    let shells = [
        ("dash", vec![]),
        ("busybox", vec!["sh"]),
        ("bash", vec!["--posix"]),
    ];
    thread::scope(|scope| {
        for (shell, words) in &shells {
            for fetcher in ["curl", "wget"] {
                if require(&[shell, fetcher]) {
                    scope.spawn(move || keeps_the_contract_with(shell, words, script, fetcher));
                }
            }
        }
    });
}

fn keeps_the_contract_with(shell: &str, words: &[&str], script: &str, fetcher: &str) {
    const TOOLS: [&str; 11] = [
        "cat", "chmod", "cp", "date", "dirname", "mkdir", "mktemp", "mv", "rm", "sed", "tail",
    ];
    let (mut lab, server) = (lab(), server());
    // Nothing but what the script may count on.
    let bin = lab.dir().join("bin");
    fs::create_dir(&bin).unwrap();
    for tool in TOOLS.iter().chain([&fetcher]) {
        std::os::unix::fs::symlink(find(tool).unwrap(), bin.join(tool)).unwrap();
    }
    lab.set("PATH", bin.to_str().unwrap());
    let shell = find(shell).unwrap();
    let call = |args: &[&str]| lab.run(shell.to_str().unwrap(), &[words, &[script], args].concat());
    keeps_the_contract(&lab, &server, &call);
}

#[test]
fn entries_of_the_cache_know_what_they_are() {
    let mut lab = lab();
    let server = Server::start(|_, asked| Reply::file(asked, b"the image", "\"v1\""));
    let (applet, entry) = (applet(&lab), cached(&lab, "image"));
    let to = entry.to_str().unwrap().to_owned();
    let url = server.url("/image").replace("//", "//me:secret@");
    lab.run(&applet, &[&url, &to]).ok();
    let meta = fs::read_to_string(cached(&lab, "image.dib-meta")).unwrap();
    let sha256 = "97e9d7a16021e6d07fbe28cce398f5847fc00c574991fbff65d95fd5e032d389"; // printf 'the image' | sha256sum
    let expected = format!(
        "{{\"url\":\"{}\",\"size\":9,\"sha256\":\"{sha256}\",\"etag\":\"\\\"v1\\\"\",\
         \"last_modified\":\"Thu, 01 Jan 2015 00:00:00 GMT\"}}\n",
        server.url("/image")
    );
    assert_eq!(meta, expected);
    lab.run(&applet, &[&url, &to]).ok();
    assert_eq!(server.asked()[1].header("if-none-match"), Some("\"v1\""));

    fs::write(&entry, "the imago").unwrap();
    let said = lab.run(&applet, &[&url, &to]).ok();
    assert!(
        said.err.contains("image of the cache is damaged: its SHA-256 is"),
        "{}",
        said.err
    );
    assert_eq!(fs::read_to_string(&entry).unwrap(), "the image");
    assert_eq!(server.asked()[2].header("if-none-match"), None);

    lab.set("DIB_OFFLINE", "1");
    lab.run(&applet, &[&url, &to]).ok();
    assert_eq!(server.asked().len(), 3, "offline nobody is asked");
    fs::write(&entry, "the imag").unwrap();
    let said = lab.run(&applet, &[&url, &to]).failed(1, "it has 8 bytes, not 9");
    assert!(
        said.err.contains(&to) && said.err.contains("hint: without --offline"),
        "{}",
        said.err
    );
    assert_eq!(server.asked().len(), 3);
    // What is not there is asked for even so, and what must come anew, too.
    lab.run(&applet, &[&url, &format!("{to}2")]).ok();
    lab.run(&applet, &["-f", &url, &to]).ok();
    assert_eq!(fs::read_to_string(&entry).unwrap(), "the image");
    let names: Vec<_> = fs::read_dir(lab.dir().join("cache"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[test]
fn of_two_that_want_the_same_one_waits() {
    let lab = lab();
    let server = Server::start(|number, asked| {
        if number == 0 {
            thread::sleep(Duration::from_millis(700));
        }
        Reply::file(asked, b"the image", "\"v1\"")
    });
    let (applet, entry) = (applet(&lab), cached(&lab, "image"));
    let run = || {
        let args = [&server.url("/image"), entry.to_str().unwrap()];
        lab.run(&applet, &args.map(|arg| arg as &str))
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..3).map(|_| scope.spawn(run)).collect();
        let said: Vec<_> = all.into_iter().map(|one| one.join().unwrap().ok()).collect();
        assert!(
            said.iter().any(|said| said.err.contains("waiting for")),
            "nobody waited"
        );
    });
    let whole = server
        .asked()
        .iter()
        .filter(|asked| asked.header("if-none-match").is_none())
        .count();
    assert_eq!((server.asked().len(), whole), (3, 1));
    assert_eq!(fs::read(&entry).unwrap(), b"the image");
}

#[test]
fn a_download_that_was_killed_is_no_entry_and_goes_on() {
    let lab = lab();
    let body: Vec<u8> = (0..20_000_000_u32)
        .map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1])
        .collect();
    let expected = body.clone();
    let server = Server::start(move |number, asked| {
        let mut reply = Reply::file(asked, &body, "\"v1\"");
        if number == 0 {
            reply = reply.cut(18_000_000);
            reply.stall = Duration::from_secs(30);
        }
        reply
    });
    let (applet, entry) = (applet(&lab), cached(&lab, "image"));
    let args = [server.url("/image"), entry.to_str().unwrap().to_owned()];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut child = blackbox::start(Path::new(&applet), &args, &lab.environment(), &lab.out(""));
    let (part, notes) = (
        cached(&lab, ".image.dib-part"),
        cached(&lab, ".image.dib-part-meta"),
    );
    let until = Instant::now() + Duration::from_secs(20);
    while !(notes.exists() && fs::metadata(&part).is_ok_and(|meta| meta.len() == 18_000_000)) {
        assert!(Instant::now() < until, "the download does not begin");
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!entry.exists());
    lab.run(&applet, &args).ok();
    let asked = server.asked();
    let from = asked[1]
        .header("range")
        .and_then(|range| range.strip_prefix("bytes="));
    let from: u64 = from
        .and_then(|range| range.strip_suffix('-'))
        .unwrap()
        .parse()
        .unwrap();
    assert!((16 << 20..17 << 20).contains(&from), "{from}");
    assert!(fs::read(&entry).unwrap() == expected);
    assert!(!part.exists() && !notes.exists());
}

#[test]
fn certificates_are_checked() {
    if !require(&["openssl"]) {
        return;
    }
    let mut lab = lab();
    let openssl = find("openssl").unwrap();
    let openssl = openssl.to_str().unwrap().to_owned();
    let made = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        "key",
        "-out",
        "cert",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ];
    lab.run(&openssl, &made).ok();
    fs::write(lab.out("served"), "by TLS").unwrap();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let accept = format!("127.0.0.1:{port}");
    let serve = [
        "s_server", "-quiet", "-WWW", "-cert", "cert", "-key", "key", "-accept", &accept,
    ];
    let mut child = blackbox::start(Path::new(&openssl), &serve, &lab.environment(), &lab.out(""));
    let until = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(&accept).is_err() && Instant::now() < until {
        thread::sleep(Duration::from_millis(20));
    }
    let (applet, url) = (applet(&lab), format!("https://localhost:{port}/served"));
    let refused = lab.run(&applet, &[&url, "got"]);
    let cert = lab.out("cert").display().to_string();
    lab.set("SSL_CERT_FILE", &cert);
    let trusted = lab.run(&applet, &[&url, "got"]);
    let other = lab.run(&applet, &[&url.replace("localhost", "127.0.0.1"), "got2"]);
    child.kill().unwrap();
    child.wait().unwrap();
    let told = refused.failed(1, "TLS: ").err;
    assert!(
        told.contains("UnknownIssuer") && !told.contains("trying again"),
        "{told}"
    );
    trusted.ok();
    assert_eq!(lab.text("got"), "by TLS");
    other.failed(1, "TLS: ");
}

#[test]
fn hooks_of_every_phase_find_it() {
    let Some(mut lab) = Lab::new() else { return };
    let server = Server::start(|_, asked| match asked.target.as_str() {
        "/absent" => Reply::new(404, ""),
        target => Reply::new(200, target.to_owned()),
    });
    let url = server.url("/");
    lab.set("SITE", &url);
    let fetch = "rm -f dest; cache-url ${SITE}x dest; [ $(cat dest) = /x ]
        status=0; cache-url ${SITE}absent dest || status=$?; [ $status = 44 ]; [ $(cat dest) = /x ]; rm dest";
    let by_path =
        "$TMP_HOOKS_PATH/bin/cache-url ${SITE}y $DIB_IMAGE_CACHE/y; [ $(cat $DIB_IMAGE_CACHE/y) = /y ]
        [ -f $DIB_IMAGE_CACHE/y.dib-meta ]";
    lab.file("probe/element-deps", "cache-url\n")
        .hook("root.d/50-fetch", fetch)
        .hook("extra-data.d/50-fetch", by_path)
        .hook(
            "install.d/50-fetch",
            &format!("cd /; {fetch}; ! type curl wget > /dev/null 2>&1"),
        )
        .hook(
            "install.d/51-script",
            "/tmp/in_target.d/bin/cache-url ${SITE}z /z; [ $(cat /z) = /z ]",
        )
        .hook(
            "install.d/52-left",
            "read -r line < /usr/local/bin/cache-url; [ \"$line\" = '#!/bin/sh' ]",
        );
    lab.rehearse().ok();
}
