//! What registries say, on the loopback and as text.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oracle::http::{Reply, Server};

use super::*;

/// A registry of one image, of which each document and blob is what `change` makes of it.
fn registry(change: impl Fn(&str, Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> Server {
    let digest = |bytes: &[u8]| format!("sha256:{}", hex(&<sha2::Sha256 as sha2::Digest>::digest(bytes)));
    let named = |bytes: &[u8]| format!("{{\"digest\":\"{}\",\"size\":{}}}", digest(bytes), bytes.len());
    let (config, layer) = (b"{}".to_vec(), vec![7; 100_000]);
    let manifest = format!("{{\"config\":{},\"layers\":[{}]}}", named(&config), named(&layer));
    let manifest = change("manifest", manifest.into_bytes());
    let index = named(&manifest).replace(
        "size",
        "platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"},\"size",
    );
    let index = change("index", format!("{{\"manifests\":[{index}]}}").into_bytes());
    let all: BTreeMap<String, (&str, Vec<u8>)> = [
        ("/v2/mini/os/manifests/1".to_owned(), ("tag", index)),
        (
            format!("/v2/mini/os/manifests/{}", digest(&manifest)),
            ("sent manifest", manifest),
        ),
        (
            format!("/v2/mini/os/blobs/{}", digest(&config)),
            ("config", config),
        ),
        (format!("/v2/mini/os/blobs/{}", digest(&layer)), ("layer", layer)),
    ]
    .into();
    Server::start(move |_, asked| match all.get(&asked.target) {
        Some((what, bytes)) => {
            let mut reply = Reply::new(200, change(what, bytes.clone()));
            reply.chunked = true;
            reply
        }
        None => Reply::new(404, ""),
    })
}

fn amd64() -> Platform {
    Platform {
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        variant: None,
    }
}

fn pulled(server: &Server, cache: &Path, environment: &Environment) -> Result<PathBuf, String> {
    let name = Name::parse(&format!("{}/mini/os:1", server.authority())).unwrap();
    pull(&name, &amd64(), cache, environment).map_err(|error| error.to_string())
}

/// What is told of an image of which one part differs.
fn refused(what: &'static str, differs: fn(Vec<u8>) -> Vec<u8>) -> String {
    let server = registry(move |part, bytes| if part == what { differs(bytes) } else { bytes });
    let cache = tempfile::tempdir().unwrap();
    pulled(&server, cache.path(), &Environment::default()).unwrap_err()
}

fn replaced(bytes: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    String::from_utf8(bytes).unwrap().replace(from, to).into_bytes()
}

#[test]
fn nothing_of_a_registry_is_longer_than_it_may_be() {
    let endless = |mut bytes: Vec<u8>| {
        bytes.resize(5 << 20, b' ');
        bytes
    };
    for (what, max) in [("tag", DOCUMENT_MAX), ("config", 2), ("layer", 100_000)] {
        let told = refused(what, endless);
        assert!(
            told.contains(&format!("it has more than {max} bytes")),
            "{what}: {told}"
        );
    }
    // An index that names a manifest as long as no manifest is, or other lengths than what comes has.
    let told = refused("manifest", endless);
    assert!(
        told.contains("has 5242880 bytes, more than any document"),
        "{told}"
    );
    let told = refused("index", |bytes| replaced(bytes, "\"size\":", "\"size\":1"));
    assert!(told.contains(" bytes, not 1"), "{told}");
    let told = refused("manifest", |bytes| replaced(bytes, ":100000", ":100001"));
    assert!(told.contains("has 100000 bytes, not 100001"), "{told}");
}

#[test]
fn a_damaged_blob_is_fetched_again_unless_the_build_is_offline() {
    let again = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&again);
    let server = registry(move |what, bytes| {
        assert!(
            what != "config" || !seen.load(Ordering::Relaxed),
            "what is sound is kept"
        );
        bytes
    });
    let cache = tempfile::tempdir().unwrap();
    let mut environment = Environment::default();
    let dir = pulled(&server, cache.path(), &environment).unwrap();
    again.store(true, Ordering::Relaxed);
    let blobs = fs::read_dir(dir.join("blobs/sha256")).unwrap();
    let mut paths = blobs.map(|entry| entry.unwrap().path());
    let layer = paths
        .find(|path| fs::metadata(path).unwrap().len() == 100_000)
        .unwrap();
    let whole = fs::read(&layer).unwrap();
    let mut damaged = whole.clone();
    damaged[5] ^= 1;
    fs::write(&layer, &damaged).unwrap();
    assert_eq!(pulled(&server, cache.path(), &environment).unwrap(), dir);
    assert!(fs::read(&layer).unwrap() == whole);

    fs::write(&layer, &damaged).unwrap();
    fs::remove_file(dir.join("index.json")).unwrap();
    environment.set("DIB_OFFLINE", "1");
    let told = pulled(&server, cache.path(), &environment).unwrap_err();
    assert!(told.contains("without --offline it is fetched again"), "{told}");
}

#[test]
fn no_two_images_have_one_place_in_the_cache() {
    let mut seen = std::collections::BTreeSet::new();
    let names = [
        "quay.io/a_b/c",
        "quay.io/a/b_c",
        "quay.io/a/b/c",
        "quay.io/a_b_c",
        "quay.io/a/b:c",
    ];
    for name in names {
        for (architecture, variant) in [("arm", None), ("arm", Some("v7")), ("arm_v7", None)] {
            let platform = Platform {
                architecture: architecture.to_owned(),
                variant: variant.map(str::to_owned),
                ..amd64()
            };
            let label = label(&Name::parse(name).unwrap(), &platform);
            assert!(!label.contains('/') && seen.insert(label.clone()), "{label}");
        }
    }
    let label = label(&Name::parse("quay.io/a_b/c").unwrap(), &amd64());
    assert_eq!(label, "quay.io%2Fa_b%2Fc%3Alatest,linux%2Famd64");
}

#[test]
fn names_are_those_of_engines() {
    let digest = format!("sha256:{}", "a".repeat(64));
    for (text, name, url) in [
        (
            "debian",
            "docker.io/library/debian:latest",
            "https://registry-1.docker.io/v2/library/debian/x",
        ),
        (
            "team/web:1.0",
            "docker.io/team/web:1.0",
            "https://registry-1.docker.io/v2/team/web/x",
        ),
        (
            "quay.io/a/b/c:V_1",
            "quay.io/a/b/c:V_1",
            "https://quay.io/v2/a/b/c/x",
        ),
        (
            "localhost:5000/a",
            "localhost:5000/a:latest",
            "http://localhost:5000/v2/a/x",
        ),
    ] {
        let found = Name::parse(text).unwrap();
        assert_eq!(found.to_string(), name);
        assert_eq!(found.url("x").unwrap().to_string(), url);
    }
    let pinned = Name::parse(&format!("example.org/a:1@{digest}")).unwrap();
    assert_eq!(pinned.to_string(), format!("example.org/a@{digest}"));
    for text in [
        "",
        "a//b",
        "A",
        "a:",
        "a:x y",
        "a@sha256:1",
        "../a",
        "a/.b",
        "example.org/",
    ] {
        assert_eq!(Name::parse(text), None, "{text}");
    }
}

#[test]
fn a_challenge_names_who_gives_tokens() {
    let challenge = Challenge::read(r#"Bearer realm="https://a/t",service="r",scope="x""#).unwrap();
    assert_eq!(
        challenge.url("repository:a:pull"),
        "https://a/t?scope=repository:a:pull&service=r"
    );
    assert!(Challenge::read(r#"Basic realm="x""#).is_none());
}
