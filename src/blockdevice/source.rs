//! Which text a build's layout is: the user's, that of an element, or the one that every build has.

use std::path::Path;

use crate::element::library::{Element, ItemKind, Origin};
use crate::environment::Environment;
use crate::error::{Context, Error, Kind, Result};
use crate::given;
use crate::settings::{Settings, WordOrigin};

/// The variable that holds a layout, or says where one is.
pub(super) const VARIABLE: &str = "DIB_BLOCK_DEVICE_CONFIG";

/// One file system on the whole disk.
const BUILT_IN: &str = "\
- local_loop: {name: image0}
- mkfs: {name: mkfs_root, base: image0}
- mount: {name: mount_mkfs_root, base: mkfs_root, mount_point: /}
- fstab: {name: fstab_mount_mkfs_root, base: mount_mkfs_root, options: defaults, fsck-passno: 1}
";

/// The text of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Where it is from, as messages name it.
    pub(super) place: String,
    /// Whether elements brought it.
    pub(super) kind: Kind,
    /// The text.
    pub(super) text: String,
}

impl Source {
    /// That of a file.
    pub(super) fn of_file(path: &Path) -> Result<Self> {
        let text = given::read_text(path).host(|| format!("cannot read the layout {}", path.display()))?;
        Ok(Self {
            place: path.display().to_string(),
            kind: Kind::Usage,
            text,
        })
    }

    /// The one that every build has.
    pub(super) fn built_in() -> Self {
        Self {
            place: "the built-in layout".into(),
            kind: Kind::Usage,
            text: BUILT_IN.into(),
        }
    }

    /// The one of a build: the variable's; or that of the only element that brings one; or the built-in one. An element
    /// that is there only because `vm` wants some layout gives way to one that brings its own.
    pub(super) fn of_build(
        environment: &Environment,
        elements: &[Element],
        settings: &Settings,
    ) -> Result<Self> {
        if let Some(value) = environment.text(VARIABLE)? {
            return match value.strip_prefix("file://") {
                Some(path) => Self::of_file(Path::new(path)),
                None if value.contains(['\n', '[', '{']) || value.trim_start().starts_with('-') => Ok(Self {
                    place: VARIABLE.into(),
                    kind: Kind::Usage,
                    text: value.to_owned(),
                }),
                None => Self::of_file(Path::new(value)),
            };
        }
        let words = settings.elements.iter().zip(&settings.word_origins);
        let is_default = |element: &Element| {
            let mut words = words.clone().filter(|(word, _)| **word == element.name);
            words.any(|(_, origin)| *origin == WordOrigin::ForVm)
        };
        let mut found = Vec::new();
        for element in elements {
            let source = Self::of_element(element, &settings.arch)?;
            found.extend(source.map(|source| (is_default(element), source)));
        }
        if found.iter().any(|(default, _)| !default) {
            found.retain(|(default, _)| !default);
        }
        match &found[..] {
            [] => Ok(Self::built_in()),
            [_] => Ok(found.remove(0).1),
            several => {
                let places: Vec<&str> = several.iter().map(|(_, source)| source.place.as_str()).collect();
                let message = format!("several elements bring a layout of disks: {}", places.join("; "));
                Err(Error::new(Kind::Elements, message)
                    .hint(format!("leave out all but one, or set {VARIABLE}")))
            }
        }
    }

    /// An element's layout for an architecture, or else for all.
    fn of_element(element: &Element, arch: &str) -> Result<Option<Self>> {
        let items = element.items()?;
        let arch = match arch {
            "ppc64le" => "ppc64el",
            other => other,
        };
        for name in [
            format!("block-device-{arch}.yaml"),
            "block-device-default.yaml".into(),
        ] {
            let found = items.iter().find(|item| item.path == Path::new(&name));
            let text = match (found.map(|item| &item.kind), &element.origin) {
                (Some(ItemKind::File { bytes, .. }), _) => bytes.text()?,
                (Some(ItemKind::Symlink { file: true, .. }), Origin::Directory(dir)) => {
                    Self::of_file(&dir.join(&name))?.text
                }
                _ => continue,
            };
            return Ok(Some(Self {
                place: format!("element {}, {name}", element.name),
                kind: Kind::Elements,
                text,
            }));
        }
        Ok(None)
    }
}
