//! Bills of materials: `--sbom`, before judges that know the two formats.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::lab::{DISK_IMAGE_CREATE, Lab};

/// The judges: SPDX's own library, and `CycloneDX`'s.
const JUDGES: &str = r#"
import sys
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

document = parse_file(sys.argv[1])
for message in validate_full_spdx_document(document):
    sys.exit(f"{message.validation_message}: {message.context}")
for package in document.packages:
    for reference in package.external_references:
        PackageURL.from_string(reference.locator)
error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[2]).read())
if error:
    sys.exit(str(error))
print(len(document.packages), "packages")
"#;

/// Has both bills of a name judged, and the packages counted that were read.
fn judge(lab: &Lab, name: &str, packages: usize) {
    // The README's test command makes it.
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/judges/bin/python3");
    if !python.is_file() {
        oracle::skip("no target/judges, which the README's test command makes");
        return;
    }
    let [spdx, cyclonedx] = ["spdx", "cdx"].map(|form| format!("{name}.{form}.json"));
    let said = lab
        .run(python.to_str().unwrap(), &["-c", JUDGES, &spdx, &cyclonedx])
        .ok();
    assert_eq!(said.out, format!("{packages} packages\n"));
}

/// What a package lies in, by what SPDX says.
fn owners<'a>(spdx: &'a Value, package: &str) -> Vec<&'a Value> {
    let relations = spdx["relationships"].as_array().unwrap().iter();
    let within = relations.filter(|relation| relation["relatedSpdxElement"] == package);
    within.map(|relation| &relation["spdxElementId"]).collect()
}

/// A paragraph of dpkg's status.
fn paragraph(name: &str, more: &str) -> String {
    format!(
        "Package: {name}\\nStatus: install ok installed\\nArchitecture: amd64\\nVersion: 1:2.0-1+b1\\n\
         Maintainer: Somebody \\\"Odd\\\" <a@example.org>\\n{more}\\n"
    )
}

fn lab() -> Option<Lab> {
    let lab = Lab::new()?;
    let [base, tool, library, stray] = [
        paragraph("base-files", ""),
        paragraph(
            "tool",
            "Depends: libtool2 (>= 1), base-files\\nSource: tools (1)\\n",
        ),
        paragraph("libtool2", ""),
        paragraph("stray", ""),
    ];
    lab.file("probe/element-deps", "package-installs\nspy\n")
        .file("probe/package-installs.yaml", "tool:\nother: {arch: never}\n")
        .hook(
            "root.d/90-base",
            &format!(
                "mkdir -p $TARGET_ROOT/var/lib/dpkg $TARGET_ROOT/opt/venv/site-packages\n\
                 printf 'ID=debian\\nVERSION_ID=13\\nPRETTY_NAME=\"Debian 13\"\\n' >$TARGET_ROOT/etc/os-release\n\
                 printf \"{base}\" >$TARGET_ROOT/var/lib/dpkg/status"
            ),
        )
        // What element package-installs asks for.
        .file(
            "probe/bin/install-packages",
            &format!("#!/bin/bash\nset -eu\necho \"installing $*\"\nprintf \"{tool}{library}\" >>/var/lib/dpkg/status\n"),
        )
        .hook(
            "post-install.d/60-python",
            &format!(
                "mkdir -p /opt/venv/site-packages/Some.Thing-1.5.dist-info\n\
                 printf 'Name: Some.Thing\\nVersion: 1.5\\nLicense: BSD, or so\\n\\ntext\\n' \
                 >/opt/venv/site-packages/Some.Thing-1.5.dist-info/METADATA\nprintf \"{stray}\" >>/var/lib/dpkg/status"
            ),
        );
    Some(lab)
}

fn read(lab: &Lab, name: &str) -> Value {
    serde_json::from_str(&lab.text(name)).unwrap()
}

/// `PURL ELEMENT` of each component.
fn told(cyclonedx: &Value) -> Vec<String> {
    let one = |component: &Value| {
        let mut properties = component["properties"].as_array().unwrap().iter();
        let element = properties.find(|property| property["name"] == "dib:element");
        let element = element.map_or("-", |property| property["value"].as_str().unwrap());
        format!("{} {element}", component["purl"].as_str().unwrap())
    };
    cyclonedx["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(one)
        .collect()
}

#[test]
fn an_image_is_listed_with_the_element_of_every_package() {
    let Some(mut lab) = lab() else { return };
    lab.set("SOURCE_DATE_EPOCH", "1700000000")
        .set("DISTRO_NAME", "debian");
    let words = ["--sbom", "-t", "raw", "mini-os", "probe"];
    lab.build(&[&["-o", "one"], &words[..]].concat()).ok();
    let cyclonedx = read(&lab, "one.cdx.json");
    let deb = |name: &str| format!("pkg:deb/debian/{name}@1:2.0-1%2Bb1?arch=amd64&distro=debian-13");
    assert_eq!(
        told(&cyclonedx),
        [
            format!("{} probe", deb("base-files")),
            format!("{} probe", deb("libtool2")),
            format!("{} probe", deb("stray")),
            format!("{} probe", deb("tool")),
            "pkg:pypi/some-thing@1.5 probe".to_owned(),
        ]
    );
    assert_eq!(cyclonedx["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
    assert_eq!(cyclonedx["metadata"]["component"]["name"], "one");
    let spdx = read(&lab, "one.spdx.json");
    assert_eq!(spdx["packages"].as_array().unwrap().len(), 6);
    assert_eq!(spdx["packages"][4]["comment"], "element: probe");
    assert_eq!(
        spdx["packages"][4]["sourceInfo"],
        "built of source package tools (1)"
    );
    assert_eq!(
        spdx["packages"][5]["licenseComments"],
        "the package says: BSD, or so"
    );
    // The same build says the same.
    let first = ["one.cdx.json", "one.spdx.json"].map(|name| lab.text(name));
    fs::create_dir(lab.out("again")).unwrap();
    lab.build(&[&["-o", "again/one"], &words[..]].concat()).ok();
    let again = ["again/one.cdx.json", "again/one.spdx.json"].map(|name| lab.text(name));
    assert_eq!(first, again);
    judge(&lab, "one", 6);
}

/// Installs packages of dpkg by writing them down: `mail` is one that only others provide, and in `tool` lies a package of
/// Python whose description is long.
const INSTALLER: &str = r#"#!/bin/bash
set -eu
[ "$1" != -e ] || exit 0
for name; do
    more=
    case $name in
    -m) continue ;;
    paper) name=docs ;;
    mail) name=postfix more='Provides: mail-agent, mail (= 1)' ;;
    tool)
        packages=/usr/lib/python3/dist-packages
        mkdir -p $packages/Some.Tool-2.dist-info /var/lib/dpkg/info
        printf 'Name: Some.Tool\nVersion: 2\n\n%01500000d\n' 0 >$packages/Some.Tool-2.dist-info/METADATA
        printf '%s\n' /. $packages $packages/Some.Tool-2.dist-info >/var/lib/dpkg/info/tool.list
        ;;
    one | two) continue ;;
    esac
    printf 'Package: %s\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n%s\n' "$name" "$more${more:+
}" >>/var/lib/dpkg/status
done
"#;

#[test]
fn lists_of_every_kind_tell_for_whom_packages_are() {
    let Some(mut lab) = Lab::new() else { return };
    lab.set("DISTRO_NAME", "debian");
    lab.file("probe/element-deps", "one\ntwo\n")
        .file("probe/bin/install-packages", INSTALLER)
        .hook(
            "root.d/90-base",
            "mkdir -p $TARGET_ROOT/var/lib/dpkg; : >$TARGET_ROOT/var/lib/dpkg/status",
        )
        .file("one/element-deps", "package-installs\n")
        .file("one/lists/all.yaml", "mail:\ntool:\n")
        // The first generation of lists: translated by the map of the element that the file is named for.
        .file("two/element-deps", "package-installs\npkg-map\n")
        .file("two/pkg-map", r#"{"default": {"paper": "docs"}}"#)
        .file(
            "two/install.d/package-installs-two",
            "# one a line\npaper and words\n-gone\n",
        );
    let link = lab.dir().join("elements/one/package-installs.yaml");
    std::os::unix::fs::symlink("lists/all.yaml", link).unwrap();
    lab.build(&["--sbom", "-o", "lists", "-t", "raw", "mini-os", "probe"])
        .ok();
    let cyclonedx = read(&lab, "lists.cdx.json");
    let components = cyclonedx["components"].as_array().unwrap().iter();
    let told: Vec<String> = components
        .map(|component| {
            let properties = component["properties"].as_array().unwrap().iter();
            let properties = properties.filter(|property| property["name"] != "dib:path");
            let values: Vec<_> = properties
                .map(|property| property["value"].as_str().unwrap())
                .collect();
            format!("{} {}", component["name"].as_str().unwrap(), values.join(" "))
        })
        .collect();
    assert_eq!(
        told,
        ["docs two", "postfix one", "tool one", "Some.Tool one tool"]
    );
    let spdx = read(&lab, "lists.spdx.json");
    let relations = spdx["relationships"].as_array().unwrap();
    let contained = |relation: &&Value| relation["spdxElementId"] == "SPDXRef-package-3";
    let contained: Vec<_> = relations.iter().filter(contained).collect();
    assert_eq!(contained.len(), 1, "{relations:?}");
    assert_eq!(contained[0]["relatedSpdxElement"], "SPDXRef-package-4");
    judge(&lab, "lists", 5);
}

/// What rpmbuild makes packages of. A list means `mailer` by another name, and in it is a package of Python. It needs `paper` by
/// a file and would have `stamp`; `stray` comes along for no reason, `of-root` is there first, `of-hook` comes last.
const SPEC: &str = r#"Name: mailer
Epoch: 3
Version: 2
Release: 1
Summary: mails
License: MIT
Vendor: Somebody "Odd" \ Co
BuildArch: noarch
Provides: mail-agent
Provides: libmail.so.1()(64bit)
Requires: /usr/share/paper
Recommends: (stamp if paper)

%description
It mails.

%package -n of-hook
Summary: what a hook brings

%description -n of-hook
It is what a hook brings.

%package -n of-root
Summary: what is there first

%description -n of-root
It is what is there first.

%package -n paper
Summary: what is written on

%description -n paper
It is what is written on.

%package -n stamp
Summary: what is paid with

%description -n stamp
It is what is paid with.

%package -n stray
Summary: the rest

%description -n stray
It is the rest.

%install
mkdir -p %{buildroot}/usr/lib/python3/site-packages/Mail.Er-2.dist-info %{buildroot}/usr/share
printf 'Name: Mail.Er\nVersion: 2\n\n' >%{buildroot}/usr/lib/python3/site-packages/Mail.Er-2.dist-info/METADATA
echo blank >%{buildroot}/usr/share/paper

%files
/usr/lib/python3/site-packages/Mail.Er-2.dist-info

%files -n of-hook

%files -n of-root

%files -n paper
/usr/share/paper

%files -n stamp

%files -n stray
"#;

/// Gives the toy root the host's rpm.
const WITH_RPM: &str = r#"cd "$TARGET_ROOT"
cp -L "$(type -P rpm)" bin
ldd bin/rpm | sed -n 's|^\t[^/]*\(/[^ ]*\) .*|\1|p' | xargs cp -L --parents -t .
mkdir -p usr/lib etc/rpm
cp -r /usr/lib/rpm usr/lib
echo '%_dbpath /var/lib/rpm' >etc/rpm/macros.place
printf 'ID=fedora\nVERSION_ID=40\n' >etc/os-release
cp "$TMP_HOOKS_PATH"/rpms/of-root-*.rpm part.rpm
chroot . rpm --install --nodeps part.rpm
rm part.rpm
"#;

/// A build of packages of rpm, or `None` where they cannot be made.
fn lab_of_rpm() -> Option<Lab> {
    let mut lab = Lab::new()?;
    if !oracle::require(&["rpm", "rpmbuild", "xargs"]) {
        return None;
    }
    fs::write(lab.dir().join("mailer.spec"), SPEC).unwrap();
    let (spec, top) = (lab.dir().join("mailer.spec"), lab.dir().join("rpmbuild"));
    let define = format!("_topdir {}", top.display());
    let words = ["-bb", "--define", &define, spec.to_str().unwrap()];
    lab.run(oracle::find("rpmbuild").unwrap().to_str().unwrap(), &words)
        .ok();
    fs::create_dir_all(lab.dir().join("elements/probe")).unwrap();
    fs::rename(top.join("RPMS/noarch"), lab.dir().join("elements/probe/rpms")).unwrap();
    lab.set("DISTRO_NAME", "fedora")
        .hook("root.d/50-rpm", WITH_RPM)
        .file("probe/element-deps", "more\npackage-installs\n")
        .file("probe/package-installs.yaml", "mail-agent:\n")
        .file(
            "probe/bin/install-packages",
            "#!/bin/bash\nset -eu\n[ \"$*\" = mail-agent ]\nrpm --install --nodeps /tmp/in_target.d/rpms/[mps]*.rpm\n",
        )
        .file("more/post-install.d/50-more", "#!/bin/bash\nrpm --install --nodeps /tmp/in_target.d/rpms/of-hook-*.rpm\n");
    Some(lab)
}

#[test]
fn packages_of_rpm_are_told_by_rpm_itself() {
    let Some(lab) = lab_of_rpm() else { return };
    lab.build(&["--sbom", "-o", "rpm", "-t", "tar", "mini-os", "probe"])
        .ok();
    let of_rpm = |name: &str| format!("pkg:rpm/fedora/{name}@2-1?arch=noarch&distro=fedora-40&epoch=3");
    assert_eq!(
        told(&read(&lab, "rpm.cdx.json")),
        [
            format!("{} probe", of_rpm("mailer")),
            format!("{} more", of_rpm("of-hook")),
            format!("{} mini-os", of_rpm("of-root")),
            format!("{} probe", of_rpm("paper")),
            format!("{} probe", of_rpm("stamp")),
            format!("{} package-installs", of_rpm("stray")),
            "pkg:pypi/mail-er@2 probe".to_owned(),
        ]
    );
    let spdx = read(&lab, "rpm.spdx.json");
    assert_eq!(
        spdx["packages"][1]["supplier"],
        "Organization: Somebody \"Odd\" \\ Co"
    );
    assert_eq!(
        owners(&spdx, "SPDXRef-package-7"),
        ["SPDXRef-image", "SPDXRef-package-1"]
    );
    judge(&lab, "rpm", 8);
    // Who asks for a bill gets the same files in the image.
    lab.build(&["-o", "plain", "-t", "tar", "mini-os", "probe"]).ok();
    let [with, without] = ["rpm.tar", "plain.tar"].map(|name| lab.run("tar", &["-tf", name]).ok().out);
    assert!(with.contains("./var/lib/rpm/rpmdb.sqlite\n"), "{with}");
    assert_eq!(with, without);
}

#[test]
fn what_rpm_does_not_tell_is_said() {
    let Some(lab) = lab_of_rpm() else { return };
    lab.hook(
        "post-install.d/90-odd",
        "printf '#!/bin/bash\\necho the database is broken >&2\\nexit 3\\n' >/bin/rpm\necho more >>/var/lib/rpm/rpmdb.sqlite",
    );
    let said = lab
        .build(&["--sbom", "-o", "odd", "-t", "tar", "mini-os", "probe"])
        .ok();
    let warned =
        "packages of rpm are not listed as they are: rpm ended with status 3: the database is broken";
    assert!(said.out.contains(warned), "{}", said.out);
    // What was told before stays.
    assert_eq!(told(&read(&lab, "odd.cdx.json")).len(), 7);
    lab.hook(
        "post-install.d/90-odd",
        "rm /bin/rpm; echo more >>/var/lib/rpm/rpmdb.sqlite",
    );
    let said = lab
        .build(&["--sbom", "-o", "gone", "-t", "tar", "mini-os", "probe"])
        .ok();
    let warned = "packages of rpm are not listed as they are: rpm cannot be started: No such file";
    assert!(said.out.contains(warned), "{}", said.out);
}

/// apk's database of installed packages, as apk-tools 2 writes it: the C library, a package of Python, and the group that
/// `apk add --virtual` makes of what it was given.
const APK_BASE: &str = "\
C:Q1+Kt9B0wYm3ZaYvUr2TzQqC2m0cE=
P:musl
V:1.2.5-r10
A:x86_64
S:407278
I:667648
T:the musl c library (libc) implementation
U:https://musl.libc.org/
L:MIT
o:musl
m:Somebody <somebody@example.org>
t:1739465134
c:d40a5c0a4e5e0e2b1b1f4d4d0d9b5a1c3e7f9a10
p:so:libc.musl-x86_64.so.1=1
F:lib
R:ld-musl-x86_64.so.1
a:0:0:755
Z:Q1Dnlk4rZQ8m8Cd7RqTnWkz0s7sJc=
R:libc.musl-x86_64.so.1
a:0:0:777
Z:Q17yJ3JFNypA4mxhJJr0ou6CzsJVI=

";
const APK_MORE: &str = "\
C:Q1g5b1sI7e2cJ4m0Y8rQ1f6t3LwzU=
P:py3-yaml
V:6.0.2-r0
A:x86_64
S:183412
I:889344
T:Python3 bindings for YAML
U:https://pyyaml.org/
L:MIT
o:py3-yaml
m:
t:1733425012
c:0f5a3c1e6b7d8a9b0c1d2e3f4a5b6c7d8e9f0a1b
D:python3~3.12 so:libc.musl-x86_64.so.1 !py-yaml
p:cmd:yaml=6.0.2-r0 py3.12:yaml=6.0.2-r0
F:usr
F:usr/lib
F:usr/lib/python3.12
F:usr/lib/python3.12/site-packages
F:usr/lib/python3.12/site-packages/PyYAML-6.0.2.dist-info
M:0:0:750
R:METADATA
Z:Q1m7s8J2nq0d4sVtq9fQ3v5m1b9Zc=

C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=
P:.build
V:20250718.101112
A:noarch
S:0
I:0
D:py3-yaml

";

#[test]
fn packages_of_apk_are_those_of_its_database() {
    let Some(mut lab) = Lab::new() else { return };
    lab.set("DISTRO_NAME", "alpine")
        .file("probe/element-deps", "package-installs\n")
        .file("probe/package-installs.yaml", "py3-yaml:\n")
        .file("probe/base", APK_BASE)
        .file("probe/more", APK_MORE)
        .hook(
            "root.d/50-apk",
            "mkdir -p $TARGET_ROOT/lib/apk/db
            printf 'ID=alpine\\nVERSION_ID=3.22.1\\n' >$TARGET_ROOT/etc/os-release
            cp $TMP_HOOKS_PATH/base $TARGET_ROOT/lib/apk/db/installed",
        )
        .file(
            "probe/bin/install-packages",
            "#!/bin/bash\nset -eu\n[ \"$*\" = py3-yaml ]\ncat /tmp/in_target.d/more >>/lib/apk/db/installed\n\
             info=/usr/lib/python3.12/site-packages/PyYAML-6.0.2.dist-info\nmkdir -p $info\n\
             printf 'Name: PyYAML\\nVersion: 6.0.2\\n\\n' >$info/METADATA\n",
        );
    lab.build(&["--sbom", "-o", "apk", "-t", "raw", "mini-os", "probe"])
        .ok();
    assert_eq!(
        told(&read(&lab, "apk.cdx.json")),
        [
            "pkg:apk/alpine/musl@1.2.5-r10?arch=x86_64&distro=alpine-3.22.1 probe",
            "pkg:apk/alpine/py3-yaml@6.0.2-r0?arch=x86_64&distro=alpine-3.22.1 probe",
            "pkg:pypi/pyyaml@6.0.2 probe",
        ]
    );
    let spdx = read(&lab, "apk.spdx.json");
    let packages = spdx["packages"].as_array().unwrap();
    let musl = packages.iter().find(|package| package["name"] == "musl").unwrap();
    assert_eq!(musl["licenseComments"], "the package says: MIT");
    assert_eq!(musl["supplier"], "Organization: Somebody <somebody@example.org>");
    // The package of Python lies in the one of apk.
    assert_eq!(
        owners(&spdx, "SPDXRef-package-3"),
        ["SPDXRef-image", "SPDXRef-package-2"]
    );
    judge(&lab, "apk", 4);
}

#[test]
fn bills_are_only_written_where_they_are_wanted_and_can_be() {
    let Some(mut lab) = lab() else { return };
    lab.set("DISTRO_NAME", "debian");
    lab.build(&["-o", "plain", "-t", "raw", "mini-os", "probe"]).ok();
    assert!(!lab.out("plain.cdx.json").exists());
    lab.run(
        DISK_IMAGE_CREATE,
        &["-n", "--sbom", "-o", "-", "-t", "raw", "-u", "mini-os", "probe"],
    )
    .failed(1, "--sbom needs a name beside which to write");
    // A tree whose database is no file of it.
    lab.hook(
        "cleanup.d/90-odd",
        "rm $TARGET_ROOT/var/lib/dpkg/status; ln -s /etc/passwd $TARGET_ROOT/var/lib/dpkg/status",
    )
    .hook(
        "cleanup.d/91-huge",
        "mkdir -p $TARGET_ROOT/lib/apk/db; truncate -s 300M $TARGET_ROOT/lib/apk/db/installed",
    );
    let said = lab.build(&["--sbom", "-o", "odd", "-t", "raw", "mini-os", "probe"]);
    said.failed(
        1,
        "cannot list the packages of the image: installed is longer than the 268435456 bytes",
    );
    assert!(!lab.out("odd.raw").exists() && !lab.out("odd.cdx.json").exists());
}
