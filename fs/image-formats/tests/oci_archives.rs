//! Archives of container images, judged by the tools that move and unpack them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::num::NonZero;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use image_core::scan::{Options, scan};
use image_core::{Tree, copy};
use image_formats::laws::facts;
use image_formats::oci::{self, ArchiveOptions, ArchiveSink, Choice, Platform};
use image_formats::tar::{self, WriteOptions};

fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::write(root.join("etc/hostname"), "box\n").unwrap();
    fs::write(root.join("usr/bin/tool"), image_core::laws::filler(1_500_000, 3)).unwrap();
    fs::set_permissions(root.join("usr/bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(root.join("usr/bin/tool"), root.join("usr/bin/twin")).unwrap();
    std::os::unix::fs::symlink("usr/bin", root.join("bin")).unwrap();
    File::create(root.join("hole")).unwrap().set_len(300_000).unwrap();
}

fn options() -> ArchiveOptions {
    ArchiveOptions {
        platform: Platform {
            os: "linux".into(),
            architecture: "arm64".into(),
            variant: Some("v8".into()),
        },
        name: Some(("example.org/team/box".into(), "v1.2".into())),
        created: Some("2023-11-14T22:13:20.000Z".into()),
        level: Some(6),
        docker: true,
        threads: NonZero::new(2).unwrap(),
    }
}

fn write(root: &Path, archive: &Path, options: ArchiveOptions) {
    let (tree, store) = scan(root, &Options::default()).unwrap();
    let holes = WriteOptions {
        sparse: false,
        ..WriteOptions::default()
    };
    let map = tar::plan(&tree, &holes).unwrap();
    let mut sink = ArchiveSink::new(File::create(archive).unwrap(), options).unwrap();
    copy(&map, &store, &mut sink).unwrap();
    assert!(sink.into_inner().is_some());
}

fn run(tool: &str, words: &[&str]) -> String {
    let args: Vec<&OsStr> = words.iter().map(|word| OsStr::new(*word)).collect();
    oracle::run(tool, &args)
}

/// What tells of names, modes and bytes: what umoci keeps of a tree whoever unpacks it.
fn plain_facts(tree: &Tree, store: &impl image_core::Store) -> Vec<String> {
    let facts = facts(tree, store, false, &|time| image_core::tree::Time {
        secs: time.secs,
        nanos: 0,
    });
    facts
        .iter()
        .map(|(path, fact)| format!("{} {fact}", path.escape_ascii()))
        .collect()
}

#[test]
fn skopeo_sees_and_copies_both_kinds_and_umoci_unpacks_the_tree() {
    if !oracle::require_root() || !oracle::require(&["skopeo", "umoci"]) {
        return;
    }
    for level in [None, Some(6)] {
        let dir = tempfile::tempdir().unwrap();
        let (root, archive) = (dir.path().join("root"), dir.path().join("box.docker.tar"));
        fs::create_dir(&root).unwrap();
        make_tree(&root);
        write(&root, &archive, ArchiveOptions { level, ..options() });
        let archive = archive.display();
        for transport in ["docker-archive", "oci-archive"] {
            let told = run("skopeo", &["inspect", &format!("{transport}:{archive}")]);
            assert!(told.contains(r#""Architecture": "arm64""#), "{transport}: {told}");
            assert!(
                told.contains(r#""Created": "2023-11-14T22:13:20Z""#),
                "{transport}: {told}"
            );
            let layout = dir.path().join(transport);
            let layout = layout.display();
            run(
                "skopeo",
                &[
                    "copy",
                    &format!("{transport}:{archive}"),
                    &format!("oci:{layout}:moved"),
                ],
            );
            let bundle = dir.path().join(format!("{transport}-bundle"));
            let image = format!("{layout}:moved");
            run(
                "umoci",
                &["unpack", "--image", &image, &bundle.display().to_string()],
            );
            let [want, found] = [&root, &bundle.join("rootfs")].map(|root| {
                let (tree, store) = scan(root, &Options::default()).unwrap();
                plain_facts(&tree, &store)
            });
            assert_eq!(found, want, "{transport}");
        }
        let told = run(
            "skopeo",
            &[
                "inspect",
                &format!("docker-archive:{archive}:example.org/team/box:v1.2"),
            ],
        );
        assert!(told.contains("arm64"), "the name is the tag: {told}");
        let told = run("skopeo", &["inspect", &format!("oci-archive:{archive}:v1.2")]);
        assert!(told.contains("arm64"), "the tag is the reference: {told}");
    }
}

#[test]
fn podman_loads_it_under_its_name() {
    if !oracle::require_root() || !oracle::require(&["podman"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (root, archive) = (dir.path().join("root"), dir.path().join("box.docker.tar"));
    fs::create_dir(&root).unwrap();
    make_tree(&root);
    let [store, state] = ["store", "state"].map(|name| dir.path().join(name).display().to_string());
    let podman = |words: &[&str]| {
        let own = ["--root", &store, "--runroot", &state, "--storage-driver", "vfs"];
        run("podman", &[&own, words].concat())
    };
    for docker in [true, false] {
        let options = ArchiveOptions { docker, ..options() };
        write(&root, &archive, options);
        podman(&["load", "--input", archive.to_str().unwrap()]);
        let format = "{{.Os}}/{{.Architecture}} {{len .RootFS.Layers}} {{.RepoTags}}";
        let name = "example.org/team/box:v1.2";
        let told = podman(&["image", "inspect", "--format", format, name]);
        assert!(told.contains(&format!("linux/arm64 1 [{name}]")), "{told}");
        podman(&["image", "rm", "--all", "--force"]);
    }
}

#[test]
fn the_image_is_read_as_the_tree_that_it_was_made_of() {
    let dir = tempfile::tempdir().unwrap();
    let (root, archive) = (dir.path().join("root"), dir.path().join("box.tar"));
    fs::create_dir(&root).unwrap();
    make_tree(&root);
    for (level, docker) in [(None, true), (Some(1), true), (Some(1), false)] {
        let options = ArchiveOptions {
            level,
            docker,
            ..options()
        };
        write(&root, &archive, options.clone());
        let bytes = fs::read(&archive).unwrap();
        assert_eq!(bytes.len() % 512, 0);
        write(
            &root,
            &archive,
            ArchiveOptions {
                threads: NonZero::<usize>::MIN,
                ..options
            },
        );
        assert!(
            fs::read(&archive).unwrap() == bytes,
            "the number of threads shows"
        );
        let (layout, layout_store) = tar::read(File::open(&archive).unwrap(), &archive).unwrap();
        let has = |name: &[u8]| layout.iter().any(|(id, _)| layout.path(id) == name);
        assert_eq!((has(b"manifest.json"), has(b"index.json")), (docker, true));
        let choice = Choice {
            platform: options_platform(),
            tag: Some("v1.2".into()),
        };
        let (tree, store) = oci::read(&layout, &layout_store, &choice, &mut || tempfile::tempfile()).unwrap();
        let (want, want_store) = scan(&root, &Options::default()).unwrap();
        assert_eq!(
            facts(&tree, &store, false, &|time| time),
            facts(&want, &want_store, false, &|time| time)
        );
    }
}

fn options_platform() -> Platform {
    options().platform
}
