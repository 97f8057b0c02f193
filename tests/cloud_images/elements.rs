//! The elements whose root is a cloud image, each built of an image that other tools made of a small root.

use std::fs;
use std::path::Path;

use oracle::http::{Asked, Reply, Server};

use super::cloud::{Cloud, DEB822, SOURCES, architectures, can_make, furnish, programs, sha256};
use super::run;
use crate::lab::{DIB, Lab};
use crate::rung::{Rung, Stairs};

const ARGS: [&str; 4] = ["-t", "raw", "ubuntu", "probe"];

/// The name of the image that `ubuntu` wants.
fn ubuntu_image() -> String {
    format!("noble-server-cloudimg-{}.squashfs", architectures().0)
}

/// A server of Ubuntu's images: the image as `bodies` has it, request by request, the last one for ever.
fn ubuntu_server(cloud: &Cloud, image: &[u8], bodies: Vec<Vec<u8>>) -> Server {
    let name = ubuntu_image();
    let sums = format!(
        "{}  other.img\n{} *{name}\n",
        "0".repeat(64),
        sha256(image, cloud.lab.dir())
    );
    let asked_for = std::sync::atomic::AtomicUsize::new(0);
    Server::start(move |_, asked| {
        if asked.target == "/current/SHA256SUMS" {
            return Reply::file(asked, sums.as_bytes(), "\"sums\"");
        }
        if asked.target != format!("/current/{name}") {
            return Reply::new(404, "no such file");
        }
        let at = asked_for
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed)
            .min(bodies.len() - 1);
        Reply::file(asked, &bodies[at], &format!("\"{at}\""))
    })
}

#[test]
fn ubuntu_is_its_cloud_image_with_what_the_element_adds() {
    let Some(mut cloud) = Cloud::new() else { return };
    let image = cloud.squashfs();
    let server = ubuntu_server(&cloud, &image, vec![image.clone()]);
    cloud
        .lab
        .set("DIB_CLOUD_IMAGES", &server.url("/current"))
        .set("DIB_DISTRIBUTION_MIRROR", "http://mirror.test/u&buntu")
        .set("DIB_DISTRIBUTION_MIRROR_UBUNTU_IGNORE", "security|^# ")
        .set("DIB_DISTRIBUTION_MIRROR_VERIFY_HTTPS", "0");
    let hook = "grep -q Verify-Peer /etc/apt/apt.conf.d/60img-build-mirror";
    cloud.lab.hook("install.d/50-check", hook);
    cloud.lab.build(&ARGS).ok();
    assert!(cloud.lab.out("image.raw").is_file());

    let calls = cloud.calls();
    for call in [
        "install dkms linux-image-generic",
        "dkms autoinstall -k 6.1\napt-get",
        "apt-get update",
        "--assume-yes autoremove",
    ] {
        assert!(calls.contains(call), "no {call} in {calls}");
    }
    assert_eq!(
        cloud.seen("etc/cloud/cloud.cfg.d/91-dib-cloud-init-datasources.cfg"),
        "datasource_list: [ Ec2, None ]\ndatasource:\n  Ec2:\n    strict_id: false\n"
    );
    let mirrored = |text: &str| text.replace("http://archive.test/ubuntu", "http://mirror.test/u&buntu");
    let one_line = mirrored(SOURCES).replace(
        "# deb http://mirror.test/u&buntu",
        "# deb http://archive.test/ubuntu",
    );
    assert_eq!(cloud.seen("etc/apt/sources.list"), one_line);
    let deb822 = mirrored(DEB822).replace("u&buntu/", "u&buntu");
    assert_eq!(cloud.seen("etc/apt/sources.list.d/ubuntu.sources"), deb822);
    assert!(
        !cloud
            .lab
            .out("seen/etc/apt/apt.conf.d/60img-build-mirror")
            .exists()
    );
    assert_eq!(cloud.seen("etc/machine-id"), "uninitialized\n");

    // The cache has both, and the server is only asked for something newer.
    let cache = cloud.lab.dir().join("home/.cache/image-create");
    assert_eq!(fs::read(cache.join(ubuntu_image())).unwrap(), image);
    let sums = format!("SHA256SUMS.ubuntu.noble.{}", architectures().0);
    assert!(cache.join(sums).is_file());
    let before = server.asked().len();
    // This time with the kernel that is asked for, and with no other.
    cloud.lab.set("DIB_SIGNED_KERNEL_VERSION", "6.2").hook(
        "root.d/50-kernels",
        "touch $TARGET_ROOT/boot/vmlinuz-6.1 $TARGET_ROOT/boot/vmlinuz-6.2",
    );
    cloud
        .lab
        .build(&["no-final-image", "ubuntu-signed", "probe"])
        .ok();
    let calls = cloud.calls();
    let lines = ["install linux-image-6.2\n", "remove linux-image-6.1\n"];
    assert!(lines.iter().all(|line| calls.contains(line)), "{calls}");
    let again = server.asked();
    assert_eq!(again.len(), before + 2);
    assert!(
        again[before..]
            .iter()
            .all(|asked| asked.header("if-none-match").is_some())
    );
}

#[test]
fn an_image_that_does_not_fit_its_digest_is_fetched_once_more() {
    let Some(mut cloud) = Cloud::new() else { return };
    let image = cloud.squashfs();
    let damaged = b"an error page".to_vec();
    let server = ubuntu_server(&cloud, &image, vec![damaged.clone(), image.clone()]);
    cloud.lab.set("DIB_CLOUD_IMAGES", &server.url("/current"));
    let said = cloud.lab.build(&ARGS).ok();
    assert!(said.out.contains("Fetching both once more"), "{}", said.out);
    let forced: Vec<Asked> = server.asked().split_off(2);
    assert_eq!(forced.len(), 2);
    assert!(
        forced.iter().all(|asked| asked.header("cache-control").is_some()),
        "{forced:?}"
    );

    let server = ubuntu_server(&cloud, &image, vec![damaged]);
    cloud.lab.set("DIB_CLOUD_IMAGES", &server.url("/current"));
    let said = cloud.lab.build(&ARGS);
    assert_eq!(said.status, 1, "{}", said.err);
    let text = [said.out, said.err].concat();
    assert!(
        text.contains(&format!("{} has the SHA-256", ubuntu_image())),
        "{text}"
    );
    assert_eq!(server.asked().len(), 4);
    assert!(
        !cloud
            .lab
            .names()
            .iter()
            .any(|name| name.starts_with("image.raw."))
    );
}

#[test]
fn what_is_not_on_the_server_is_told() {
    let Some(mut cloud) = Cloud::new() else { return };
    let server = ubuntu_server(&cloud, b"", vec![Vec::new()]);
    cloud
        .lab
        .set("DIB_CLOUD_IMAGES", &server.url("/current"))
        .set("BASE_IMAGE_FILE", "absent.img");
    let said = cloud.lab.build(&ARGS);
    assert_eq!(said.status, 1);
    let text = [said.out, said.err].concat();
    let arch = architectures().0;
    let told = format!(
        "There is no image: check DIB_RELEASE (noble), ARCH ({arch}), DIB_CLOUD_IMAGES and BASE_IMAGE_FILE"
    );
    assert!(text.contains(&told), "{text}");
    let absent = server.url("/current/absent");
    cloud.lab.set("SHA256SUMS", &absent);
    let said = cloud.lab.build(&ARGS);
    assert_eq!(said.status, 1);
    let text = [said.out, said.err].concat();
    assert!(
        text.contains(&format!("There are no SHA-256 sums at {absent}: check ")),
        "{text}"
    );
}

#[test]
fn offline_nobody_is_asked_for_what_is_there() {
    let Some(mut cloud) = Cloud::new() else { return };
    let image = cloud.squashfs();
    let server = ubuntu_server(&cloud, &image, vec![image.clone()]);
    cloud.lab.set("DIB_CLOUD_IMAGES", &server.url("/current"));
    // What is not there is fetched all the same.
    let args = [&["--offline"], &ARGS[..]].concat();
    cloud.lab.build(&args).ok();
    assert_eq!(server.asked().len(), 2);
    cloud.lab.build(&args).ok();
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn builds_of_one_image_take_turns() {
    let Some(mut cloud) = Cloud::new() else { return };
    let image = cloud.squashfs();
    let server = ubuntu_server(&cloud, &image, vec![image.clone()]);
    let locks = cloud.path("locks");
    fs::create_dir(&locks).unwrap();
    cloud
        .lab
        .set("DIB_CLOUD_IMAGES", &server.url("/current"))
        .set("DIB_LOCKFILES", &locks)
        .set("DIB_LOCK_SECONDS", "1");
    let lock = fs::File::create(Path::new(&locks).join(ubuntu_image() + ".lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let said = cloud.lab.build(&ARGS);
    assert_eq!((said.status, server.asked().len()), (1, 0));
    let text = [said.out, said.err].concat();
    assert!(text.contains("Another build has been working on"), "{text}");
    drop(lock);
    cloud.lab.build(&ARGS).ok();
}

#[test]
fn a_local_image_needs_no_server() {
    let Some(mut cloud) = Cloud::new() else { return };
    let server = Server::start(|_, _| Reply::new(500, "broken"));
    let tar = cloud.path("root.tar");
    run("tar", &["-C", cloud.root.to_str().unwrap(), "-cpf", &tar, "."]);
    run("gzip", &[&tar]);
    cloud
        .lab
        .set("DIB_CLOUD_IMAGES", &server.url("/current"))
        .set("DIB_LOCAL_IMAGE", &format!("{tar}.gz"));
    cloud.lab.build(&ARGS).ok();
    // As it is where no element is an operating system, with base, too.
    let said = cloud.lab.build_with_base(&["-t", "raw", "probe"]).ok();
    assert!(said.out.contains("ubuntu is added"), "{}", said.out);
    assert!(cloud.calls().contains("linux-image-generic"));
    assert_eq!(server.asked().len(), 0);

    let other = if architectures().0 == "amd64" {
        "arm64"
    } else {
        "amd64"
    };
    let said = cloud.lab.build(&[&["-a", other], &ARGS[..]].concat());
    assert_eq!(said.status, 1);
    let text = [said.out, said.err].concat();
    assert!(text.contains(&format!("The image is not for {other}")), "{text}");
}

#[test]
fn a_user_builds_it_too() {
    let Some(mut stairs) = Stairs::new(Rung::T2) else {
        return;
    };
    let root = stairs.lab.dir().join("cloud");
    furnish(&root);
    let tar = stairs.lab.dir().join("root.tar").display().to_string();
    run("tar", &["-C", root.to_str().unwrap(), "-cpf", &tar, "."]);
    stairs.lab.hook("cleanup.d/99-see", "cp $TARGET_ROOT/calls calls");
    let body = fs::read(&tar).unwrap();
    let name = ubuntu_image();
    let sums = format!("{}  {name}\n", sha256(&body, stairs.lab.dir()));
    let server = Server::start(move |_, asked| {
        let body = if asked.target.ends_with("SHA256SUMS") {
            sums.as_bytes()
        } else {
            &body
        };
        Reply::file(asked, body, "\"one\"")
    });
    stairs.lab.set("DIB_CLOUD_IMAGES", &server.url("/current"));
    stairs.build(&ARGS).ok();
    assert!(stairs.lab.out("image.raw").is_file());
    assert!(stairs.lab.text("calls").contains("linux-image-generic"));
}

/// What Fedora writes beside its images, around the digest of one.
fn signed_sums(name: &str, digest: &str) -> String {
    format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# {name}: 1 bytes\nSHA256 ({name}) = {digest}\n\
         -----BEGIN PGP SIGNATURE-----\n\niQIz\n-----END PGP SIGNATURE-----\n"
    )
}

/// A server of Fedora's images, of which one is there.
fn fedora_server(image: Vec<u8>, digest: &str) -> Server {
    let arch = architectures().1;
    let names = [
        format!("Fedora-Cloud-Base-37-1.2.{arch}.qcow2"),
        format!("Fedora-Cloud-Base-37-1.10.{arch}.qcow2"),
        format!("Fedora-Cloud-Base-37-1.10.{arch}.raw.xz"),
        "Fedora-Cloud-Base-37-1.11.s390x.qcow2".to_owned(),
        format!("Fedora-Cloud-Base-36-2.1.{arch}.qcow2"),
    ];
    let newest = names[1].clone();
    let sums = signed_sums(&newest, digest);
    let beside = format!("/images/Fedora-Cloud-37-1.10-{arch}-CHECKSUM");
    let page = names.join("</a> <a>");
    Server::start(move |_, asked| match asked.target.as_str() {
        target if target == beside => Reply::file(asked, sums.as_bytes(), "\"sums\""),
        "/images/" => Reply::file(asked, page.as_bytes(), "\"page\""),
        target if target == format!("/images/{newest}") => Reply::file(asked, &image, "\"image\""),
        _ => Reply::new(404, "no such file"),
    })
}

/// What was in subvolumes is where they were mounted, and no snapshot is.
fn subvolumes_lie_where_they_were_mounted(image: &Path) {
    for (file, text) in [
        ("/home/file", "a user"),
        ("/var/file", "a state"),
        ("/srv/file", "a service"),
    ] {
        let cat = oracle::ext4::debugfs(image, &format!("cat {file}"));
        assert!(cat.contains(text), "{file}: {cat}");
    }
    let snapshot = oracle::ext4::debugfs(image, "stat /before/snapshot/etc");
    assert!(snapshot.contains("File not found"), "{snapshot}");
}

#[test]
fn fedora_is_the_newest_image_of_the_index() {
    let can_make = || can_make("btrfs", &["mkfs.btrfs", "btrfs"]);
    let Some(mut cloud) = Cloud::new().filter(|_| can_make()) else {
        return;
    };
    let image = fs::read(cloud.btrfs_qcow2()).unwrap();
    let digest = sha256(&image, cloud.lab.dir());
    let server = fedora_server(image, &digest);
    cloud
        .lab
        .set("DIB_CLOUD_IMAGES", &server.url("/images"))
        .set("DIB_DISTRIBUTION_MIRROR", "http://mirror.test/linux/");
    let args = ["-t", "raw", "-p", "vim,libfoo-dev", "fedora", "probe"];
    cloud.lab.build(&args).ok();
    let calls = cloud.calls();
    for call in [
        "dnf -y install cloud-init",
        "dnf -y install vim-enhanced libfoo-devel",
        "dnf -y remove kernel-core-6.1.fc37",
    ] {
        assert!(calls.contains(call), "no {call} in {calls}");
    }
    assert!(
        calls.contains("python3\ndnf -y install cloud-init"),
        "nothing was lent yet: {calls}"
    );
    assert_eq!(
        cloud.seen("etc/sudoers"),
        "Defaults secure_path = /sbin:/bin:/usr/local/bin\nroot ALL=(ALL) ALL\n"
    );
    let attributes = oracle::ext4::debugfs(&cloud.lab.out("image.raw"), "ea_list /etc/sudoers");
    assert!(
        attributes.contains("security.selinux (8) = 61 5f 6c 61 62 65 6c 00"),
        "{attributes}"
    );
    assert_eq!(cloud.seen("etc/sysconfig/network"), "NOZEROCONF=yes\n");
    assert_eq!(
        cloud.seen("etc/dnf/dnf.conf"),
        "[main]\nkeepcache=0\n",
        "as it was"
    );
    assert!(
        cloud
            .seen("etc/yum.repos.d/fedora.repo")
            .contains("\nbaseurl=http://mirror.test/linux/releases/os/\n#metalink=")
    );
    subvolumes_lie_where_they_were_mounted(&cloud.lab.out("image.raw"));
    // Packages come to the host, and from there to the next build.
    let cached = cloud
        .lab
        .dir()
        .join("home/.cache/image-create/yum/x/base/tool.rpm");
    assert_eq!(fs::read_to_string(cached).unwrap(), "rpm\n");
    assert!(!cloud.lab.out("seen/tmp/yum").exists());
    cloud.lab.build(&args).ok();
    let calls = cloud.calls();
    assert!(calls.contains("python3\n/tmp/yum/x/base/tool.rpm\n"), "{calls}");

    let before = server.asked().len();
    cloud.lab.build(&[&["--offline"], &args[..]].concat()).ok();
    assert_eq!(server.asked().len(), before);

    cloud.lab.set("DIB_RELEASE", "38");
    let said = cloud.lab.build(&args);
    assert!([said.out, said.err].concat().contains("No image at"));
    let said = cloud.lab.build(&[&["-a", "armhf"], &args[..]].concat());
    assert!(
        [said.out, said.err]
            .concat()
            .contains("Fedora has no cloud image for armhf")
    );
}

/// The function by which bash asks a server of the tests in place of Fedora's.
fn in_place_of_fedoras(server: &Server) -> String {
    let address = server.url("");
    format!(
        "() {{ local words=(\"$@\"); command cache-url \"${{words[@]/#https:\\/\\/dl.fedoraproject.org/{address}}}\"; }}"
    )
}

#[test]
fn a_release_of_fedora_that_is_over_comes_from_the_archive() {
    let Some(mut cloud) = Cloud::new() else { return };
    let image = fs::read(cloud.qcow2()).unwrap();
    let arch = architectures().1;
    let name = format!("Fedora-Cloud-Base-Generic.{arch}-40-1.14.qcow2");
    let digest = sha256(&image, cloud.lab.dir());
    let place = format!("fedora/linux/releases/40/Cloud/{arch}/images");
    let at = |name: &str| format!("/pub/archive/{place}/{name}");
    let files = [
        (at(""), name.clone().into_bytes()),
        (at(&name), image),
        (
            at(&format!("Fedora-Cloud-40-1.14-{arch}-CHECKSUM")),
            signed_sums(&name, &digest).into_bytes(),
        ),
        (
            "/wrong".to_owned(),
            signed_sums(&name, &"1".repeat(64)).into_bytes(),
        ),
    ];
    let server = Server::start(move |_, asked| {
        let file = files.iter().find(|(target, _)| *target == asked.target);
        file.map_or_else(
            || Reply::new(404, "no such file"),
            |(target, bytes)| Reply::file(asked, bytes, &format!("\"{target}\"")),
        )
    });
    let function = in_place_of_fedoras(&server);
    cloud
        .lab
        .set("BASH_FUNC_cache-url%%", &function)
        .set("DIB_RELEASE", "40");
    let args = ["no-final-image", "fedora", "probe"];
    cloud.lab.build(&args).ok();
    assert!(cloud.calls().contains("dnf -y install cloud-init"));
    let asked = server.asked();
    assert_eq!(asked[0].target, format!("/pub/{place}/"), "the first place");

    let mut refused = |variables: &[(&'static str, &str)], told: &str| {
        for (name, value) in variables {
            cloud.lab.set(name, value);
        }
        let said = cloud.lab.build(&args);
        assert_eq!(said.status, 1);
        let said = [said.out, said.err].concat();
        assert!(said.contains(told), "no '{told}' in {said}");
    };
    let wrong = server.url("/wrong");
    refused(&[("SHA256SUMS", &wrong)], &format!("and not {}", "1".repeat(64)));
    let unversioned = [("SHA256SUMS", ""), ("BASE_IMAGE_FILE", "mine.qcow2")];
    refused(&unversioned, "BASE_IMAGE_FILE=mine.qcow2 has no version");
    refused(
        &[("DIB_RELEASE", "41")],
        "There are no images: check DIB_RELEASE (41)",
    );
}

#[test]
fn centos_is_checked_by_the_digest_beside_the_image() {
    let Some(mut cloud) = Cloud::new().filter(|_| can_make("xfs", &["mkfs.xfs"])) else {
        return;
    };
    let image = fs::read(cloud.xfs_qcow2()).unwrap();
    let arch = architectures().1;
    let name = format!("CentOS-Stream-GenericCloud-9-20240101.0.{arch}.qcow2");
    let page = format!("<a href=\"{name}\"> <a href=\"CentOS-Stream-GenericCloud-9-latest.{arch}.qcow2\">");
    let digest = sha256(&image, cloud.lab.dir());
    for right in [false, true] {
        let (image, page, name) = (image.clone(), page.clone(), name.clone());
        let digest = if right { digest.clone() } else { "1".repeat(64) };
        let server = Server::start(move |_, asked| match asked.target.strip_prefix("/images/") {
            Some("") => Reply::file(asked, page.as_bytes(), "\"page\""),
            Some(file) if file == name => Reply::file(asked, &image, "\"image\""),
            Some(file) if file == format!("{name}.SHA256SUM") => {
                let text = format!("# {name}: 1 bytes\nSHA256 ({name}) = {digest}\n");
                Reply::file(asked, text.as_bytes(), &format!("\"{digest}\""))
            }
            _ => Reply::new(404, "no such file"),
        });
        cloud.lab.set("DIB_CLOUD_IMAGES", &server.url("/images/"));
        let said = cloud.lab.build(&["-t", "raw", "centos", "probe"]);
        if right {
            said.ok();
        } else {
            assert_eq!(said.status, 1);
            assert!([said.out, said.err].concat().contains("has the SHA-256"));
        }
    }
    assert!(cloud.calls().contains("dnf -y install cloud-init"));
    // Boot entries are those of the machine id that the image got.
    let entries = fs::read_dir(cloud.lab.out("seen/boot/loader/entries")).unwrap();
    let entries: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(entries, ["0123456789abcdef0123456789abcdef-5.14.conf"]);
}

/// What a build asked of subscription-manager, but for whether the image is registered.
fn subscriptions(cloud: &Cloud) -> Vec<String> {
    let calls = cloud.calls();
    calls
        .lines()
        .filter_map(|line| line.strip_prefix("subscription-manager "))
        .filter(|call| *call != "identity")
        .map(str::to_owned)
        .collect()
}

#[test]
fn rhel_is_what_the_user_has() {
    let Some(mut cloud) = Cloud::new() else { return };
    let args = ["-t", "raw", "rhel", "probe"];
    let said = cloud.lab.build(&args);
    assert_eq!(said.status, 1);
    assert!(
        [said.out, said.err]
            .concat()
            .contains("DIB_LOCAL_IMAGE is not set")
    );
    let image = cloud.qcow2();
    cloud.lab.set("DIB_LOCAL_IMAGE", &image);
    cloud.lab.build(&args).ok();
    assert!(!cloud.calls().contains("subscription-manager"));
    cloud.lab.set("REG_METHOD", "portal");
    let said = cloud.lab.build(&args);
    assert!(
        [said.out, said.err]
            .concat()
            .contains("set REG_ACTIVATION_KEY and REG_ORG")
    );
    cloud
        .lab
        .set("REG_ORG", "7")
        .set("REG_ACTIVATION_KEY", "images")
        .set("REG_REPOS", "one,two");
    // Each hook a second time: a machine is registered once, and once no more.
    for hook in ["pre-install.d/01-register", "finalise.d/60-unregister"] {
        cloud
            .lab
            .hook(&format!("{hook}-again"), &format!("/tmp/in_target.d/{hook}"));
    }
    cloud.lab.build(&args).ok();
    assert_eq!(
        subscriptions(&cloud),
        [
            "register --org=7 --activationkey=images",
            "repos --disable=*",
            "repos --enable=one",
            "repos --enable=two",
            "unregister",
            "clean",
            "clean"
        ]
    );
}

#[test]
fn a_user_registers_rhel_as_its_variables_say() {
    let Some(mut cloud) = Cloud::new() else { return };
    let args = ["-t", "raw", "rhel", "probe"];
    let image = cloud.qcow2();
    cloud
        .lab
        .set("DIB_LOCAL_IMAGE", &image)
        .set("REG_METHOD", "portal")
        .set("REG_USER", "me")
        .set("REG_PASSWORD", "secret")
        .set("REG_MACHINE_NAME", "builder")
        .set("REG_SERVICE_LEVEL", "standard")
        .set("REG_TYPE", "system")
        .set("REG_FORCE", "1")
        .set("REG_HALT_UNREGISTER", "1");
    cloud.lab.build(&args).ok();
    assert_eq!(
        subscriptions(&cloud),
        [
            "register --name=builder --servicelevel=standard --type=system --force --username=me --password=secret",
            "attach --help",
            "attach --auto",
        ]
    );
    cloud.lab.set("REG_AUTO_ATTACH", "yes").set("REG_FORCE", "");
    cloud.lab.build(&args).ok();
    assert_eq!(subscriptions(&cloud)[1..], ["attach --auto"]);
    cloud.lab.set("REG_SAT_CERT", "/cert.pem");
    let said = cloud.lab.build(&args);
    assert_eq!(said.status, 1);
    assert!([said.out, said.err].concat().contains("REG_SAT_CERT is not read"));
}

#[test]
fn services_of_a_cloud_are_configured() {
    let Some(mut cloud) = Cloud::new() else { return };
    let image = cloud.qcow2();
    cloud
        .lab
        .set("DIB_LOCAL_IMAGE", &image)
        .set("DIB_CLOUD_INIT_ALLOW_SSH_PWAUTH", "1")
        .set("DIB_CLOUD_INIT_SSH_KEY_TYPES", "ed25519 rsa")
        .set("DIB_CLOUD_INIT_DATASOURCES", "ConfigDrive, OpenStack");
    let args = [
        "no-final-image",
        "ubuntu",
        "cloud-init",
        "openssh-server",
        "probe",
    ];
    // What the tree has of its own is put aside once, however often the hook runs.
    cloud
        .lab
        .hook(
            "root.d/51-again",
            "$TMP_HOOKS_PATH/root.d/50-shared-apt-cache; $TMP_HOOKS_PATH/root.d/50-shared-apt-cache",
        )
        .hook(
            "cleanup.d/81-archives",
            "[ -d $TARGET_ROOT/var/cache/apt/archives ]; [ ! -e $TARGET_ROOT/var/cache/apt/archives/archives ]",
        );
    cloud.lab.build(&args).ok();
    let calls = cloud.calls();
    assert!(
        calls.contains("install cloud-init") && calls.contains("openssh-server"),
        "{calls}"
    );
    assert!(calls.contains("systemctl --quiet enable ssh.service"), "{calls}");
    let config = |name: &str| cloud.seen(&format!("etc/cloud/cloud.cfg.d/{name}"));
    assert_eq!(config("10_ssh_pwauth.cfg"), "ssh_pwauth: true\n");
    assert_eq!(
        config("10_ssh_key_types.cfg"),
        "ssh_genkeytypes: [ ed25519, rsa ]\n"
    );
    assert_eq!(
        config("91-dib-cloud-init-datasources.cfg"),
        "datasource_list: [ ConfigDrive, OpenStack, None ]\ndisable_network_activation: true\n"
    );
    // The first setting counts, and none may stand in the block of another.
    let sshd = cloud.seen("etc/ssh/sshd_config");
    assert!(
        sshd.starts_with("KexAlgorithms ") && sshd.ends_with("\nPort 22\nMatch User git\n"),
        "{sshd}"
    );
    assert!(!cloud.lab.out("seen/etc/ssh/ssh_host_rsa_key").exists());
    let unit = "seen/etc/systemd/system/multi-user.target.wants/dib-ssh-host-keys.service";
    assert!(cloud.lab.out(unit).is_symlink());

    cloud.lab.set("DIB_OPENSSH_SERVER_HARDENING", "0");
    cloud.lab.build(&args).ok();
    assert_eq!(cloud.seen("etc/ssh/sshd_config"), "Port 22\nMatch User git\n");
    let none = ["no-final-image", "mini-os", "cloud-init-datasources"];
    cloud.lab.set("DIB_CLOUD_INIT_DATASOURCES", "");
    let said = cloud.lab.build(&none);
    assert!(
        [said.out, said.err]
            .concat()
            .contains("DIB_CLOUD_INIT_DATASOURCES is not set")
    );
    cloud.lab.set("DIB_ADD_APT_KEYS", "/no/keys");
    let said = cloud.lab.build(&args);
    assert!(
        [said.out, said.err]
            .concat()
            .contains("DIB_ADD_APT_KEYS names /no/keys, which is no directory")
    );
}

#[test]
fn debian_and_ubuntu_from_their_archives_are_planned() {
    let lab = Lab::unprivileged();
    let plan = |args: &[&str]| lab.run(DIB, &[&["plan"], args].concat()).ok().out;
    let debian = plan(&["debian"]);
    for part in [
        "08-debootstrap",
        "75-debian-minimal-baseinstall",
        "80-enable-server",
        "openssh-server",
    ] {
        assert!(debian.contains(part), "no {part} in {debian}");
    }
    let ubuntu = plan(&["-a", "riscv64", "ubuntu-minimal"]);
    for part in [
        "08-debootstrap",
        "75-ubuntu-minimal-baseinstall",
        "02-kernel",
        "99-autoremove",
    ] {
        assert!(ubuntu.contains(part), "no {part} in {ubuntu}");
    }
}

#[test]
fn packages_of_red_hat_need_the_hosts_dnf() {
    let Some(mut cloud) = Cloud::new() else { return };
    let root = cloud.root.display().to_string();
    cloud.lab.set("CLOUD_ROOT", &root);
    let args = ["no-final-image", "fedora-minimal", "probe"];
    if oracle::find("dnf").is_none() && oracle::find("yum").is_none() && oracle::find("dnf5").is_none() {
        let said = cloud.lab.build(&args);
        assert_eq!(said.status, 1);
        assert!(
            [said.out, said.err]
                .concat()
                .contains("This host has neither dnf nor yum")
        );
    }
    let script = "echo \"$@\" >>dnf-calls\nfor word in \"$@\"; do case $word in\n--installroot=*) cp -a $CLOUD_ROOT/. ${word#*=} ;;\n\
                  --setopt=reposdir=*) cat ${word##*=}/*.repo >repos ;;\nesac; done\n";
    programs(&mut cloud.lab, &[("dnf5", script)]);
    cloud.lab.build(&args).ok();
    let calls = cloud.lab.text("dnf-calls");
    assert!(
        calls.contains("--releasever=37") && calls.contains("install fedora-release-cloud"),
        "{calls}"
    );
    assert!(cloud.lab.text("repos").contains("[updates]"));
    for call in ["rpm --rebuilddb", "NetworkManager", "dracut-config-generic"] {
        assert!(cloud.calls().contains(call), "no {call} in {}", cloud.calls());
    }
    assert_eq!(cloud.seen("etc/hostname"), "fedora\n");
    cloud
        .lab
        .build(&["no-final-image", "centos-minimal", "probe"])
        .ok();
    let calls = cloud.lab.text("dnf-calls");
    assert!(
        calls.contains("--releasever=9 ") && calls.contains("centos-stream-release"),
        "{calls}"
    );
}
