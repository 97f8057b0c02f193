//! Container images by hand, by umoci and by skopeo, read as trees and compared with what umoci unpacks.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use image_core::store::Store;
use image_core::tree::{Content, NodeId, Tree};
use image_formats::oci::{self, Choice, Error, Platform};
use image_formats::tar::{self, TarStore};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

fn choice(tag: Option<&str>, architecture: &str) -> Choice {
    Choice {
        platform: Platform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: None,
        },
        tag: tag.map(str::to_owned),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A layout that is being made in a directory.
struct Layout(PathBuf);

impl Layout {
    fn new(path: &Path) -> Self {
        fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(path.to_path_buf())
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = hex(bytes);
        fs::write(self.0.join("blobs/sha256").join(&digest), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() })
    }

    fn json(&self, media_type: &str, value: &Value) -> Value {
        self.blob(media_type, value.to_string().as_bytes())
    }

    /// The descriptor of an image of the given layers, each packed by a program.
    fn image(&self, architecture: &str, layers: &[(&[u8], &str)]) -> Value {
        let diff_ids: Vec<_> = layers
            .iter()
            .map(|(tar, _)| format!("sha256:{}", hex(tar)))
            .collect();
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = self.json("application/vnd.oci.image.config.v1+json", &config);
        let layers: Vec<_> = layers
            .iter()
            .map(|(tar, packer)| {
                let suffix = if packer.is_empty() {
                    String::new()
                } else {
                    format!("+{packer}")
                };
                self.blob(
                    &format!("application/vnd.oci.image.layer.v1.tar{suffix}"),
                    &packed(tar, packer),
                )
            })
            .collect();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers });
        self.json(media_type, &manifest)
    }

    fn index(&self, manifests: &[Value]) {
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        fs::write(self.0.join("index.json"), index.to_string()).unwrap();
    }
}

/// Adds what an index says of an image.
fn entry(mut descriptor: Value, tag: &str, platform: Option<&str>) -> Value {
    descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
    if let Some(architecture) = platform {
        descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
    }
    descriptor
}

fn packed(bytes: &[u8], packer: &str) -> Vec<u8> {
    if packer.is_empty() {
        return bytes.to_vec();
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("layer");
    // Two members or frames, one behind the other, are one stream.
    let mut all = Vec::new();
    for half in [&bytes[..bytes.len() / 2], &bytes[bytes.len() / 2..]] {
        fs::write(&file, half).unwrap();
        let args = [OsStr::new("-q"), OsStr::new("-c"), file.as_os_str()];
        all.extend(oracle::output(packer, &args).stdout);
    }
    all
}

/// An archive of what `make` makes in a directory.
fn layer(make: impl Fn(&Path)) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (root, file) = (dir.path().join("root"), dir.path().join("tar"));
    fs::create_dir(&root).unwrap();
    make(&root);
    let args: [&OsStr; 9] = [
        "-C".as_ref(),
        root.as_ref(),
        "--format=posix".as_ref(),
        "--sort=name".as_ref(),
        "--mtime=@1600000000".as_ref(),
        "--numeric-owner".as_ref(),
        "-cf".as_ref(),
        file.as_ref(),
        ".".as_ref(),
    ];
    oracle::run("tar", &args);
    fs::read(file).unwrap()
}

fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Three layers with every way in which one changes what is below.
fn layers() -> [Vec<u8>; 3] {
    [
        layer(|root| {
            write(
                root,
                &[
                    ("etc/kept", "kept"),
                    ("etc/removed", "removed"),
                    ("etc/replaced", "old"),
                    ("etc/removed-and-new", "old"),
                    ("cache/a", "a"),
                    ("cache/b/c", "c"),
                    ("cacheless", "a name that begins as another's"),
                    ("file-to-directory", "file"),
                    ("directory-to-file/inner/x", "x"),
                    ("directory-to-link/x", "x"),
                    ("gone/deep/x", "x"),
                ],
            );
            symlink("etc", root.join("link-to-directory")).unwrap();
            fs::hard_link(root.join("etc/replaced"), root.join("etc/its-other-name")).unwrap();
            fs::set_permissions(root.join("etc"), fs::Permissions::from_mode(0o700)).unwrap();
        }),
        layer(|root| {
            write(
                root,
                &[
                    ("etc/.wh.removed", ""),
                    ("etc/.wh.removed-and-new", ""),
                    ("etc/removed-and-new", "new"),
                    ("etc/replaced", "new"),
                    // Before and behind the mark in the order of the archive.
                    ("cache/+new", "new"),
                    ("cache/.wh..wh..opq", ""),
                    ("cache/b/new", "new"),
                    ("file-to-directory/x", "x"),
                    ("directory-to-file", "file"),
                    (".wh.gone", ""),
                    (".wh.never-there", ""),
                ],
            );
            symlink("etc", root.join("directory-to-link")).unwrap();
            fs::set_permissions(root.join("etc"), fs::Permissions::from_mode(0o751)).unwrap();
        }),
        layer(|root| {
            write(
                root,
                &[
                    ("gone/again", "again"),
                    (".wh.cacheless", ""),
                    ("link-to-directory/x", "x"),
                ],
            );
        }),
    ]
}

fn scratch() -> io::Result<File> {
    tempfile::tempfile()
}

fn read_directory(path: &Path, choice: &Choice) -> Result<(Tree, TarStore), Error> {
    let (layout, store) = image_core::scan(path, &image_core::scan::Options::default()).unwrap();
    oci::read(&layout, &store, choice, &mut scratch)
}

fn read_archive(path: &Path, choice: &Choice) -> Result<(Tree, TarStore), Error> {
    let (layout, store) = tar::read(File::open(path).unwrap(), path).unwrap();
    oci::read(&layout, &store, choice, &mut scratch)
}

/// A line for each name: all that a tree says of it.
fn lines(tree: &Tree, store: &impl Store) -> Vec<String> {
    let mut lines = Vec::new();
    let mut todo = vec![(NodeId::ROOT, String::new())];
    while let Some((id, path)) = todo.pop() {
        let node = tree.node(id);
        let what = match &node.content {
            Content::Directory(entries) => {
                todo.extend(
                    tree.entries(*entries)
                        .map(|(name, id)| (id, format!("{path}/{}", name.escape_ascii()))),
                );
                "directory".to_owned()
            }
            Content::Symlink(target) => format!("-> {}", tree.target(*target).escape_ascii()),
            Content::File(data) => {
                let mut bytes = vec![0; usize::try_from(data.len).unwrap()];
                let open = store.open(data.file).unwrap();
                open.read_exact_at(&mut bytes, 0).unwrap();
                open.finish().unwrap();
                format!("{} links, {}", node.links, bytes.escape_ascii())
            }
            other => format!("{other:?}"),
        };
        let meta = node.meta;
        lines.push(format!(
            "{path} {:o} {}:{} {} {what}",
            meta.mode, meta.uid, meta.gid, meta.mtime.secs
        ));
    }
    lines.sort();
    lines
}

#[test]
fn layers_lie_one_above_the_other_as_umoci_unpacks_them() {
    if !oracle::require(&["tar", "gzip", "zstd", "umoci", "skopeo"]) || !oracle::require_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let layers = layers();
    let made = |name: &str, packers: [&str; 3]| {
        let layout = Layout::new(&at(name));
        let all: Vec<_> = layers.iter().map(Vec::as_slice).zip(packers).collect();
        layout.index(&[entry(layout.image("amd64", &all), "one", None)]);
        at(name)
    };
    let gzip = made("gzip", ["gzip", "gzip", "gzip"]);
    let image = format!("{}:one", gzip.display());
    oracle::run(
        "umoci",
        &[
            "unpack".as_ref(),
            "--image".as_ref(),
            image.as_ref(),
            at("bundle").as_ref(),
        ],
    );
    let (judge, files) =
        image_core::scan(&at("bundle/rootfs"), &image_core::scan::Options::default()).unwrap();
    let want = lines(&judge, &files);
    assert_eq!(want.len(), 18, "{want:#?}");

    let one = choice(Some("one"), "amd64");
    for packers in [["gzip"; 3], ["", "zstd", "gzip"], ["", "", ""]] {
        let layout = made(&format!("layout-{}", packers.concat()), packers);
        let (tree, store) = read_directory(&layout, &one).unwrap();
        assert_eq!(lines(&tree, &store), want, "{packers:?}");
    }
    let plain = made("plain", ["", "", ""]);
    for (from, to) in [
        (&gzip, "oci-archive"),
        (&plain, "oci-archive"),
        (&gzip, "docker-archive"),
        (&gzip, "oci"),
        (&gzip, "dir"),
    ] {
        let _ = fs::remove_file(at("copy"));
        let from = format!("oci:{}:one", from.display());
        let to_image = match to {
            "dir" => continue,
            "oci" => format!("oci:{}:one", at("copied").display()),
            _ => format!("{to}:{}:example.org/some/image:one", at("copy").display()),
        };
        oracle::run(
            "skopeo",
            &[
                "--insecure-policy".as_ref(),
                "copy".as_ref(),
                "-q".as_ref(),
                from.as_ref(),
                to_image.as_ref(),
            ],
        );
        let read = match to {
            "oci" => read_directory(&at("copied"), &one),
            _ => read_archive(&at("copy"), &one),
        };
        let (tree, store) = read.unwrap_or_else(|error| panic!("{to}: {error}"));
        assert_eq!(lines(&tree, &store), want, "{to}");
    }
}

#[test]
fn the_older_archives_of_docker_are_read_with_links_for_equal_layers() {
    if !oracle::require(&["tar"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let bytes = layer(|root| write(root, &[("a", "a")]));
    let other = layer(|root| write(root, &[("b", "b")]));
    let ids = [&bytes, &other, &bytes].map(|tar| format!("sha256:{}", hex(tar)));
    let config =
        json!({ "architecture": "arm", "variant": "v7", "os": "linux", "rootfs": { "diff_ids": ids } })
            .to_string();
    let name = format!("{}.json", hex(config.as_bytes()));
    write(&root, &[(&name, &config)]);
    for (id, tar) in [("one", &bytes), ("two", &other)] {
        fs::create_dir(root.join(id)).unwrap();
        fs::write(root.join(id).join("layer.tar"), tar).unwrap();
    }
    fs::create_dir(root.join("three")).unwrap();
    symlink("../one/layer.tar", root.join("three/layer.tar")).unwrap();
    let manifest = |layers: &[&str]| {
        let manifest =
            json!([{ "Config": name, "RepoTags": ["debian:12", "debian:bookworm"], "Layers": layers }]);
        fs::write(root.join("manifest.json"), manifest.to_string()).unwrap();
        let archive = dir.path().join("archive");
        let args = [
            "-C".as_ref(),
            root.as_os_str(),
            "-cf".as_ref(),
            archive.as_os_str(),
            "manifest.json".as_ref(),
            name.as_ref(),
            "one".as_ref(),
            "two".as_ref(),
            "three".as_ref(),
        ];
        oracle::run("tar", &args);
        archive
    };
    let all = manifest(&["one/layer.tar", "two/layer.tar", "three/layer.tar"]);
    for tag in [None, Some("debian:12"), Some("bookworm")] {
        let (tree, store) = read_archive(&all, &choice(tag, "arm")).unwrap();
        let lines = lines(&tree, &store);
        assert!(
            lines.len() == 3 && lines[1].ends_with("1 links, a") && lines[2].ends_with("1 links, b"),
            "{lines:?}"
        );
    }
    let error = |archive: &Path, choice: &Choice| read_archive(archive, choice).unwrap_err().to_string();
    assert_eq!(
        error(&all, &choice(Some("debian:1"), "arm")),
        "no image is 'debian:1' for linux/arm; there are: debian:12 or debian:bookworm for linux/arm/v7"
    );
    let mut v6 = choice(None, "arm");
    v6.platform.variant = Some("v6".into());
    assert!(error(&all, &v6).starts_with("no image is for linux/arm/v6; "));
    let few = manifest(&["one/layer.tar"]);
    assert_eq!(
        error(&few, &choice(None, "arm")),
        format!("{name} tells of 3 layers, but there are 1")
    );
    let wrong = manifest(&["two/layer.tar", "two/layer.tar", "one/layer.tar"]);
    assert_eq!(
        error(&wrong, &choice(None, "arm")),
        format!(
            "two/layer.tar is damaged: its SHA-256 is {}, not {}",
            ids[1], ids[0]
        )
    );
    let missing = manifest(&["one/layer.tar", "four", "one/layer.tar"]);
    assert_eq!(error(&missing, &choice(None, "arm")), "four is not in the image");
}

#[test]
fn platform_and_name_choose_and_errors_list_what_there_is() {
    if !oracle::require(&["tar", "gzip"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let tar = |text: &str| layer(|root| write(root, &[("which", text)]));
    let (amd, arm, old) = (tar("amd64"), tar("arm64"), tar("old"));
    let inner = json!({ "manifests": [
        entry(layout.image("amd64", &[(&amd, "gzip")]), "", Some("amd64")),
        entry(layout.image("arm64", &[(&arm, "")]), "", Some("arm64")),
        { "digest": format!("sha256:{}", "0".repeat(64)), "size": 5, "platform": { "os": "unknown", "architecture": "unknown" } },
    ] });
    let inner = layout.json("application/vnd.oci.image.index.v1+json", &inner);
    let old = layout.image("amd64", &[(&old, "")]);
    layout.index(&[
        entry(inner, "new", None),
        entry(old.clone(), "old", None),
        entry(old, "oldest", None),
    ]);
    let which = |tag, architecture| {
        let (tree, store) = read_directory(dir.path(), &choice(tag, architecture)).unwrap();
        lines(&tree, &store)[1].rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(which(Some("new"), "amd64"), "amd64");
    assert_eq!(which(None, "arm64"), "arm64");
    assert_eq!(which(Some("old"), "amd64"), "old");
    assert_eq!(which(Some("oldest"), "amd64"), "old");
    let error = |tag, architecture| {
        read_directory(dir.path(), &choice(tag, architecture))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error(None, "amd64"),
        "more than one image is for linux/amd64: choose one of new for linux/amd64, old or oldest for linux/amd64"
    );
    assert_eq!(
        error(Some("new"), "riscv64"),
        "no image is 'new' for linux/riscv64; there are: new for linux/amd64, new for linux/arm64, old or oldest for linux/amd64"
    );
}

/// What reading the layout says that `make` makes: the error, and its cause.
fn error(make: &dyn Fn(&Layout)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("layout");
    make(&Layout::new(&path));
    let error = read_directory(&path, &choice(None, "amd64")).unwrap_err();
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[test]
fn damaged_layouts_are_refused_with_path_and_digests() {
    if !oracle::require(&["tar", "gzip"]) {
        return;
    }
    let good = layer(|root| write(root, &[("a/b", "b")]));
    let digest = hex(&good);
    let with =
        |tar: &[u8]| error(&|layout| layout.index(&[layout.image("amd64", &[(&good, ""), (tar, "")])]));
    let change = |blob: &str, change: &dyn Fn(&Path)| {
        error(&|layout| {
            layout.index(&[layout.image("amd64", &[(&good, "")])]);
            change(&layout.0.join("blobs/sha256").join(blob));
        })
    };
    assert_eq!(
        error(&|_| {}),
        "no container image: there is neither index.json nor manifest.json"
    );
    let long = good.len();
    assert_eq!(
        change(&digest, &|path| fs::write(path, "short").unwrap()),
        format!("blobs/sha256/{digest} is damaged: it has 5 bytes, not {long}")
    );
    let zeros = hex(&vec![0; long]);
    assert_eq!(
        change(&digest, &|path| fs::write(path, vec![0; long]).unwrap()),
        format!("blobs/sha256/{digest} is damaged: its SHA-256 is sha256:{zeros}, not sha256:{digest}")
    );
    assert_eq!(
        change(&digest, &|path| fs::remove_file(path).unwrap()),
        format!("blobs/sha256/{digest} is not in the image")
    );
    let cut = with(&good[..700]);
    assert!(cut.starts_with("cannot read layer 2, blobs/sha256/"), "{cut}");
    let cut = error(&|layout| {
        let image = layout.image("amd64", &[(&good, "gzip")]);
        let blob = fs::read_dir(layout.0.join("blobs/sha256"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| fs::read(path).unwrap().starts_with(&[0x1f, 0x8b]))
            .unwrap();
        let len = blob.metadata().unwrap().size();
        File::options()
            .write(true)
            .open(blob)
            .unwrap()
            .set_len(len - 9)
            .unwrap();
        layout.index(&[image]);
    });
    assert!(cut.contains(" is damaged: it has "), "{cut}");
}

#[test]
fn no_layer_is_written_through_a_link_and_no_link_leads_out_of_the_layout() {
    if !oracle::require(&["tar"]) {
        return;
    }
    let good = layer(|root| write(root, &[("a/b", "b")]));
    let digest = hex(&good);
    let with =
        |tar: &[u8]| error(&|layout| layout.index(&[layout.image("amd64", &[(&good, ""), (tar, "")])]));
    let change = |blob: &str, change: &dyn Fn(&Path)| {
        error(&|layout| {
            layout.index(&[layout.image("amd64", &[(&good, "")])]);
            change(&layout.0.join("blobs/sha256").join(blob));
        })
    };
    // A link out of the layout is none that is followed.
    assert_eq!(
        change(&digest, &|path| {
            fs::remove_file(path).unwrap();
            symlink("/etc/passwd", path).unwrap();
        }),
        format!("blobs/sha256/{digest} is not in the image")
    );
    let through = layer(|root| symlink("/etc", root.join("a2")).unwrap());
    let through = error(&|layout| {
        let below = layer(|root| write(root, &[("a2/x", "x")]));
        let mut bytes = below.clone();
        // Only the file, without the directory that would take the link's place.
        let at = bytes.windows(6).position(|name| name == b"./a2/x").unwrap();
        bytes.drain(..at);
        layout.index(&[layout.image("amd64", &[(&through, ""), (&bytes, "")])]);
    });
    assert!(
        through.ends_with("member './a2/x': 'a2' is no directory"),
        "{through}"
    );
    let whiteout = with(&layer(|root| write(root, &[("a/.wh.", "")])));
    assert!(
        whiteout.ends_with("member './a/.wh.': a whiteout that names no file"),
        "{whiteout}"
    );
}
