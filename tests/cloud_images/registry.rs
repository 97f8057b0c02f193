//! Images of registries as roots: pulled by the builder itself, of an image that other tools made.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use oracle::http::{Asked, Reply, Server};
use sha2::{Digest as _, Sha256};

use super::cloud::{Cloud, architectures};
use super::run;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The layout of the root, as umoci makes one.
fn layout(cloud: &Cloud) -> String {
    let (layout, tar) = (cloud.path("layout"), cloud.path("layer.tar"));
    run("tar", &["-C", cloud.root.to_str().unwrap(), "-cpf", &tar, "."]);
    run("umoci", &["init", "--layout", &layout]);
    run("umoci", &["new", "--image", &format!("{layout}:37")]);
    run(
        "umoci",
        &["raw", "add-layer", "--image", &format!("{layout}:37"), &tar],
    );
    layout
}

/// The digest of the manifest in a layout.
fn manifest_of(layout: &str) -> String {
    let text = fs::read_to_string(Path::new(layout).join("index.json")).unwrap();
    let digest = text.split("\"digest\":\"").nth(1).unwrap();
    digest.split('"').next().unwrap().to_owned()
}

/// An index of two platforms, of which one is in the layout.
fn index(layout: &str) -> Vec<u8> {
    let digest = manifest_of(layout);
    let len = fs::metadata(blob(layout, &digest)).unwrap().len();
    let manifest = |arch: &str, digest: &str| {
        format!(
            "{{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"{digest}\",\"size\":{len},\
             \"platform\":{{\"os\":\"linux\",\"architecture\":\"{arch}\"}}}}"
        )
    };
    let other = format!("sha256:{}", "0".repeat(64));
    let (mine, manifests) = (architectures().0, ["s390x", architectures().0]);
    let manifests = manifests.map(|arch| manifest(arch, if arch == mine { &digest } else { &other }));
    format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{INDEX}\",\"manifests\":[{}]}}",
        manifests.join(",")
    )
    .into_bytes()
}

fn blob(layout: &str, digest: &str) -> std::path::PathBuf {
    Path::new(layout).join("blobs").join(digest.replace(':', "/"))
}

/// A registry that wants a token, and sends blobs from another host, which must not see it. A document of the digest
/// `damaged` comes as another one that means the same.
fn registry(layout: String, index: Vec<u8>, elsewhere: &Server, damaged: Option<String>) -> Server {
    let elsewhere = elsewhere.url("");
    let asked_for = AtomicUsize::new(0);
    Server::start(move |_, asked| {
        let authority = asked.header("host").unwrap_or_default().to_owned();
        if let Some(query) = asked.target.strip_prefix("/token?") {
            assert_eq!(query, "scope=repository:mini/fedora:pull&service=the-registry");
            let number = asked_for.fetch_add(1, Ordering::Relaxed);
            return Reply::new(200, format!("{{\"token\":\"secret-{number}\"}}"));
        }
        if !asked
            .header("authorization")
            .is_some_and(|text| text.starts_with("Bearer secret-"))
        {
            let challenge =
                format!("Bearer realm=\"http://{authority}/token\",service=\"the-registry\",scope=\"x\"");
            return Reply::new(401, "who are you?").with("WWW-Authenticate", &challenge);
        }
        match asked.target.strip_prefix("/v2/mini/fedora/") {
            Some("manifests/37") => Reply::new(200, index.clone()).with("Content-Type", INDEX),
            Some(named) if named.contains("sha256:") => {
                let digest = named.rsplit('/').next().unwrap();
                let mut bytes = fs::read(blob(&layout, digest)).unwrap();
                if damaged.as_deref() == Some(digest) {
                    let text = String::from_utf8(bytes).unwrap();
                    bytes = text
                        .replace("\"schemaVersion\"", "\"schemaVersiom\"")
                        .into_bytes();
                }
                if named.starts_with("blobs/") {
                    Reply::new(307, "").with("Location", &format!("{elsewhere}/{digest}"))
                } else {
                    Reply::new(200, bytes)
                }
            }
            _ => Reply::new(404, "no such thing"),
        }
    })
}

/// Where blobs lie.
fn storage(layout: String) -> Server {
    Server::start(move |_, asked| Reply::new(200, fs::read(blob(&layout, &asked.target[1..])).unwrap()))
}

fn cloud() -> Option<Cloud> {
    oracle::require(&["umoci", "tar"]).then(Cloud::new).flatten()
}

#[test]
fn containers_of_distributions_are_pulled_without_an_engine() {
    let Some(mut cloud) = cloud() else { return };
    let layout = layout(&cloud);
    let index = index(&layout);
    let storage = storage(layout.clone());
    let registry = registry(layout, index, &storage, None);
    let image = format!("docker://{}/mini/fedora:37", registry.authority());
    cloud.lab.set("DIB_CONTAINER_IMAGE", &image);
    for element in ["fedora-container", "rocky-container", "almalinux-container"] {
        cloud.lab.build(&["-t", "raw", element, "probe"]).ok();
        let calls = cloud.calls();
        assert!(
            calls.contains("dracut-config-generic") && calls.contains("kernel"),
            "{calls}"
        );
    }
    assert!(
        storage
            .asked()
            .iter()
            .all(|asked| asked.header("authorization").is_none())
    );
    // Blobs are fetched once, and a tag may come to mean something else.
    let manifests = |asked: &Asked| asked.target.contains("/manifests/37");
    assert_eq!(storage.asked().len(), 2, "{:?}", storage.asked());
    assert_eq!(
        registry.asked().iter().filter(|asked| manifests(asked)).count(),
        6
    );
    let before = registry.asked().len();
    cloud
        .lab
        .build(&["--offline", "-t", "raw", "containerfile", "probe"])
        .ok();
    assert_eq!(registry.asked().len(), before);

    cloud.lab.set("DIB_CONTAINER_PLATFORM", "linux/arm/v7");
    let said = cloud.lab.build(&["-t", "raw", "docker", "probe"]);
    assert_eq!(said.status, 1);
    let told = format!(
        "there is none for linux/arm/v7; there are: linux/s390x, linux/{}",
        architectures().0
    );
    assert!([said.out, said.err].concat().contains(&told));
}

#[test]
fn what_a_registry_gives_must_have_its_digest() {
    let Some(mut cloud) = cloud() else { return };
    let layout = layout(&cloud);
    let index = index(&layout);
    let storage = storage(layout.clone());
    let registry = registry(layout.clone(), index, &storage, Some(manifest_of(&layout)));
    cloud.lab.set(
        "DIB_CONTAINER_IMAGE",
        &format!("docker://{}/mini/fedora:37", registry.authority()),
    );
    let said = cloud.lab.build(&["-t", "raw", "containerfile", "probe"]);
    assert_eq!(said.status, 1);
    let text = [said.out, said.err].concat();
    assert!(
        text.contains("cannot pull") && text.contains("its SHA-256 is"),
        "{text}"
    );
    for (name, told) in [
        (
            format!("docker://{}/mini/fedora:38", registry.authority()),
            "404 Not Found",
        ),
        (
            "docker://A:x y".to_owned(),
            "cannot be the name of a container's image",
        ),
    ] {
        cloud.lab.set("DIB_CONTAINER_IMAGE", &name);
        let said = cloud.lab.build(&["-t", "raw", "containerfile", "probe"]);
        let text = [said.out, said.err].concat();
        assert!(said.status == 1 && text.contains(told), "{text}");
    }
}

#[test]
fn a_pinned_image_is_the_one_of_its_digest() {
    let Some(mut cloud) = cloud() else { return };
    let layout = layout(&cloud);
    let index = index(&layout);
    let pin = format!("sha256:{:x}", Sha256::digest(&index));
    fs::write(blob(&layout, &pin), &index).unwrap();
    let storage = storage(layout.clone());
    let mut built = |pin: &str, damaged: Option<&str>| {
        let registry = registry(
            layout.clone(),
            index.clone(),
            &storage,
            damaged.map(str::to_owned),
        );
        let image = format!("docker://{}/mini/fedora@{pin}", registry.authority());
        cloud.lab.set("DIB_CONTAINER_IMAGE", &image);
        cloud.lab.build(&["-t", "raw", "containerfile", "probe"])
    };
    for pin in [pin, manifest_of(&layout)] {
        let said = built(&pin, Some(&pin));
        let text = [said.out, said.err].concat();
        let told = format!("not {}", &pin["sha256:".len()..]);
        assert!(
            said.status == 1 && text.contains("its SHA-256 is") && text.contains(&told),
            "{text}"
        );
        built(&pin, None).ok();
    }
}
