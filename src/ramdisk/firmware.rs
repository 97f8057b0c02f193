//! Firmware: all of the tree, or what the modules of the ramdisk ask for.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::source::Source;
use crate::error::{Error, Result};
use crate::inspect::find::matches;

/// Where it lies, below the root or what stands for that.
pub const PLACE: &str = "lib/firmware";

/// Endings of files that the kernel unpacks itself.
const PACKED: [&str; 3] = ["", ".xz", ".zst"];

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// All that the tree has.
    All,
    /// What the modules of the ramdisk ask for.
    Needed,
    /// None.
    None,
}

impl FromStr for Firmware {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        match word {
            "all" => Ok(Self::All),
            "needed" => Ok(Self::Needed),
            "none" => Ok(Self::None),
            _ => {
                let error = Error::usage(format!("DIB_RAMDISK_FIRMWARE: '{word}' is unknown"));
                Err(error.hint("the words are all, needed and none"))
            }
        }
    }
}

/// The files of a place of the tree, and the links, that modules of a kernel ask for by these names, which may hold `*`.
pub fn needed(
    source: &Source,
    place: &Path,
    version: &str,
    names: &BTreeSet<String>,
) -> io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    // Where the kernel looks, and the order in which it does.
    let roots = [
        "updates".to_owned() + "/" + version,
        "updates".to_owned(),
        version.to_owned(),
        String::new(),
    ];
    let (plain, patterns): (Vec<&String>, Vec<&String>) =
        names.iter().partition(|name| !name.contains(['*', '?', '[']));
    for root in &roots {
        let root = place.join(root);
        for name in &plain {
            for ending in PACKED {
                let path = root.join(format!("{name}{ending}"));
                if source.file(&path).is_some() {
                    found.insert(path);
                }
            }
        }
        if patterns.is_empty() {
            continue;
        }
        for path in source.walk(&root)? {
            let name = path.strip_prefix(&root).unwrap_or(&path).as_os_str().as_bytes();
            let matched = patterns.iter().any(|pattern| {
                PACKED
                    .iter()
                    .any(|ending| matches(format!("{pattern}{ending}").as_bytes(), name))
            });
            if matched {
                found.insert(path);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_modules_ask_for_is_found_packed_and_by_pattern() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("lib/firmware");
        for file in [
            "a.fw",
            "b.fw.xz",
            "updates/6.1/a.fw",
            "brcm/one.txt",
            "brcm/two.txt.zst",
            "other",
        ] {
            let path = place.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let source = Source::new(dir.path());
        let names = ["a.fw", "b.fw", "absent", "brcm/*.txt"].map(str::to_owned);
        let place = Path::new("/").join(PLACE);
        let found = needed(&source, &place, "6.1", &names.into()).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|path| path.strip_prefix(&place).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            found,
            [
                "a.fw",
                "b.fw.xz",
                "brcm/one.txt",
                "brcm/two.txt.zst",
                "updates/6.1/a.fw"
            ]
        );
    }
}
