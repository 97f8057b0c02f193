//! Laws of the texts that elements and callers write, as functions of bytes: unit tests call them with drawn bytes, fuzz
//! targets with searched ones.
//!
//! Not an interface: they panic where the code is wrong.
#![allow(
    missing_docs,
    reason = "tests that live here so that the fuzz targets can call them"
)]

mod bootstrap;
mod disks;
mod fetching;
mod labels;
mod looking;
mod words;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use image_core::Identity;
use image_core::laws::Draw;
use image_core::tree::Time;

use crate::applets::package_installs::{Squashed, parse, squash};
use crate::applets::pkg_map::{Distribution, PackageMap};
use crate::cli::diskimage_builder;
use crate::element::library::Library;
use crate::element::reasons::reasons;
use crate::element::resolve::{IMPLICIT, resolve, resolve_image};
use crate::element::source_repositories::{self, Repository};
use crate::environment::Environment;
use crate::filesystem;
use crate::settings::{Flags, Settings, SizeRule, WordOrigin};

pub use bootstrap::{
    archive_texts, package_files, package_relations, package_solutions, package_versions, signed_texts,
};
pub use disks::disk_images;
pub use fetching::{addresses, answers, archives, image_maps, name_servers};
pub use labels::file_contexts;
pub use looking::image_names;
pub use words::{command_line, hook_names, mount_points, shadow_days, sudo_words};

/// Whatever `element-deps` and `element-provides` say, the elements of a build are found, each once with all that it
/// needs, or the reason is told; the same both times.
pub fn element_files(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let mut library = Library::default();
    let names = ["a", "b", "c", IMPLICIT, "operating-system"];
    for name in names {
        let [deps, provides] = [(); 2].map(|()| names_text(&mut draw));
        library.define(name, &deps, &provides);
    }
    let mut words: Vec<String> = (0..draw.below(4))
        .map(|_| (*draw.pick(&names)).to_owned())
        .collect();
    if draw.below(4) == 3 {
        words.push(String::from_utf8_lossy(draw.rest()).into_owned());
    }
    let found = |library: &Library| {
        let elements = resolve(library, &words).map_err(|error| error.to_string())?;
        let _ = resolve_image(library, &words, false);
        Ok::<_, String>(elements.into_iter().cloned().collect::<Vec<_>>())
    };
    let elements = found(&library);
    assert_eq!(elements, found(&library));
    let elements = match elements {
        Ok(elements) => elements,
        Err(told) => return assert!(!told.is_empty()),
    };
    let parts: Vec<_> = elements.iter().collect();
    let given: Vec<_> = words
        .iter()
        .map(|word| (word.as_str(), WordOrigin::Given))
        .collect();
    let reasons = reasons(&library, &given, &parts);
    assert!(reasons.iter().all(|reasons| !reasons.is_empty()));
    let listed: BTreeSet<&str> = elements.iter().map(|element| element.name.as_str()).collect();
    assert_eq!(listed.len(), elements.len(), "an element comes twice");
    assert!(words.iter().all(|word| listed.contains(word.as_str())));
    let provided: BTreeSet<&String> = names
        .iter()
        .filter_map(|name| library.get(name))
        .flat_map(|element| &element.provides)
        .collect();
    for dep in elements.iter().flat_map(|element| &element.deps) {
        assert!(
            listed.contains(dep.as_str()) || provided.contains(dep),
            "no {dep}"
        );
    }
}

/// The text of a file of names, tidy or not.
fn names_text(draw: &mut Draw<'_>) -> Vec<u8> {
    const PIECES: [&str; 12] = [
        "\n",
        "a",
        "b\n",
        "c\n",
        "d\r\n",
        " ",
        "\n\n",
        "operating-system\n",
        "x\n",
        "\u{a0}",
        "\0",
        "\t#",
    ];
    (0..draw.below(4))
        .flat_map(|_| draw.pick(&PIECES).bytes())
        .collect()
}

/// A text of such pieces, with bytes between them now and then; or just bytes.
fn text(bytes: &[u8], pieces: &[&str]) -> String {
    let mut draw = Draw::new(bytes);
    let mut text = Vec::new();
    if draw.below(4) == 3 {
        text.extend(draw.rest());
    }
    while !draw.is_empty() {
        match draw.below(16) {
            15 => text.push(draw.byte()),
            _ => text.extend(draw.pick(pieces).bytes()),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Whatever a `package-installs` file says, it is packages of phases, which a file keeps, or the reason is told.
pub fn package_installs(bytes: &[u8]) {
    const PIECES: [&str; 28] = [
        "a: ",
        "b: ",
        "\n",
        "{",
        "}",
        "[",
        "]",
        ", ",
        ":",
        "phase: ",
        "install.d",
        "pre-install.d",
        "root.d",
        "arch: ",
        "not-arch: ",
        "amd64",
        "when: ",
        "ARCH = amd64",
        "ARCH != arm64",
        "UNSET=1",
        "uninstall: ",
        "build-only: ",
        "True",
        "\"install\": ",
        "\"",
        "\n  ",
        "- ",
        "installtype: source",
    ];
    let text = text(bytes, &PIECES);
    if let Ok(squashed) = serde_json::from_str::<Squashed>(&text) {
        assert_eq!(kept(&squashed), squashed);
    }
    let packages = match parse(&text) {
        Ok(Some(packages)) => packages,
        Ok(None) => return,
        Err(told) => return assert!(!told.is_empty()),
    };
    let variable = |name: &str| match name {
        "ARCH" => Some("amd64".to_owned()),
        "DISTRO_NAME" => Some("debian".to_owned()),
        _ => None,
    };
    match squash(&[("element".to_owned(), packages)], &variable) {
        Ok(squashed) => assert_eq!(kept(&squashed), squashed),
        Err(told) => assert!(!told.is_empty()),
    }
}

fn kept(squashed: &Squashed) -> Squashed {
    let json = serde_json::to_string(squashed).expect("names and lists of names are JSON");
    serde_json::from_str(&json).expect("what was written can be read")
}

/// Whatever a `pkg-map` file says, it gives words for names, or the reason is told.
pub fn pkg_map(bytes: &[u8]) {
    const PIECES: [&str; 16] = [
        "{",
        "}",
        "\"default\": {",
        "\"family\": {",
        "\"distro\": {",
        "\"release\": {",
        "\"debian\": {",
        "\"trixie\": {",
        "\"8\": {",
        "\"centos\": {",
        "\"a\": \"b  c\"",
        "\"dhcp\": \"\"",
        "\"\": \" \\n\"",
        ", ",
        "null",
        "}}",
    ];
    let text = text(bytes, &PIECES);
    let map = match serde_json::from_str::<PackageMap>(&text) {
        Ok(map) => map,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    for (name, release) in [("debian", "trixie"), ("centos", "8-stream"), ("", "")] {
        for package in ["a", "dhcp", ""] {
            let words = map.lookup(package, &Distribution::new(name, release));
            let single = |word: &String| !word.is_empty() && !word.contains(char::is_whitespace);
            assert!(words.iter().flatten().all(single));
        }
    }
}

/// Whatever a `source-repository-*` file says, each of its lines is a repository of whole words, which can be written and
/// read again, or the reason is told.
pub fn source_repositories(bytes: &[u8]) {
    const PIECES: [&str; 24] = [
        "x ",
        "git ",
        "tar ",
        "file ",
        "package ",
        "/opt/x ",
        "https://a/b.git",
        "\n",
        " ",
        "#",
        "*",
        "$A",
        "$UNSET",
        "${A}",
        "${A:-",
        "${UNSET-",
        "${A:+",
        "}",
        "\"",
        "'",
        "\\",
        "$(",
        "`",
        "$",
    ];
    let text = text(bytes, &PIECES);
    let variable = |name: &str| match name {
        "A" => Some("a/b".to_owned()),
        "DIB_GITREPOBASE" => Some("https://mirror/".to_owned()),
        "DIB_REPOREF_x" => Some("v1".to_owned()),
        _ => None,
    };
    for (number, line) in source_repositories::lines(&text) {
        assert!(number >= 1 && !line.is_empty());
        let read = source_repositories::expand(line, &variable)
            .and_then(|line| line.parse::<Repository>())
            .and_then(|repository| repository.overridden(&variable));
        let repository = match read {
            Ok((repository, _)) => repository,
            Err(fault) => {
                assert!(!fault.to_string().is_empty());
                continue;
            }
        };
        assert_eq!(repository.to_string().parse(), Ok(repository.clone()));
        let name = repository.variable("DIB_REPOREF_");
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        );
    }
}

/// Whatever a file of images says, it gives a line for each of them, or every fault is told with its file.
pub fn images(bytes: &[u8]) {
    const PIECES: [&str; 32] = [
        "- ",
        "\n",
        "\n  ",
        "imagename: ",
        "elements: ",
        "packages: ",
        "types: ",
        "environment: ",
        "qemu-img-options: ",
        "debug-trace: ",
        "image-size: ",
        "ramdisk: ",
        "arch: ",
        "offline: ",
        "web",
        "amd64",
        "[",
        "]",
        "{",
        "}",
        ", ",
        ": ",
        "1",
        "-1",
        "true",
        "'",
        "\"",
        "&a ",
        "*a",
        "<<: ",
        "---\n",
        "2.5",
    ];
    match diskimage_builder::lines(&text(bytes, &PIECES)) {
        Ok(lines) => assert!(lines.iter().all(|line| line.contains("-image-create -o "))),
        Err(error) => assert!(error.to_string().starts_with("images.yaml:"), "{error}"),
    }
}

/// Whatever the variables of the caller are, they make settings and options of the root file system, or the reason is
/// told.
pub fn settings(bytes: &[u8]) {
    const NAMES: [&str; 17] = [
        "DIB_IMAGE_SIZE",
        "DIB_IMAGE_EXTRA_SIZE",
        "DIB_JOURNAL_SIZE",
        "DIB_MIN_TMPFS",
        "MAX_ONLINE_RESIZE",
        "ROOT_LABEL",
        "FS_TYPE",
        "SOURCE_DATE_EPOCH",
        "DIB_DEBUG_TRACE",
        "DIB_CHECKSUM",
        "IMAGE_NAME",
        "IMAGE_ELEMENT",
        "ELEMENTS_PATH",
        "DIB_IMAGE_CACHE",
        "DIB_LOCKFILES",
        "HOME",
        "ARCH",
    ];
    const VALUES: [&str; 16] = [
        "0",
        "1",
        "4",
        "0.5",
        "1e9",
        "1e-9",
        "-1",
        "1e18",
        "nan",
        "",
        " 7 ",
        "18446744073709551615",
        "ext3",
        "xfs",
        "a/b",
        ".qcow2",
    ];
    let mut draw = Draw::new(bytes);
    let mut environment = Environment::default();
    for _ in 0..draw.below(6) {
        let name = *draw.pick(&NAMES);
        environment.set(name, *draw.pick(&VALUES));
    }
    let flags = Flags {
        mkfs_options: (draw.below(4) == 0).then(|| "-b 1024 -N 5000".to_owned()),
        ..Flags::default()
    };
    let name = *draw.pick(&NAMES);
    let value: Vec<u8> = draw.rest().iter().copied().filter(|byte| *byte != 0).collect();
    if !value.is_empty() {
        environment.set(name, OsStr::from_bytes(&value));
    }
    assert_eq!(
        Environment::from_nul_separated(&environment.to_nul_separated()),
        environment
    );
    let made = Settings::new(flags, &environment).and_then(|settings| {
        if let SizeRule::Extra(mib) = settings.size {
            assert!(mib.is_finite() && mib >= 0.0);
        }
        assert!(!settings.formats.is_empty() && settings.cache.is_absolute());
        let identity = Identity::new(b"seed", Time::default(), false);
        filesystem::options(&settings, &environment, identity)
    });
    if let Err(error) = made {
        assert!(!error.to_string().is_empty() && error.kind().status() == 1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn element_files(bytes in vec(any::<u8>(), 0..60)) {
            super::element_files(&bytes);
        }

        #[test]
        fn package_installs(bytes in vec(any::<u8>(), 0..40)) {
            super::package_installs(&bytes);
        }

        #[test]
        fn pkg_map(bytes in vec(any::<u8>(), 0..40)) {
            super::pkg_map(&bytes);
        }

        #[test]
        fn source_repositories(bytes in vec(any::<u8>(), 0..60)) {
            super::source_repositories(&bytes);
        }

        #[test]
        fn images(bytes in vec(any::<u8>(), 0..60)) {
            super::images(&bytes);
        }

        #[test]
        fn settings(bytes in vec(any::<u8>(), 0..40)) {
            super::settings(&bytes);
        }

        #[test]
        fn command_line(bytes in vec(any::<u8>(), 0..40)) {
            super::command_line(&bytes);
        }

        #[test]
        fn sudo_words(bytes in vec(any::<u8>(), 0..40)) {
            super::sudo_words(&bytes);
        }

        #[test]
        fn hook_names(bytes in vec(any::<u8>(), 0..40)) {
            super::hook_names(&bytes);
        }

        #[test]
        fn mount_points(bytes in vec(any::<u8>(), 0..40)) {
            super::mount_points(&bytes);
        }

        #[test]
        fn shadow_days(bytes in vec(any::<u8>(), 0..40)) {
            super::shadow_days(&bytes);
        }
    }

    /// What was found once: an element that only a dropped provider of a dropped element needs.
    #[test]
    fn elements_of_dropped_providers_have_reasons() {
        super::element_files(&[
            20, 124, 126, 0, 0, 106, 16, 65, 246, 24, 7, 44, 89, 3, 182, 0, 0, 169, 110, 157, 127, 1, 7,
        ]);
    }
}
