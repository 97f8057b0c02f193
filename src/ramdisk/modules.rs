//! Kernel modules: all of a kernel, or those that are wanted with all that they need, by `modules.dep` and
//! `modules.softdep` of the tree. What a module is packed with does not matter.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use object::{Object as _, ObjectSection as _};

use super::source::Source;
use crate::error::{Context, Error, Kind, Result};
use crate::inspect::find::matches;
use crate::suggest::nearest;
use crate::unpack;

/// Bytes of the longest module that is looked into.
const MODULE_MAX: u64 = 256 << 20;

/// Which modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Modules {
    /// All that the kernel has.
    All,
    /// None.
    None,
    /// Those that words name, modules or directories of them, and what they need.
    Wanted(Vec<String>),
}

impl FromStr for Modules {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<String> = text.split([' ', '\t', '\n', ',']).map(str::to_owned).collect();
        let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
        Ok(match &words[..] {
            [word] if word == "all" => Self::All,
            [word] if word == "none" => Self::None,
            [] => Self::All,
            _ => Self::Wanted(words),
        })
    }
}

/// What a kernel has.
#[derive(Clone, Debug)]
pub struct Index {
    /// Where all of it lies.
    pub directory: PathBuf,
    /// Files by the names of modules, and the files that each needs; relative to the directory.
    files: BTreeMap<String, (String, Vec<String>)>,
    /// What should be there before and after a module, by name.
    soft: BTreeMap<String, Vec<String>>,
    /// Names besides their own: patterns, and the module that each means. Those of devices are none of these.
    aliases: Vec<(String, String)>,
    /// Modules that the kernel has within itself.
    built_in: BTreeSet<String>,
}

/// Where the modules of a kernel lie below a directory, mostly `/`.
pub fn directory(root: &Path, version: &str) -> PathBuf {
    root.join("lib/modules").join(version)
}

impl Index {
    /// Reads the lists of a kernel, which lie among its modules.
    pub fn read(source: &Source, directory: &Path) -> Result<Self> {
        let text = |name: &str| {
            let path = directory.join(name);
            let text = source
                .text(&path)
                .host(|| format!("cannot read {}", path.display()))?;
            Ok::<_, Error>(text.unwrap_or_default())
        };
        let mut files = BTreeMap::new();
        for line in text("modules.dep")?.lines() {
            if let Some((file, needs)) = line.split_once(':') {
                let needs = needs.split_whitespace().map(str::to_owned).collect();
                files.insert(name_of(file), (file.to_owned(), needs));
            }
        }
        let mut soft: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in text("modules.softdep")?.lines() {
            let mut words = line.split_whitespace();
            if let (Some("softdep"), Some(name)) = (words.next(), words.next()) {
                let wanted = words.filter(|word| !word.ends_with(':'));
                soft.entry(plain(name)).or_default().extend(wanted.map(plain));
            }
        }
        let mut aliases = Vec::new();
        for line in text("modules.alias")?.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let ["alias", pattern, name] = words[..]
                && !pattern.contains(':')
            {
                aliases.push((plain(pattern), plain(name)));
            }
        }
        let built_in = text("modules.builtin")?.lines().map(name_of).collect();
        Ok(Self {
            directory: directory.to_owned(),
            files,
            soft,
            aliases,
            built_in,
        })
    }

    /// The files, relative to the directory, of what words name and all that it needs.
    pub fn closure(&self, words: &[String]) -> Result<BTreeSet<String>> {
        let mut queue: Vec<String> = Vec::new();
        for word in words {
            let found = self.named(word);
            if found.is_empty() && !self.built_in.contains(&plain(word)) {
                return Err(self.unknown(word));
            }
            queue.extend(found);
        }
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        while let Some(name) = queue.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            if let Some((file, needs)) = self.files.get(&name) {
                found.insert(file.clone());
                queue.extend(needs.iter().map(|file| name_of(file)));
            }
            let soft = self.soft.get(&name).into_iter().flatten();
            queue.extend(soft.flat_map(|word| self.meant(word)));
        }
        Ok(found)
    }

    /// The modules that a name means: the one of that name, else all that have it besides.
    fn meant(&self, word: &str) -> Vec<String> {
        let word = plain(word);
        if self.files.contains_key(&word) {
            return vec![word];
        }
        let meant = self
            .aliases
            .iter()
            .filter(|(pattern, _)| matches(pattern.as_bytes(), word.as_bytes()));
        meant.map(|(_, name)| name.clone()).collect()
    }

    /// The modules that a word names, or all in a directory.
    fn named(&self, word: &str) -> Vec<String> {
        let meant = self.meant(word);
        if !meant.is_empty() {
            return meant;
        }
        let directory = format!("{}/", word.trim_end_matches('/'));
        let below = self
            .files
            .iter()
            .filter(|(_, (file, _))| file.starts_with(&directory));
        below.map(|(name, _)| name.clone()).collect()
    }

    fn unknown(&self, word: &str) -> Error {
        let version = self.directory.file_name().unwrap_or_default().to_string_lossy();
        let message = format!(
            "DIB_RAMDISK_MODULES: kernel {version} has no module '{word}', and no directory of that name"
        );
        let error = Error::new(Kind::Elements, message);
        match nearest(&plain(word), self.files.keys().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error.hint("modules are named as virtio_blk, directories as kernel/drivers/net"),
        }
    }
}

/// Whether a file that lies among modules goes into the ramdisk: of all of them, or of those that were chosen.
pub fn is_laid(file: &str, chosen: Option<&BTreeSet<String>>) -> bool {
    if is_module(file) {
        // Who names a frame buffer wants it, and what it needs.
        return chosen.map_or_else(|| !is_frame_buffer(file), |chosen| chosen.contains(file));
    }
    if file.contains('/') {
        return chosen.is_none();
    }
    // Beside the lists of modules some kernels keep themselves, their symbols and their configuration: nothing in a ramdisk
    // reads these.
    file.starts_with("modules.")
}

/// Whether a file is a driver of a frame buffer, which would take the console from the text mode.
pub fn is_frame_buffer(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or_default();
    file.starts_with("kernel/drivers/video/") && stem(name).is_some_and(|stem| stem.ends_with("fb"))
}

/// Whether a file is a module.
pub fn is_module(file: &str) -> bool {
    stem(file).is_some()
}

/// The names of firmware that a module may ask for.
pub fn firmware(source: &Source, file: &Path) -> io::Result<Vec<String>> {
    let packed = source.open(file)?;
    let mut bytes = Vec::new();
    let plain = unpack::decompressed(packed).map_err(io::Error::other)?;
    plain.take(MODULE_MAX).read_to_end(&mut bytes)?;
    Ok(asked_for(&bytes))
}

fn asked_for(module: &[u8]) -> Vec<String> {
    let Ok(module) = object::File::parse(module) else {
        return Vec::new();
    };
    let Some(about) = module.section_by_name(".modinfo") else {
        return Vec::new();
    };
    let Ok(about) = about.data() else {
        return Vec::new();
    };
    let texts = about.split(|byte| *byte == 0);
    let names = texts.filter_map(|text| text.strip_prefix(b"firmware="));
    names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        // A path that leads out of its directory is nothing that the kernel would load.
        .filter(|name| !name.starts_with('/') && !name.split('/').any(|part| part == ".."))
        .collect()
}

/// The name of a module by the path of its file.
fn name_of(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or_default();
    plain(stem(name).unwrap_or(name))
}

/// A name as the kernel has it: both signs are one to it.
fn plain(name: impl AsRef<str>) -> String {
    name.as_ref().replace('-', "_")
}

/// A file's name before `.ko`, whatever it is packed with.
fn stem(name: &str) -> Option<&str> {
    let name = [".gz", ".xz", ".zst"]
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(name);
    name.strip_suffix(".ko")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const DEP: &str = "kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz kernel/drivers/virtio/virtio.ko.xz
kernel/drivers/virtio/virtio.ko.xz:
kernel/drivers/virtio/virtio_ring.ko.xz: kernel/drivers/virtio/virtio.ko.xz
kernel/drivers/net/e1000.ko.xz:
kernel/drivers/net/igb.ko.xz: kernel/drivers/i2c/i2c-algo-bit.ko.xz
kernel/drivers/i2c/i2c-algo-bit.ko.xz:
kernel/crypto/crc32c-generic.ko.xz:
";

    fn index() -> Index {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("lib/modules/6.1");
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("modules.dep"), DEP).unwrap();
        let soft = "# Soft dependencies\nsoftdep virtio-blk pre: crc32c post: igb\n";
        fs::write(place.join("modules.softdep"), soft).unwrap();
        let aliases = "alias crc32c crc32c_generic\nalias pci:v00008086d* igb\n";
        fs::write(place.join("modules.alias"), aliases).unwrap();
        fs::write(place.join("modules.builtin"), "kernel/fs/ext4/ext4.ko\n").unwrap();
        Index::read(&Source::new(dir.path()), Path::new("/lib/modules/6.1")).unwrap()
    }

    #[test]
    fn a_module_brings_what_it_needs_hard_and_soft() {
        let closure = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            index().closure(&words).map(|files| {
                let names = files.iter().map(|file| name_of(file));
                names
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect::<Vec<_>>()
                    .join(" ")
            })
        };
        assert_eq!(
            closure(&["virtio-blk"]).unwrap(),
            "crc32c_generic i2c_algo_bit igb virtio virtio_blk virtio_ring"
        );
        assert_eq!(
            closure(&["kernel/drivers/net/"]).unwrap(),
            "e1000 i2c_algo_bit igb"
        );
        assert_eq!(closure(&["ext4", "virtio"]).unwrap(), "virtio");
        let error = closure(&["virtio_blc"]).unwrap_err().to_string();
        assert_eq!(
            error,
            "DIB_RAMDISK_MODULES: kernel 6.1 has no module 'virtio_blc', and no directory of that name\n\
             hint: did you mean virtio_blk?"
        );
    }

    #[test]
    fn words_are_all_none_or_names() {
        let read = |text: &str| text.parse::<Modules>().unwrap();
        assert_eq!(
            (read("all"), read(""), read("none")),
            (Modules::All, Modules::All, Modules::None)
        );
        let Modules::Wanted(words) = read("a, b\n  c") else {
            panic!("three words")
        };
        assert_eq!(words, ["a", "b", "c"]);
    }

    #[test]
    fn frame_buffers_are_told_from_the_rest_of_video() {
        for (file, is) in [
            ("kernel/drivers/video/fbdev/vesafb.ko", true),
            ("kernel/drivers/video/fbdev/vga16fb.ko.zst", true),
            ("kernel/drivers/video/backlight/lcd.ko", false),
            ("kernel/drivers/gpu/drm/simplefb.ko", false),
        ] {
            assert_eq!(is_frame_buffer(file), is, "{file}");
        }
    }

    #[test]
    fn what_lies_beside_modules_is_laid_if_it_is_of_use() {
        let chosen: BTreeSet<String> = ["kernel/drivers/video/fbdev/core/fb.ko".to_owned()].into();
        for (file, of_all, of_chosen) in [
            ("kernel/drivers/video/fbdev/core/fb.ko", false, true),
            ("kernel/drivers/video/fbdev/vesafb.ko", false, false),
            ("kernel/net/one.ko.gz", true, false),
            ("vdso/vdso64.so", true, false),
            ("modules.dep", true, true),
            ("vmlinuz", false, false),
            ("System.map", false, false),
            ("symvers.xz", false, false),
        ] {
            let laid = (is_laid(file, None), is_laid(file, Some(&chosen)));
            assert_eq!(laid, (of_all, of_chosen), "{file}");
        }
    }

    #[test]
    fn what_is_no_module_asks_for_nothing() {
        assert_eq!(asked_for(b"no ELF"), Vec::<String>::new());
        let own = fs::read("/proc/self/exe").unwrap();
        assert_eq!(asked_for(&own), Vec::<String>::new());
    }
}
