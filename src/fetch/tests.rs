//! Fetches from servers on the loopback, as well or as badly behaved as they come.

use std::io::{Seek as _, SeekFrom};

use oracle::http::{Asked, Reply, Server};

use super::*;

const ETAG: &str = "\"v1\"";

fn fetcher(variables: &[(&str, &str)]) -> Fetcher {
    let mut environment = Environment::default();
    for (name, value) in variables {
        environment.set(*name, *value);
    }
    let limits = Limits {
        connect: Duration::from_secs(5),
        silence: Duration::from_millis(500),
    };
    let patience = Patience {
        retries: 3,
        pause: Duration::from_millis(5),
    };
    Fetcher::with(&environment, Names::of_system(), limits, patience)
}

fn request(url: &Url) -> Request<'_> {
    Request {
        url,
        unless: None,
        reload: false,
        sha256: None,
        len_max: None,
    }
}

/// What came, or what is told.
fn fetched(fetcher: &Fetcher, request: &Request<'_>) -> Result<(Answer, Vec<u8>), String> {
    let mut part = Part::new(tempfile::tempfile().unwrap());
    let answer = fetcher
        .fetch(request, &mut part)
        .map_err(|error| error.to_string())?;
    let mut file = part.file();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(part.len(), bytes.len() as u64);
    Ok((answer, bytes))
}

fn get(fetcher: &Fetcher, url: &str) -> Result<Vec<u8>, String> {
    fetched(fetcher, &request(&Url::parse(url).unwrap())).map(|(_, bytes)| bytes)
}

/// Bytes that are not alike.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[test]
fn bodies_come_whole_in_every_form() {
    let server = Server::start(|_, asked| match asked.target.as_str() {
        "/empty" => Reply::new(200, ""),
        "/chunked" => {
            let mut reply = Reply::new(200, bytes(300_000));
            reply.chunked = true;
            reply
        }
        _ => Reply::file(asked, &bytes(300_000), ETAG),
    });
    let fetcher = fetcher(&[]);
    assert_eq!(get(&fetcher, &server.url("/empty")).unwrap(), b"");
    assert_eq!(get(&fetcher, &server.url("/chunked")).unwrap(), bytes(300_000));
    let url = Url::parse(&server.url("/file")).unwrap();
    let (answer, body) = fetched(&fetcher, &request(&url)).unwrap();
    assert_eq!(body, bytes(300_000));
    let Answer::Fetched(version) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(version.etag.as_deref(), Some(ETAG));
    let agent = server.asked()[0].header("user-agent").unwrap().to_owned();
    assert!(agent.starts_with("diskimage-builder/"), "{agent}");
}

#[test]
fn what_may_pass_is_tried_again_and_what_may_not_is_not() {
    let server = Server::start(|number, asked| match (asked.target.as_str(), number) {
        ("/busy", 0) => Reply::new(503, "").with("Retry-After", "0"),
        ("/busy", 1) => Reply::new(500, ""),
        ("/busy" | "/never", 2) => Reply::new(200, "there"),
        ("/gone", _) => Reply::new(404, ""),
        _ => Reply::new(503, ""),
    });
    let fetcher = fetcher(&[]);
    assert_eq!(get(&fetcher, &server.url("/busy")).unwrap(), b"there");
    let told = get(&fetcher, &server.url("/gone")).unwrap_err();
    assert_eq!(
        told,
        format!(
            "cannot fetch {}: the server answered 404 Not Found",
            server.url("/gone")
        )
    );
    assert_eq!(server.asked().len(), 4);
    let told = get(&fetcher, &server.url("/never")).unwrap_err();
    assert!(
        told.ends_with("503 Service Unavailable (tried 4 times)"),
        "{told}"
    );
    assert_eq!(server.asked().len(), 8);
}

/// Serves a file whose first sending is cut after `cut` bytes.
fn cut_once(cut: usize, then: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |number, asked| match number {
        0 => Reply::file(asked, &bytes(100_000), ETAG).cut(cut),
        _ => then(asked),
    })
}

#[test]
fn a_broken_download_goes_on_where_it_broke() {
    let server = cut_once(60_000, |asked| Reply::file(asked, &bytes(100_000), ETAG));
    assert_eq!(get(&fetcher(&[]), &server.url("/x")).unwrap(), bytes(100_000));
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].header("range"), Some("bytes=60000-"));
    assert_eq!(asked[1].header("if-range"), Some(ETAG));
}

#[test]
fn a_file_that_changed_meanwhile_is_fetched_anew() {
    let changed = |_: &Asked| Reply::new(200, "another").with("ETag", "\"v2\"");
    assert_eq!(
        get(&fetcher(&[]), &cut_once(60_000, changed).url("/x")).unwrap(),
        b"another"
    );
    // A server that goes on from another byte, or denies the range, is not believed either.
    let astray = |asked: &Asked| match asked.header("range") {
        Some(_) => Reply::new(206, "zzz").with("Content-Range", "bytes 7-9/10"),
        None => Reply::new(200, "whole"),
    };
    assert_eq!(
        get(&fetcher(&[]), &cut_once(60_000, astray).url("/x")).unwrap(),
        b"whole"
    );
    let denied = |asked: &Asked| match asked.header("range") {
        Some(_) => Reply::new(416, ""),
        None => Reply::new(200, "whole"),
    };
    assert_eq!(
        get(&fetcher(&[]), &cut_once(60_000, denied).url("/x")).unwrap(),
        b"whole"
    );
}

#[test]
fn without_a_strong_validator_nothing_is_pieced_together() {
    let server = Server::start(|number, _| {
        let reply = Reply::new(200, bytes(5000)).with("ETag", "W/\"weak\"");
        if number == 0 { reply.cut(2000) } else { reply }
    });
    assert_eq!(get(&fetcher(&[]), &server.url("/x")).unwrap(), bytes(5000));
    assert_eq!(server.asked()[1].header("range"), None);
}

#[test]
fn a_body_that_ends_early_or_never_is_no_body() {
    let server = Server::start(|_, asked| {
        let mut reply = Reply::new(200, bytes(5000)).cut(2000);
        match asked.target.as_str() {
            "/stalled" => reply.stall = Duration::from_secs(3),
            "/chunked" => reply.chunked = true,
            _ => {}
        }
        reply
    });
    let fetcher = fetcher(&[]);
    let told = get(&fetcher, &server.url("/cut")).unwrap_err();
    assert!(
        told.ends_with("the answer ended after 2000 of 5000 bytes (tried 4 times)"),
        "{told}"
    );
    assert!(get(&fetcher, &server.url("/chunked")).is_err());
    let told = get(&fetcher, &server.url("/stalled")).unwrap_err();
    assert!(told.contains("while waiting for data"), "{told}");
}

#[test]
fn redirections_are_followed_but_neither_in_circles_nor_to_files() {
    let secret = Server::start(|_, asked| {
        assert_eq!(
            asked.header("authorization"),
            None,
            "a password is for its own host"
        );
        Reply::new(200, "there")
    });
    let there = secret.url("/there");
    let server = Server::start(move |_, asked| match asked.target.as_str() {
        "/a/start" => Reply::new(302, "moved").with("Location", "../b?c"),
        "/b?c" if asked.header("authorization").is_some() => Reply::new(307, "").with("Location", &there),
        "/file" => Reply::new(301, "").with("Location", "file:///etc/passwd"),
        "/odd" => Reply::new(301, "").with("Location", "gopher://h/"),
        other => Reply::new(301, "").with("Location", other),
    });
    let fetcher = fetcher(&[]);
    let with_user = server.url("/a/start").replace("http://", "http://me:pw@");
    assert_eq!(get(&fetcher, &with_user).unwrap(), b"there");
    for (target, told) in [
        ("/circle", "redirected more than 20 times"),
        (
            "/file",
            "redirected to file:///etc/passwd, a file of this machine",
        ),
        (
            "/odd",
            "redirected to 'gopher://h/': only http, https and file can be fetched",
        ),
    ] {
        let error = get(&fetcher, &server.url(target)).unwrap_err();
        assert!(error.ends_with(told), "{error}");
    }
    let told = get(&fetcher, &with_user.replace("/a/start", "/circle")).unwrap_err();
    assert!(!told.contains("pw"), "{told}");
}

#[test]
fn conditions_save_what_is_there() {
    let server = Server::start(|_, asked| match asked.target.as_str() {
        "/same" => Reply::file(asked, b"new", ETAG),
        "/nothing" => Reply::new(200, ""),
        "/old" => Reply::new(200, "old").with("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT"),
        _ => Reply::new(304, ""),
    });
    let fetcher = fetcher(&[]);
    let answer = |target: &str, etag: Option<&str>| {
        let url = Url::parse(&server.url(target)).unwrap();
        let mut request = request(&url);
        request.unless = Some(Known {
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            len: 3,
            etag: etag.map(str::to_owned),
        });
        fetched(&fetcher, &request).unwrap().0
    };
    for target in ["/same", "/nothing", "/old", "/304"] {
        assert_eq!(answer(target, Some(ETAG)), Answer::Kept, "{target}");
    }
    let since = server.asked()[0].header("if-modified-since").unwrap().to_owned();
    assert_eq!(since, "Tue, 14 Nov 2023 22:13:20 GMT");
    assert_ne!(answer("/same", Some("\"v0\"")), Answer::Kept);
}

#[test]
fn a_digest_that_is_asked_for_must_be_the_files() {
    let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // sha256sum of "abc"
    let server = Server::start(|number, asked| match asked.target.as_str() {
        // The server lies about the version: what it sends after the cut is not the rest of what it sent before.
        "/pieces" if number == 2 => Reply::new(200, "xyz").with("ETag", ETAG).cut(2),
        _ => Reply::file(asked, b"abc", ETAG),
    });
    let fetcher = fetcher(&[]);
    let with_digest = |target: &str, digest: &str| {
        let url = Url::parse(&server.url(target)).unwrap();
        let mut request = request(&url);
        request.sha256 = Some(digest.to_owned());
        fetched(&fetcher, &request).map(|(_, bytes)| bytes)
    };
    assert_eq!(with_digest("/abc", &right.to_ascii_uppercase()).unwrap(), b"abc");
    let told = with_digest("/abc", "00").unwrap_err();
    assert!(
        told.ends_with(&format!("its SHA-256 is {right}, not 00")),
        "{told}"
    );
    assert_eq!(with_digest("/pieces", right).unwrap(), b"abc");
    assert_eq!(server.asked().len(), 5);
}

#[test]
fn files_of_this_machine_are_copied_and_nothing_else_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a b");
    std::fs::write(&path, "local").unwrap();
    let fetcher = fetcher(&[]);
    let base = format!("file://{}", dir.path().display());
    assert_eq!(get(&fetcher, &format!("{base}/a b")).unwrap(), b"local");
    assert_eq!(get(&fetcher, &format!("{base}/a%20b")).unwrap(), b"local");
    let told = get(&fetcher, &format!("{base}/absent")).unwrap_err();
    assert!(told.contains("absent: No such file"), "{told}");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.path().join("fifo"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let told = get(&fetcher, &format!("{base}/fifo")).unwrap_err();
    assert!(told.contains("not a regular file"), "{told}");
}

#[test]
fn a_proxy_gets_whole_addresses_and_tunnels() {
    let proxy = Server::start(|_, asked| match asked.target.as_str() {
        "http://nowhere.invalid/x?y" => Reply::new(200, "through"),
        _ => Reply::new(403, ""),
    });
    let address = format!("http://user:pw@{}", proxy.authority());
    let fetcher = fetcher(&[
        ("http_proxy", &address),
        ("https_proxy", &address),
        ("no_proxy", "127.0.0.1"),
    ]);
    assert_eq!(get(&fetcher, "http://nowhere.invalid/x?y").unwrap(), b"through");
    let asked = &proxy.asked()[0];
    assert_eq!(asked.header("host"), Some("nowhere.invalid"));
    assert_eq!(asked.header("proxy-authorization"), Some("Basic dXNlcjpwdw=="));
    let told = get(&fetcher, "https://nowhere.invalid/x").unwrap_err();
    assert!(
        told.contains("the proxy refuses") && !told.contains("pw"),
        "{told}"
    );
    // `no_proxy` goes past it.
    let direct = Server::start(|_, asked| Reply::new(200, asked.target.clone()));
    assert_eq!(get(&fetcher, &direct.url("/direct")).unwrap(), b"/direct");
}

#[test]
fn no_connection_is_told_as_such() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let told = get(&fetcher(&[]), &format!("http://me:pw@{nobody}/")).unwrap_err();
    assert!(
        told.starts_with(&format!("cannot fetch http://{nobody}/: ")),
        "{told}"
    );
    assert!(
        told.contains("refused") && told.ends_with("(tried 4 times)"),
        "{told}"
    );
}

#[test]
fn no_more_is_taken_than_may_come() {
    let server = Server::start(|_, asked| {
        let mut reply = Reply::new(200, bytes(300_000)).with("ETag", ETAG);
        if asked.target == "/endless" {
            reply.chunked = true;
            // Nothing says that it ends, and nothing follows for longer than is waited.
            reply.cut = Some(300_000);
            reply.stall = Duration::from_secs(3);
        }
        reply
    });
    for target in ["/long", "/endless"] {
        let url = Url::parse(&server.url(target)).unwrap();
        let request = Request {
            len_max: Some(299_999),
            ..request(&url)
        };
        let mut part = Part::new(tempfile::tempfile().unwrap());
        let error = fetcher(&[]).fetch(&request, &mut part).unwrap_err();
        let told = format!("cannot fetch {url}: it has more than 299999 bytes");
        assert_eq!(error.to_string(), told);
        assert_eq!(part.file().metadata().unwrap().len(), 0, "nothing stays of it");
    }
    let url = Url::parse(&server.url("/long")).unwrap();
    let request = Request {
        len_max: Some(300_000),
        ..request(&url)
    };
    assert_eq!(fetched(&fetcher(&[]), &request).unwrap().1, bytes(300_000));
}

#[test]
fn a_token_goes_to_nobody_else_and_never_from_tls_into_the_clear() {
    let server = Server::start(|_, _| Reply::new(200, "there"));
    let here = server.url("/x");
    for (url, told) in [
        (here.clone(), Some("Bearer secret")),
        (here.replace("http:", "https:"), None),
        ("http://127.0.0.1:1/x".to_owned(), None),
    ] {
        let mut fetcher = fetcher(&[]);
        fetcher.bear(&Url::parse(&url).unwrap(), "secret".to_owned());
        assert_eq!(get(&fetcher, &here).unwrap(), b"there");
        let asked = server.asked().pop().unwrap();
        assert_eq!(asked.header("authorization"), told, "{url}");
    }
}
