//! Elements that bring programs in Python, with stand-ins for what they have from the network.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use oracle::http::{Reply, Server};

use super::{FAKE, build, has, lab};
use crate::lab::Lab;

/// What stands in for pyenv's builder of Pythons: it makes what a build of one leaves, as far as the element looks.
const BUILDER: &str = r#"#!/bin/bash
set -eu
echo "python-build $*" >>/calls
short=${1%.*}
mkdir -p "$2/bin" "$2/lib/pkgconfig" "$2/share/man"
touch "$2/lib/libpython3.so" "$2/lib/libpython$short.so" "$2/lib/pkgconfig/python3.pc"
for name in python python3 pip3 python$short python$short-config; do
    printf '#!/bin/sh\necho "${0##*/} $1" >>/calls\n' >"$2/bin/$name"
    chmod 755 "$2/bin/$name"
done
"#;

/// A server of an archive with that builder, and with names of versions such as it knows.
fn pyenv(lab: &Lab) -> Server {
    let place = lab.dir().join("pyenv");
    let builder = place.join("plugins/python-build");
    for dir in ["bin", "share/python-build"] {
        fs::create_dir_all(builder.join(dir)).unwrap();
    }
    for version in ["3.9.2", "3.12.9", "3.12.10", "3.12-dev", "miniconda3-3.12.99"] {
        fs::write(builder.join("share/python-build").join(version), "").unwrap();
    }
    let program = builder.join("bin/python-build");
    fs::write(&program, BUILDER).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let archive = lab.dir().join("pyenv.tar");
    let words = [
        OsStr::new("-cf"),
        archive.as_os_str(),
        OsStr::new("-C"),
        place.as_os_str(),
        OsStr::new("."),
    ];
    oracle::run("tar", &words);
    let archive = fs::read(archive).unwrap();
    Server::start(move |_, asked| match asked.target.as_str() {
        "/pyenv.tar" => Reply::file(asked, &archive, "\"pyenv\""),
        _ => Reply::new(404, "no such file"),
    })
}

#[test]
fn pythons_are_built_beside_that_of_the_distribution() {
    let Some(mut lab) = lab() else { return };
    let server = pyenv(&lab);
    lab.file(
        "probe/bin/stow",
        "#!/bin/bash\nset -eu\necho \"stow $*\" >>/calls\ncd \"$4/bin\"\nln -s ../stow/\"$5\"/bin/* .\n",
    );
    // What its libraries are linked with, and whose that is.
    for (name, said) in [
        ("ldd", "\tlibz.so.1 => /lib/libz.so.1 (0x1)\n\tvdso (0x2)"),
        ("dpkg-query", "zlib1g:amd64: /lib/${2#*/}"),
    ] {
        lab.file(
            &format!("probe/bin/{name}"),
            &format!("#!/bin/bash\nset -eu\nprintf '%b\\n' \"{said}\"\n"),
        );
    }
    lab.file("probe/bin/apt-mark", FAKE);
    lab.set("DIB_REPOTYPE_pyenv", "tar")
        .set("DIB_REPOLOCATION_pyenv", &server.url("/pyenv.tar"))
        .set("DIB_REPOREF_pyenv", ".")
        .set("DIB_PYTHON_STOW_VERSIONS", "3.9.2 3.12")
        .set("SHOW", "usr/local opt");
    build(&lab, &["python-stow-versions"]).ok();
    let calls = lab.text("calls");
    let (packages, calls) = calls.split_once('\n').unwrap();
    for package in ["build-essential", "curl", "libssl-dev", "stow"] {
        assert!(packages.split(' ').any(|name| name == package), "{packages}");
    }
    assert_eq!(
        calls,
        "python-build 3.9.2 /usr/local/stow/python-3.9.2\n\
         stow --dir /usr/local/stow --target /usr/local python-3.9.2\n\
         python-build 3.12.10 /usr/local/stow/python-3.12.10\n\
         stow --dir /usr/local/stow --target /usr/local python-3.12.10\n\
         apt-mark manual zlib1g:amd64\n\
         install-packages -e build-essential g++ gcc libbz2-dev libc6-dev libffi-dev liblzma-dev libncurses-dev \
         libreadline-dev libsqlite3-dev libssl-dev make uuid-dev zlib1g-dev\n\
         python3.9 -c\npython3.12 -c\n"
    );
    has(&lab, "755 0:0 usr/local/stow/python-3.12.10/bin/python3.12");
    has(&lab, "777 0:0 usr/local/bin/python3.12");
    let left = lab.text("modes");
    for gone in [
        "bin/python3\n",
        "bin/pip3",
        "libpython3.so",
        "python3.pc",
        "share/man",
        "opt/pyenv",
    ] {
        assert!(!left.contains(gone), "{gone} is left:\n{left}");
    }
    lab.set("DIB_PYTHON_STOW_VERSIONS", "3.14");
    build(&lab, &["python-stow-versions"]).failed(1, "has 3.14, of which pyenv knows no version");
}

/// Makes an environment as far as elements look: its pip notes down what it is asked for, and so do the programs that come.
const PYTHON: &str = r#"#!/bin/bash
set -eu
[ "$1 ${2:-}" = '-m venv' ] && [ "$3" != --help ] || exit 0
mkdir -p "$3/bin"
for name in pip glean-install cinder; do
    printf '#!/bin/sh\necho "$0 $*" >>/calls\n' >"$3/bin/$name"
    chmod 755 "$3/bin/$name"
done
"#;

#[test]
fn programs_of_the_package_index_lie_in_environments_of_their_own() {
    let Some(mut lab) = lab() else { return };
    lab.file("probe/bin/python3", PYTHON)
        .file("probe/bin/dpkg-query", "#!/bin/sh\necho installed\n")
        .hook(
            "root.d/50-own",
            "cd $TARGET_ROOT; mkdir -p etc/network/interfaces.d lib/systemd/system
            touch etc/network/interfaces.d/eth0 lib/systemd/system/multipathd.service",
        );
    lab.set("SHOW", "etc/network etc/cloud usr/local/bin");
    build(&lab, &["simple-init", "python-brickclient"]).ok();
    let calls = lab.text("calls");
    for call in [
        "/usr/glean/bin/pip install --quiet --disable-pip-version-check glean",
        "/usr/glean/bin/glean-install ",
        "/usr/share/python-brickclient/venv/bin/pip install --quiet --disable-pip-version-check \
         python-cinderclient python-brick-cinderclient-ext",
        "systemctl --quiet enable multipathd.service",
        "install-packages -e cloud-init",
    ] {
        assert!(calls.lines().any(|line| line == call), "no '{call}' in\n{calls}");
    }
    has(&lab, "777 0:0 usr/local/bin/cinder");
    assert!(
        !lab.text("modes").contains("eth0"),
        "two would configure the network"
    );
    let sources = lab.text("etc/cloud/cloud.cfg.d/91-dib-cloud-init-datasources.cfg");
    assert!(
        sources.starts_with("datasource_list: [ ConfigDrive, None ]\n"),
        "{sources}"
    );

    lab.set("DIB_SIMPLE_INIT_NETWORKMANAGER", "1")
        .set("DIB_SIMPLE_INIT_NO_DHCP_FALLBACK", "1");
    build(&lab, &["simple-init"]).ok();
    let calls = lab.text("calls");
    for call in [
        "/usr/glean/bin/glean-install --use-nm --no-dhcp-fallback",
        "systemctl --quiet enable NetworkManager.service",
    ] {
        assert!(calls.lines().any(|line| line == call), "no '{call}' in\n{calls}");
    }
}
