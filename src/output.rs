//! Outputs: an image in its format, written beside its final name, digested, synced, and only then given the name.
//!
//! Whoever looks at the name sees the old image or the whole new one, never a part, whatever ends the program.
//!
//! | module | what it does |
//! |---|---|
//! | [`format`](mod@format) | what types there are, and what writes each: one module and one line for every one |
//! | [`archive`] | what formats need that hold the tree itself: names, platforms, and which of it they hold |
//! | [`engine`] | the engine of docker, for who wants an image loaded |
//! | [`ramdisk`] | a ramdisk and its kernel, which hooks made |
//! | `options` | the words of `--qemu-img-options`, each for the formats that know it |
//! | [`stdout`] | an output that goes to standard output |
//! | `writing` | what the writers of formats share: copies in order, digested, with room looked for before |
//! | `publish` | files without names, and how they get them, with all that belongs to them, at once |
//! | `digest` | MD5 and SHA-256 of what is being written |
//! | `counted` | how much of it has been |

pub mod archive;
mod counted;
mod digest;
pub mod engine;
pub mod format;
mod options;
mod publish;
pub mod ramdisk;
pub mod stdout;
mod writing;

use std::fs::File;
use std::io::{self, Write as _};
use std::num::NonZero;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use image_core::tree::Content;
use image_core::{Identity, Map, Store};
use image_formats::{squashfs, vhd};

use crate::error::{Context, Error, Kind, Result};
use crate::room::{self, Room};
use crate::settings::{Checksums, Settings};
use crate::ui;
use archive::Archival;
use digest::Digits;
pub use format::Format;
use publish::Fresh;
use writing::{Image, Target};

/// How outputs are written and saved.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The name of the outputs without the suffix.
    pub name: String,
    /// Whether formats that can compress do.
    pub compress: bool,
    /// Options of formats, in the words of `qemu-img convert -o`.
    pub options: String,
    /// Who shall take a VHD.
    pub vhd: vhd::Profile,
    /// What compresses a squashfs image.
    pub squashfs: squashfs::Compression,
    /// How many threads compress; `None`: one a processor. The bytes are the same for any number.
    pub threads: Option<NonZero<usize>>,
    /// What the UUIDs and times of containers derive from.
    pub identity: Identity,
    /// Which digests are written beside each output.
    pub checksums: Checksums,
    /// Whether an older output goes instead of getting another name.
    pub overwrite: bool,
    /// The permissions of outputs.
    pub mode: u32,
}

/// The most threads that compress.
const THREADS_MAX: NonZero<usize> = NonZero::new(16).expect("it is not 0");

impl Rules {
    /// What was asked for.
    pub fn of(settings: &Settings, identity: Identity, umask: u32) -> Self {
        Self {
            name: settings.name.clone(),
            compress: settings.compress,
            options: settings.format_options.clone().unwrap_or_default(),
            vhd: settings.vhd,
            squashfs: settings.squashfs,
            threads: settings.threads,
            identity,
            checksums: settings.checksums,
            overwrite: settings.overwrite,
            mode: 0o666 & !umask,
        }
    }

    /// How many threads compress: each has blocks, and tables of its compressor, in memory.
    pub(crate) fn threads(&self) -> NonZero<usize> {
        let of_machine = || std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        self.threads.unwrap_or_else(of_machine).min(THREADS_MAX)
    }

    /// Whether all of it can be followed for these formats.
    pub fn check(&self, formats: &[Format]) -> Result<()> {
        options::check(formats, &self.options)?;
        for format in formats {
            format.writer().check(self)?;
        }
        if self.name != stdout::NAME {
            return Ok(());
        }
        let refused = |why| Err(Error::usage(format!("-o -: {why}")));
        match formats {
            [format] if !format.writer().streams(self) => refused(format!(
                "a compressed {format} cannot be written from its first byte to its last: use -u, or another type"
            )),
            [_] if self.checksums.md5 || self.checksums.sha256 => {
                refused("digests need a file to stand beside".to_owned())
            }
            [_] => Ok(()),
            _ => refused("standard output takes one image: choose one type with -t".to_owned()),
        }
    }

    /// Whether all formats can hold a disk of so many bytes: known before any of it is there.
    pub fn check_len(&self, formats: &[Format], len: u64) -> Result<()> {
        for format in formats {
            format.writer().check_len(len, self)?;
        }
        Ok(())
    }

    /// The length of a disk that all formats take and that is no less.
    pub fn rounded(&self, formats: &[Format], bytes: u64) -> u64 {
        let grains = formats.iter().map(|format| format.writer().grain(self));
        grains.fold(bytes, u64::next_multiple_of)
    }
}

/// Whether every output can be saved where it shall be, as far as that can be known before there is an image.
pub fn rehearse(name: &str, formats: &[Format]) -> Result<()> {
    if name == stdout::NAME {
        return Ok(());
    }
    for format in formats {
        let path = path(name, *format);
        let tried = || format!("cannot save {}", path.display());
        publish::rehearse(&path).image(tried).map_err(|error| {
            let absent = error
                .system()
                .is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
            match dir.filter(|dir| absent && !dir.exists()) {
                Some(dir) => error.hint(format!("make the directory {}", dir.display())),
                None => error,
            }
        })?;
    }
    Ok(())
}

/// Writes and saves an image in every format asked for that holds a disk.
pub fn write_all(map: &Map, store: &impl Store, formats: &[Format], rules: &Rules) -> Result<()> {
    write_disk(map, store, false, formats, rules)
}

/// The same for a guest whose bytes lie packed in a container.
pub fn write_packed(map: &Map, store: &impl Store, formats: &[Format], rules: &Rules) -> Result<()> {
    write_disk(map, store, true, formats, rules)
}

fn write_disk(map: &Map, store: &impl Store, packed: bool, formats: &[Format], rules: &Rules) -> Result<()> {
    let image = Image {
        map,
        store,
        packed,
        archival: None,
    };
    let disks = formats.iter().filter(|format| !format.is_of_tree());
    write_each(&image, map.len(), disks, rules)
}

/// Writes and saves a tree in every format asked for that holds no disk.
pub fn archive_all(
    archival: &Archival<'_>,
    store: &impl Store,
    formats: &[Format],
    rules: &Rules,
) -> Result<()> {
    let nothing = writing::planned(Map::builder(0).build())?;
    let image = Image {
        map: &nothing,
        store,
        packed: false,
        archival: Some(archival),
    };
    let bytes = archival.tree.nodes().iter().map(|node| match &node.content {
        Content::File(data) => data.ranges().map(|run| run.end - run.start).sum(),
        _ => 0,
    });
    let archives = formats.iter().filter(|format| format.is_of_tree());
    write_each(&image, bytes.sum(), archives, rules)?;
    match &archival.facts.engine {
        Some(engine) => engine.load(&path(&rules.name, Format::Docker)),
        None => Ok(()),
    }
}

fn write_each<'f>(
    image: &Image<'_>,
    bytes: u64,
    formats: impl Iterator<Item = &'f Format>,
    rules: &Rules,
) -> Result<()> {
    for format in formats {
        let writer = format.writer();
        if rules.name == stdout::NAME {
            let output = ui::output(Path::new(stdout::NAME), format, bytes);
            writer.write(image, rules, &Target::Stdout)?;
            output.finished(bytes, Vec::new());
            continue;
        }
        let path = path(&rules.name, *format);
        let output = ui::output(&path, format, bytes);
        let (bytes, digests) = save(&path, format.suffix(), rules, |file| {
            writer.write(image, rules, &Target::File(file))
        })
        .map_err(|error| error.within(&path))?;
        output.finished(bytes, digests);
        ui::note(format_args!("Image file {} created...", path.display()));
    }
    Ok(())
}

/// Saves a text beside the image, under its name with a suffix of its own.
pub fn save_text(rules: &Rules, suffix: &str, text: &[u8]) -> Result<()> {
    let path = PathBuf::from(format!("{}.{suffix}", rules.name));
    let written = save(&path, suffix, rules, |mut file| {
        file.write_all(text).image(|| "cannot write it".to_owned())?;
        Ok(Vec::new())
    });
    written.map_err(|error| error.within(&path))?;
    ui::note(format_args!("{} created...", path.display()));
    Ok(())
}

/// Where the output of a format goes.
fn path(name: &str, format: Format) -> PathBuf {
    PathBuf::from(format!("{name}.{}", format.suffix()))
}

/// Saves what `write` makes of a fresh file under its final name, which ends in `suffix`, and its digests beside it. Returns
/// how many bytes are in the file, and the digests.
fn save(
    path: &Path,
    suffix: &str,
    rules: &Rules,
    write: impl FnOnce(&File) -> Result<Vec<Digits>>,
) -> Result<(u64, Vec<Digits>)> {
    let tried = || "cannot save the image".to_owned();
    let fresh = Fresh::create(path, rules.mode).image(tried)?;
    let written = write(&fresh.file).and_then(|digests| {
        fresh.file.sync_all().image(tried)?;
        Ok(digests)
    });
    let digests = written.map_err(|error| explain(error, &fresh.file))?;
    let bytes = fresh.file.metadata().image(tried)?.len();
    let line = |(suffix, digits): &Digits| (*suffix, digest::line(digits, path));
    let lines: Vec<_> = digests.iter().map(line).collect();
    publish::publish(fresh, path, suffix, &lines, rules.mode, rules.overwrite).image(tried)?;
    Ok((bytes, digests))
}

const ELSEWHERE_HINT: &str = "make room there, or name an output on another file system with -o";

/// Says what the numbers are where an image outgrew its file system.
fn explain(error: Error, file: &File) -> Error {
    let Some(system) = error.system() else {
        return error;
    };
    if system.kind() == io::ErrorKind::FileTooLarge {
        return error.hint("the file system, or the limit that ulimit -f shows, allows no file of that size");
    }
    let (Ok(meta), Ok(room)) = (file.metadata(), Room::of(file)) else {
        return error;
    };
    if !room::is_full(system) {
        return error;
    }
    let message = format!(
        "no room: of the image {} bytes are written, {} more are free",
        meta.blocks() * 512,
        room.free
    );
    Error::new(Kind::Image, message)
        .because(error)
        .hint(ELSEWHERE_HINT)
}

impl Error {
    /// Says which output it was.
    fn within(self, path: &Path) -> Self {
        match self.kind() {
            Kind::Image => Error::new(Kind::Image, path.display().to_string()).because(self),
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image_core::store::{FileId, MemoryStore, Open};
    use image_core::tree::Time;
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn rules(dir: &Path) -> Rules {
        Rules {
            name: dir.join("n").display().to_string(),
            compress: false,
            options: String::new(),
            vhd: vhd::Profile::Xen,
            squashfs: squashfs::Compression::Xz,
            threads: None,
            identity: Identity::new(b"test", Time::default(), false),
            checksums: Checksums {
                md5: true,
                sha256: true,
            },
            overwrite: false,
            mode: 0o644,
        }
    }

    /// Every way to write: format, and whether it is compressed.
    const WAYS: [(Format, bool); 7] = [
        (Format::Vmdk, true),
        (Format::Vdi, false),
        (Format::Vhd, false),
        (Format::Vmdk, false),
        (Format::Raw, false),
        (Format::Qcow2, false),
        (Format::Qcow2, true),
    ];

    /// What is asked for besides, so that it is written in that way.
    fn words(format: Format, compress: bool) -> String {
        match (format, compress) {
            (Format::Vmdk, true) => "subformat=streamOptimized".to_owned(),
            _ => String::new(),
        }
    }

    /// An image with metadata, files and holes.
    fn image(store: &mut MemoryStore) -> Map {
        let mut map = Map::builder(8 << 20);
        map.bytes(1024, vec![7; 5000], "table");
        for at in [1 << 20, 3 << 20] {
            let bytes: Vec<u8> = (0..300_000_u32)
                .map(|i| i.wrapping_mul(i).to_le_bytes()[1])
                .collect();
            let file = store.push(bytes);
            map.file(at, file, 0, 300_000, "file");
        }
        map.build().unwrap()
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn digests_are_of_what_the_file_holds() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = MemoryStore::default();
        let map = image(&mut store);
        for (format, compress) in WAYS {
            let rules = Rules {
                compress,
                options: words(format, compress),
                overwrite: true,
                ..rules(dir.path())
            };
            write_all(&map, &store, &[format], &rules).unwrap();
            let path = path(&rules.name, format);
            let file = File::open(&path).unwrap();
            for (suffix, digits) in digest::of_file(&file, rules.checksums).unwrap() {
                let text = fs::read_to_string(publish::suffixed(&path, suffix)).unwrap();
                assert_eq!(text, format!("{digits}  {}\n", path.display()));
            }
        }
    }

    /// Serves a number of reads, and no more.
    struct Failing<'a> {
        store: &'a MemoryStore,
        reads: AtomicUsize,
    }

    struct FailingFile<'a>(Box<dyn Open + 'a>, &'a AtomicUsize);

    impl Store for Failing<'_> {
        fn open(&self, file: FileId) -> Result<Box<dyn Open + '_>, image_core::store::Error> {
            Ok(Box::new(FailingFile(self.store.open(file)?, &self.reads)))
        }
    }

    impl Open for FailingFile<'_> {
        fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), image_core::store::Error> {
            let left = self
                .1
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if left.is_err() {
                return Err(image_core::store::Error::Read {
                    path: b"the/file".to_vec(),
                    source: io::Error::other("bad sector"),
                });
            }
            self.0.read_exact_at(buf, offset)
        }
    }

    #[test]
    fn a_tree_that_cannot_be_read_leaves_the_old_output_and_no_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = MemoryStore::default();
        let map = image(&mut store);
        for (format, compress) in WAYS {
            let rules = Rules {
                compress,
                ..rules(dir.path())
            };
            let path = path(&rules.name, format);
            fs::write(&path, "the old image").unwrap();
            let before = names(dir.path());
            let mut succeeded = false;
            for reads in 0..20 {
                let store = Failing {
                    store: &store,
                    reads: AtomicUsize::new(reads),
                };
                match write_all(&map, &store, &[format], &rules) {
                    Ok(()) => succeeded = true,
                    Err(error) => {
                        let text = error.to_string();
                        assert!(text.starts_with(&*path.to_string_lossy()), "{text}");
                        assert!(text.contains("the/file: bad sector"), "{text}");
                        assert_eq!(names(dir.path()), before);
                        assert_eq!(fs::read(&path).unwrap(), b"the old image");
                    }
                }
                if succeeded {
                    break;
                }
            }
            assert!(succeeded, "{format}: 20 reads are enough");
            for name in names(dir.path()) {
                fs::remove_file(dir.path().join(name)).unwrap();
            }
        }
    }

    #[test]
    fn outputs_are_rehearsed_without_a_trace() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("n").display().to_string();
        rehearse(&name, &Format::ALL).unwrap();
        assert_eq!(names(dir.path()), [""; 0]);
        fs::create_dir(dir.path().join("n.raw")).unwrap();
        let error = rehearse(&name, &Format::ALL).unwrap_err().to_string();
        assert!(error.contains("n.raw is a directory"), "{error}");
        let absent = dir.path().join("absent/n").display().to_string();
        let error = rehearse(&absent, &[Format::Raw]).unwrap_err().to_string();
        assert!(error.contains("make the directory"), "{error}");
        let long = dir.path().join("n".repeat(250)).display().to_string();
        assert!(rehearse(&long, &[Format::Raw]).is_err());
    }
}
