//! Laws of what comes from elsewhere: addresses, answers of servers, archives, and the maps that images keep.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::time::{Duration, SystemTime};

use image_core::laws::Draw;

use super::text;
use crate::applets::pkg_map::{Distribution, PackageMap};
use crate::applets::svc_map;
use crate::environment::Environment;
use crate::fetch::answer::{Meaning, meaning, strong_validator};
use crate::fetch::part::Part;
use crate::fetch::resolve::{Servers, answer, in_hosts};
use crate::fetch::url::{Url, without_user};
use crate::fetch::{Known, Proxies, Request};
use crate::sandbox::rooted::Rooted;
use crate::unpack::{Selection, unpack};

/// Whatever an address is, it is printed without its user, and printed it is the same address; and a redirection keeps a
/// password to its own host.
pub fn addresses(bytes: &[u8]) {
    const PIECES: [&str; 22] = [
        "http://",
        "https://",
        "file://",
        "ftp://",
        "//",
        "/",
        "h",
        "H.test",
        ":81",
        ":0",
        "[::1]",
        "@",
        "me:pw",
        "?q=1",
        "#f",
        "../",
        "./",
        " ",
        "%20",
        "\u{e9}",
        "\n",
        "127.0.0.1",
    ];
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let (address, location) = (text(first, &PIECES), text(second, &PIECES));
    let _ = without_user(&address);
    let mut environment = Environment::default();
    environment.set("no_proxy", location.replace('\0', ""));
    environment.set("all_proxy", "http://p");
    for text in [address.clone(), format!("http://me:pw@h/{address}")] {
        let url = match Url::parse(&text) {
            Ok(url) => url,
            Err(error) => return assert!(!error.to_string().is_empty()),
        };
        let again = Url::parse(&url.to_string()).expect("what is printed is an address");
        assert_eq!(again.to_string(), url.to_string());
        assert!(again.authorization().is_none(), "{again} shows its user");
        let _ = Proxies::new(&environment).of(&url);
        let Ok(next) = url.join(&location) else { continue };
        assert!(Url::parse(&next.to_string()).is_ok(), "{next}");
        let same = (next.scheme(), next.host(), next.port()) == (url.scheme(), url.host(), url.port());
        assert!(
            same || location.contains('@') || next.authorization().is_none(),
            "{url} told {next}"
        );
    }
}

/// Whatever resolv.conf, hosts and a name server say, it is addresses, or nothing.
pub fn name_servers(bytes: &[u8]) {
    const PIECES: [&str; 20] = [
        "nameserver ",
        "search ",
        "domain ",
        "options ",
        "127.0.0.1",
        "::1",
        "fe80::1%7",
        "%lo",
        "ndots:",
        "timeout:",
        "attempts:",
        "use-vc",
        "99999999999",
        "0",
        "\n",
        " ",
        "#",
        "a.test",
        ".",
        "h",
    ];
    let text = text(bytes, &PIECES);
    let servers = Servers::parse(&text);
    assert!((1..=3).contains(&servers.addresses.len()) && (1..=5).contains(&servers.attempts));
    assert!(servers.timeout >= Duration::from_secs(1));
    let names = servers.candidates("h.x");
    assert!(names.contains(&"h.x".to_owned()) && names.len() <= 7);
    let _ = in_hosts(&text, "h");
    // A true answer, with other bytes here and there.
    let mut message = b"\x00\x07\x81\x80\x00\x01\x00\x02\x00\x00\x00\x00\x01a\x04test\x00\x00\x01\x00\x01\
        \xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x04\x01b\xc0\x0e\xc0\x24\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01"
        .to_vec();
    let mut draw = Draw::new(bytes);
    while !draw.is_empty() {
        let at = usize::from(draw.byte()) % message.len();
        message[at] = draw.byte();
    }
    message.truncate(message.len() - usize::from(bytes.first().copied().unwrap_or(0) % 8));
    for given in [&message[..], bytes] {
        let _ = answer(given, 7, "a.test", simple_dns::TYPE::A);
    }
}

/// Whatever a server answers, a download goes on only where it stopped, or from the start.
pub fn answers(bytes: &[u8]) {
    const NAMES: [&str; 8] = [
        "content-range",
        "content-length",
        "transfer-encoding",
        "etag",
        "last-modified",
        "date",
        "location",
        "retry-after",
    ];
    const VALUES: [&str; 14] = [
        "bytes 3-9/10",
        "bytes 3-9/*",
        "bytes 0-9/10",
        "bytes 3-2/1",
        "bytes 18446744073709551615-18446744073709551615/*",
        "7",
        "chunked",
        "\"v\"",
        "W/\"v\"",
        "Thu, 01 Jan 1970 00:16:40 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "",
        "/x",
        "-1",
    ];
    let mut draw = Draw::new(bytes);
    let url = Url::parse("http://h/").expect("it is one");
    let mut part = Part::new(tempfile::tempfile().expect("there is room"));
    let begun = draw.below(2) == 1;
    if begun {
        part.begin(Some("\"v\"".into()))
            .and_then(|()| part.append(b"abc"))
            .expect("there is room");
    }
    let known = Known {
        time: SystemTime::UNIX_EPOCH + Duration::from_mins(25),
        len: 3,
        etag: None,
    };
    let request = Request {
        url: &url,
        unless: (draw.below(2) == 1).then_some(known),
        reload: false,
        sha256: None,
        len_max: None,
    };
    let status = *draw.pick(&[200, 206, 304, 213, 301, 416, 404, 429, 503, 100, 999]);
    let mut headers = BTreeMap::new();
    while !draw.is_empty() {
        headers.insert(*draw.pick(&NAMES), (*draw.pick(&VALUES)).to_owned());
    }
    let header = |name: &'static str| headers.get(name).cloned();
    let _ = strong_validator(&header);
    match meaning(status, &header, &request, &mut part) {
        Ok(Meaning::Body { from, .. }) => assert!(from == 0 || (begun && from == 3)),
        Ok(Meaning::Kept) => assert!(request.unless.is_some()),
        Ok(Meaning::Moved(_)) => {}
        Err(why) => assert!(!why.to_string().is_empty()),
    }
}

/// Whatever an archive holds, nothing is written but below the directory that it is unpacked to.
pub fn archives(bytes: &[u8]) {
    const NAMES: [&str; 10] = [
        "a",
        "a/b",
        "../victim",
        "/a",
        "./c/",
        "a/../b",
        "..",
        "l",
        "l/x",
        "l/victim",
    ];
    const TARGETS: [&str; 8] = ["..", "../..", "/", "a", "../victim", "l", "/tmp", "."];
    use tar::EntryType::{Block, Directory, Fifo, Link, Regular, Symlink};
    let mut draw = Draw::new(bytes);
    let word = *draw.pick(&[".", "*", "a", "?/b"]);
    let damage = draw.below(4) == 3;
    let mut builder = tar::Builder::new(Vec::new());
    while !draw.is_empty() {
        let kind = *draw.pick(&[Regular, Regular, Symlink, Symlink, Link, Directory, Block, Fifo]);
        let mut header = tar::Header::new_gnu();
        let (name, target) = (*draw.pick(&NAMES), *draw.pick(&TARGETS));
        if let Some(gnu) = header.as_gnu_mut() {
            gnu.name[..name.len()].copy_from_slice(name.as_bytes());
            gnu.linkname[..target.len()].copy_from_slice(target.as_bytes());
        }
        header.set_entry_type(kind);
        header.set_mode(u32::from(draw.byte()) * 17);
        header.set_mtime(1);
        header.set_size(if kind == Regular { 3 } else { 0 });
        header.set_cksum();
        let content: &[u8] = if kind == Regular { b"abc" } else { b"" };
        builder.append(&header, content).expect("memory takes everything");
    }
    let mut archive = builder.into_inner().expect("memory takes everything");
    if damage && let Some(at) = bytes.last() {
        let at = usize::from(*at) * 7 % archive.len();
        archive[at] ^= bytes[0] | 1;
    }
    let dir = tempfile::tempdir().expect("there is room");
    let (inside, victim) = (dir.path().join("in"), dir.path().join("victim"));
    std::fs::create_dir(&inside)
        .and_then(|()| std::fs::write(&victim, "whole"))
        .expect("there is room");
    let into = Rooted::open(&inside).expect("it was made");
    let selection = Selection::parse(word).expect("it leads nowhere else");
    for archive in [archive, bytes.to_vec()] {
        if let Err(error) = unpack(Cursor::new(archive), &into, &selection) {
            assert!(!error.to_string().is_empty());
        }
    }
    assert_eq!(std::fs::read(&victim).expect("it is there"), b"whole");
    assert_eq!(std::fs::read_dir(dir.path()).expect("it is there").count(), 2);
    // What has no bits for its owner could not be removed by another than root.
    let _ = into.clear();
}

/// Whatever a map of services says, what an image keeps of it is lines, and the same map; and the lines that it keeps of a
/// map of packages say what the map says.
pub fn image_maps(bytes: &[u8]) {
    const PIECES: [&str; 18] = [
        "{",
        "}",
        "\"default\"",
        "\"family\"",
        "\"distro\"",
        "\"release\"",
        ": ",
        "\"debian\"",
        "\"trixie\"",
        "\"a\"",
        "\"b  c\"",
        "\"\"",
        ", ",
        "\n",
        "\"x y\"",
        "web",
        "\"family=debian\"",
        "a: {default: b}\n",
    ];
    let text = text(bytes, &PIECES);
    if let Ok(services) = svc_map::parse(&text) {
        match svc_map::merge(
            &[("e".to_owned(), services)],
            &Distribution::new("debian", "trixie"),
        ) {
            Ok(merged) => {
                let lines = svc_map::lines(&merged);
                let words = lines.lines().map(|line| line.split(' ').count());
                assert!(words.clone().count() == merged.len() && words.into_iter().all(|count| count == 2));
            }
            Err(told) => assert!(!told.is_empty()),
        }
    }
    if let Ok(map) = serde_json::from_str::<PackageMap>(&text) {
        lines_say_what_the_map_says(&map);
    }
}

fn lines_say_what_the_map_says(map: &PackageMap) {
    let lines = map.lines();
    for (distribution, release, sections) in [
        (
            "debian",
            "trixie",
            [
                "default",
                "family=debian",
                "distro=debian",
                "release=debian/trixie",
            ],
        ),
        (
            "ubuntu",
            "noble",
            [
                "default",
                "family=debian",
                "distro=ubuntu",
                "release=ubuntu/noble",
            ],
        ),
    ] {
        for name in ["a", "web"] {
            let found = sections.iter().rev().find_map(|section| {
                let line = lines.lines().find(|line| {
                    let mut words = line.split(' ');
                    words.next() == Some(section) && words.next() == Some(name)
                })?;
                Some(
                    line.split_whitespace()
                        .skip(2)
                        .map(str::to_owned)
                        .collect::<Vec<_>>(),
                )
            });
            assert_eq!(
                found,
                map.lookup(name, &Distribution::new(distribution, release)),
                "{name} in {lines}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn addresses(bytes in vec(any::<u8>(), 0..40)) {
            super::addresses(&bytes);
        }

        #[test]
        fn name_servers(bytes in vec(any::<u8>(), 0..60)) {
            super::name_servers(&bytes);
        }

        #[test]
        fn answers(bytes in vec(any::<u8>(), 0..20)) {
            super::answers(&bytes);
        }

        #[test]
        fn archives(bytes in vec(any::<u8>(), 0..40)) {
            super::archives(&bytes);
        }

        #[test]
        fn image_maps(bytes in vec(any::<u8>(), 0..40)) {
            super::image_maps(&bytes);
        }
    }
}
