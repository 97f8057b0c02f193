//! Roots of container images: of archives, without an engine, and of what an engine builds and saves.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::cloud::{architectures, furnish};
use super::run;
use crate::lab::{DIB, Lab};

/// A lab with an archive of a root, and engines that save it and note down how they were called.
fn lab() -> Option<Lab> {
    let mut lab = Lab::new()?;
    let root = lab.dir().join("cloud");
    furnish(&root);
    let archive = lab.dir().join("saved.tar").display().to_string();
    run("tar", &["-C", root.to_str().unwrap(), "-cpf", &archive, "."]);
    let bin = lab.dir().join("bin");
    fs::create_dir(&bin).unwrap();
    for engine in ["docker", "podman"] {
        let script = "#!/bin/bash\necho \"${0##*/} $*\" >>engine-calls\n\
                      case \"$1 $2\" in\nsave*) cp \"$SAVED\" \"$3\" ;;\n\
                      'image inspect') [ -n \"${HAS:-}\" ] && echo \"$HAS\" ;;\nesac\n";
        fs::write(bin.join(engine), script).unwrap();
        fs::set_permissions(bin.join(engine), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display());
    lab.set("PATH", &path).set("SAVED", &archive);
    lab.hook(
        "cleanup.d/99-see",
        "[ -e $TARGET_ROOT/etc/sudoers ] && touch seen",
    );
    Some(lab)
}

#[test]
fn an_archive_needs_no_engine() {
    let Some(mut lab) = lab() else { return };
    let archive = lab.dir().join("saved.tar").display().to_string();
    lab.set("DIB_CONTAINER_IMAGE", &archive);
    for element in ["containerfile", "docker"] {
        lab.build(&["-t", "raw", element, "probe"]).ok();
        assert!(lab.out("seen").is_file());
        fs::remove_file(lab.out("seen")).unwrap();
        assert!(lab.text("image.d/dib-manifests/dib_arguments").contains(element));
        assert!(!lab.out("engine-calls").exists());
    }
}

/// There is no program in the tree, so no hook can run in it; its record is made all the same, but through no link.
#[test]
fn a_container_without_programs_gets_its_record() {
    let Some(mut lab) = Lab::new() else { return };
    for (tree, link) in [("plain", None), ("linked", Some("/elsewhere"))] {
        let etc = lab.out(tree).join("etc");
        fs::create_dir(lab.out(tree)).unwrap();
        match link {
            None => fs::create_dir(&etc).unwrap(),
            Some(target) => std::os::unix::fs::symlink(target, &etc).unwrap(),
        }
        lab.run(DIB, &["assemble", tree, "-o", tree, "-t", "docker"]).ok();
        let archive = lab.out(&format!("{tree}.docker.tar")).display().to_string();
        lab.set("DIB_CONTAINER_IMAGE", &archive);
        let said = lab.build(&["-t", "raw", "docker"]);
        if link.is_none() {
            said.ok();
            let arguments = lab.text("image.d/dib-manifests/dib_arguments");
            assert!(arguments.contains("docker"), "{arguments}");
        } else {
            assert_eq!(said.status, 1);
            let said = [said.out, said.err].concat();
            assert!(
                said.contains("/etc/dib-manifests cannot be made: etc leads elsewhere"),
                "{said}"
            );
        }
    }
}

#[test]
fn an_engine_builds_what_a_dockerfile_says() {
    let Some(mut lab) = lab() else { return };
    let args = ["no-final-image", "containerfile", "probe"];
    let said = lab.build(&args);
    assert_eq!(said.status, 1);
    assert!(
        [said.out, said.err]
            .concat()
            .contains("There is no container: set DIB_CONTAINER_IMAGE")
    );
    lab.file("probe/containerfiles/7", "FROM scratch\n");
    lab.set("DIB_RELEASE", "7")
        .set("DIB_CONTAINERFILE_BUILDOPTS", "--squash --pull")
        .set("DIB_CONTAINER_CONTEXT", "context");
    lab.build(&args).ok();
    assert!(lab.out("seen").is_file());
    let calls = lab.text("engine-calls");
    let calls: Vec<&str> = calls.lines().collect();
    assert!(calls[0].starts_with("podman build -t dib-build-"), "{calls:?}");
    assert!(
        calls[0].contains(&format!(
            " --network host --squash --pull --platform linux/{} -f ",
            architectures().0
        )),
        "{calls:?}"
    );
    assert!(calls[0].ends_with("/containerfiles/7 context"), "{calls:?}");
    assert!(calls[1].starts_with("podman save -o ") && calls[2].starts_with("podman rmi -f dib-build-"));
    lab.build(&[&["-a", "armhf"], &args[..]].concat()).ok();
    let calls = lab.text("engine-calls");
    let last = calls.lines().rfind(|line| line.contains(" build ")).unwrap();
    assert!(last.contains(" --platform linux/arm -f "), "{last}");
    lab.set("DIB_CONTAINERFILE_RUNTIME", "no-such-engine");
    let said = lab.build(&args);
    assert!(
        [said.out, said.err]
            .concat()
            .contains("there is no no-such-engine")
    );
}

#[test]
fn docker_is_asked_for_an_image_by_name() {
    let Some(mut lab) = lab() else { return };
    let args = ["no-final-image", "docker", "probe"];
    let said = lab.build(&args);
    assert!(
        [said.out, said.err]
            .concat()
            .contains("There is no container: set DIB_CONTAINER_IMAGE")
    );
    lab.set("DISTRO_NAME", "debian").set("DIB_RELEASE", "12");
    lab.build(&args).ok();
    lab.set("DIB_DOCKER_IMAGE", "mine:1")
        .set("DIB_CONTAINER_PLATFORM", "linux/arm64");
    lab.build(&args).ok();
    // What docker has is taken where it is for the machine, and no other.
    lab.set("DIB_CONTAINER_PLATFORM", "").set("HAS", "linux/arm64");
    for arch in ["arm64", "aarch64", "s390x"] {
        lab.build(&[&["-a", arch], &args[..]].concat()).ok();
    }
    lab.set("HAS", "linux/arm")
        .set("DIB_CONTAINER_PLATFORM", "linux/arm/v7");
    lab.build(&args).ok();
    let calls = lab.text("engine-calls");
    let pulls: Vec<_> = calls
        .lines()
        .filter(|line| line.starts_with("docker pull"))
        .collect();
    let own = format!("docker pull --platform linux/{} debian:12", architectures().0);
    assert_eq!(
        pulls,
        [
            &own,
            "docker pull --platform linux/arm64 mine:1",
            "docker pull --platform linux/s390x mine:1",
        ]
    );
}

/// Images of the root, made by umoci and copied by skopeo: a directory, and archives of both kinds.
fn images(lab: &Lab) -> [String; 3] {
    let path = |name: &str| lab.dir().join(name).display().to_string();
    let (layout, bundle) = (path("oci"), path("bundle"));
    let image = format!("{layout}:mine");
    run("umoci", &["init", "--layout", &layout]);
    run("umoci", &["new", "--image", &image]);
    run("umoci", &["unpack", "--image", &image, &bundle]);
    run("cp", &["-a", &path("cloud/."), &format!("{bundle}/rootfs")]);
    run("umoci", &["repack", "--image", &image, &bundle]);
    let copies = ["oci-archive", "docker-archive"].map(|kind| {
        let (from, to) = (
            format!("oci:{image}"),
            format!("{kind}:{}:test/mine:1", path(kind)),
        );
        run("skopeo", &["--insecure-policy", "copy", "-q", &from, &to]);
        path(kind)
    });
    let [oci, docker] = copies;
    [layout, oci, docker]
}

#[test]
fn container_images_are_roots_without_an_engine() {
    if !oracle::require(&["umoci", "skopeo", "gzip"]) {
        return;
    }
    let Some(mut lab) = lab() else { return };
    let images = images(&lab);
    for image in &images {
        lab.set("DIB_CONTAINER_IMAGE", image);
        lab.build(&["no-final-image", "containerfile", "probe"]).ok();
        fs::remove_file(lab.out("seen")).unwrap();
        lab.run(DIB, &["assemble", image, "-o", "assembled", "-t", "raw"])
            .ok();
        let sudoers = ["-R", "cat /etc/sudoers", "assembled.raw"];
        let said = lab.run("/usr/sbin/debugfs", &sudoers).ok();
        assert!(said.out.contains("requiretty"), "{image}: {}", said.out);
    }
    run("gzip", &["-k", &images[1]]);
    lab.set("DIB_CONTAINER_IMAGE", &format!("{}.gz", images[1]));
    lab.build(&["no-final-image", "docker", "probe"]).ok();

    lab.set("DIB_CONTAINER_PLATFORM", "linux/s390x");
    let said = lab.build(&["no-final-image", "docker", "probe"]);
    assert_eq!(said.status, 1);
    let text = [said.out, said.err].concat();
    assert!(text.contains("no image is for linux/s390x; there are:"), "{text}");
    lab.set("DIB_CONTAINER_PLATFORM", "linux");
    let said = lab.build(&["no-final-image", "docker", "probe"]);
    assert!([said.out, said.err].concat().contains("'linux' is no platform"));
    // A file of that name makes no container of a root.
    let root = lab.dir().join("cloud");
    fs::write(root.join("manifest.json"), "{}").unwrap();
    let tar = lab.dir().join("with-manifest.tar").display().to_string();
    run("tar", &["-C", root.to_str().unwrap(), "-cpf", &tar, "."]);
    lab.set("DIB_CONTAINER_IMAGE", &tar)
        .set("DIB_CONTAINER_PLATFORM", "");
    lab.build(&["no-final-image", "docker", "probe"]).ok();
}
