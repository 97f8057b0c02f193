//! What a program or a library says of the libraries that it needs, for any architecture.
//!
//! Specs: <https://refspecs.linuxfoundation.org/elf/gabi4+/ch5.dynamic.html>, and for what is only loaded where it is
//! there <https://uapi-group.org/specifications/specs/elf_dlopen_metadata/>
//!
//! What is read is untrusted: nothing in it is believed but what lies inside the file, and of a file only the parts that say
//! so are read, so many bytes at most.

use std::cell::Cell;
use std::fs::File;
use std::ops::Range;

use object::elf;
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};
use object::read::{ReadCache, ReadRef};
use object::{Endianness, FileKind};
use serde::Deserialize;

/// Bytes of one file that are read: its tables and names take a few MiB even of the largest.
const READ_MAX: u64 = 32 << 20;

/// Libraries of one file that are looked for, and bytes of one name or of one list of directories.
const NEEDED_MAX: usize = 4096;
const TEXT_MAX: usize = 64 << 10;

/// The owner and the type of notes about libraries that are loaded where they are there.
const DLOPEN: (&[u8], u32) = (b"FDO", 0x407c_0c0a);

/// For what a file is made. A loader passes over libraries for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    kind: FileKind,
    little: bool,
    number: u16,
}

/// What a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// For what it is made.
    pub machine: Machine,
    /// The loader that it asks for.
    pub interpreter: Option<Vec<u8>>,
    /// The names of libraries that it needs.
    pub needed: Vec<Vec<u8>>,
    /// Names of libraries that it loads where they are there: of each list, the first that is.
    pub welcome: Vec<Vec<String>>,
    /// Where it has them looked for, itself and what it loads: `DT_RPATH`.
    pub rpath: Vec<u8>,
    /// The same for itself alone, which makes the other void: `DT_RUNPATH`.
    pub runpath: Vec<u8>,
}

/// A file of which only so much is read.
#[derive(Clone, Copy)]
struct Sparing<'a, R> {
    file: R,
    left: &'a Cell<u64>,
}

impl<'data, R: ReadRef<'data>> ReadRef<'data> for Sparing<'_, R> {
    fn len(self) -> Result<u64, ()> {
        self.file.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'data [u8], ()> {
        self.left.set(self.left.get().checked_sub(size).ok_or(())?);
        self.file.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'data [u8], ()> {
        let found = self.file.read_bytes_at_until(range, delimiter)?;
        let size = u64::try_from(found.len()).map_err(|_| ())?;
        self.left.set(self.left.get().checked_sub(size).ok_or(())?);
        Ok(found)
    }
}

/// Reads what a file says; `None` where it is no program and no library.
pub fn read(file: File) -> Option<Elf> {
    read_from(&ReadCache::new(file))
}

fn read_from<'data>(file: impl ReadRef<'data>) -> Option<Elf> {
    let left = Cell::new(READ_MAX);
    let file = Sparing { file, left: &left };
    let kind = FileKind::parse(file).ok()?;
    match kind {
        FileKind::Elf32 => read_as::<elf::FileHeader32<Endianness>, _>(file, kind),
        FileKind::Elf64 => read_as::<elf::FileHeader64<Endianness>, _>(file, kind),
        _ => None,
    }
}

fn read_as<'data, H, R>(file: R, kind: FileKind) -> Option<Elf>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = H::parse(file).ok()?;
    let endian = header.endian().ok()?;
    let programs = header.program_headers(endian, file).ok()?;
    let mut found = Elf {
        machine: Machine {
            kind,
            little: endian == Endianness::Little,
            number: header.e_machine(endian),
        },
        interpreter: None,
        needed: Vec::new(),
        welcome: Vec::new(),
        rpath: Vec::new(),
        runpath: Vec::new(),
    };
    let mut texts: Vec<(u32, u64)> = Vec::new();
    // The names: an address, and their bytes in all.
    let (mut address, mut len) = (None, u64::MAX);
    for program in programs {
        if let Ok(Some(interpreter)) = program.interpreter(endian, file) {
            found.interpreter = Some(interpreter.to_vec());
        }
        if let Ok(Some(mut notes)) = program.notes(endian, file) {
            while let Ok(Some(note)) = notes.next() {
                if (note.name(), note.n_type(endian)) == DLOPEN {
                    found.welcome.extend(welcome(note.desc()));
                }
            }
        }
        let Ok(Some(dynamic)) = program.dynamic(endian, file) else {
            continue;
        };
        for entry in dynamic {
            let value: u64 = entry.d_val(endian).into();
            match entry.tag32(endian) {
                Some(elf::DT_NULL) => break,
                Some(elf::DT_STRTAB) => address = Some(value),
                Some(elf::DT_STRSZ) => len = value,
                Some(tag @ (elf::DT_NEEDED | elf::DT_RPATH | elf::DT_RUNPATH))
                    if texts.len() < NEEDED_MAX =>
                {
                    texts.push((tag, value));
                }
                _ => {}
            }
        }
    }
    let strings = address.and_then(|address| loaded::<H, R>(file, endian, programs, address, len));
    for (tag, offset) in texts {
        let Some(text) = text(strings.unwrap_or_default(), offset) else {
            continue;
        };
        match tag {
            elf::DT_NEEDED => found.needed.push(text),
            elf::DT_RPATH => found.rpath = text,
            _ => found.runpath = text,
        }
    }
    Some(found)
}

/// What lies at an address once the file is loaded, as far as the file has it.
fn loaded<'data, H, R>(
    file: R,
    endian: Endianness,
    programs: &[H::ProgramHeader],
    address: u64,
    len: u64,
) -> Option<&'data [u8]>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    programs.iter().find_map(|program| {
        let (start, in_file) = program.file_range(endian);
        let at = address.checked_sub(program.p_vaddr(endian).into())?;
        let rest = in_file.checked_sub(at)?;
        let is_loaded = program.p_type(endian) == elf::PT_LOAD && rest > 0;
        is_loaded.then(|| file.read_bytes_at(start.checked_add(at)?, rest.min(len)).ok())?
    })
}

/// A text that ends before a NUL.
fn text(strings: &[u8], offset: u64) -> Option<Vec<u8>> {
    let rest = strings.get(usize::try_from(offset).ok()?..)?;
    let end = rest.iter().take(TEXT_MAX).position(|byte| *byte == 0)?;
    (end > 0).then(|| rest[..end].to_vec())
}

/// Sonames of what is worth having. Suggestions are for features that few use, by libraries that draw in many.
fn welcome(json: &[u8]) -> Vec<Vec<String>> {
    #[derive(Deserialize)]
    struct Wanted {
        soname: Vec<String>,
        #[serde(default)]
        priority: String,
    }
    let end = json.iter().position(|byte| *byte == 0).unwrap_or(json.len());
    let all: Vec<Wanted> = serde_json::from_slice(&json[..end]).unwrap_or_default();
    all.into_iter()
        .filter(|wanted| wanted.priority != "suggested")
        .map(|wanted| wanted.soname)
        .collect()
}

#[cfg(test)]
mod tests {
    use oracle::elf as written;

    use super::*;

    #[test]
    fn files_of_all_machines_say_what_they_need() {
        if !oracle::require(&["readelf"]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut machines = Vec::new();
        for (wide, little, machine) in [
            (true, true, written::X86_64),
            (false, true, written::X86),
            (true, false, written::S390),
            (false, false, written::S390),
        ] {
            let asked = written::Elf {
                wide,
                little,
                machine,
                interpreter: Some("/lib/ld.so.1"),
                needed: &["libone.so.1", "/opt/libtwo.so"],
                rpath: Some("/opt/old"),
                runpath: Some("$ORIGIN/../lib:/opt/new"),
            };
            asked.write(&path);
            let told = oracle::run("readelf", &["-dlW".as_ref(), path.as_ref()]);
            for text in [
                "[libone.so.1]",
                "[/opt/old]",
                "[$ORIGIN/../lib:/opt/new]",
                ": /lib/ld.so.1]",
            ] {
                assert!(told.contains(text), "no '{text}' in {told}");
            }
            let elf = read(File::open(&path).unwrap()).unwrap();
            assert_eq!(elf.interpreter.as_deref(), Some(&b"/lib/ld.so.1"[..]));
            assert_eq!(elf.needed, [&b"libone.so.1"[..], b"/opt/libtwo.so"]);
            assert_eq!(
                (&elf.rpath[..], &elf.runpath[..]),
                (&b"/opt/old"[..], &b"$ORIGIN/../lib:/opt/new"[..])
            );
            assert!(!machines.contains(&elf.machine), "a loader tells them apart");
            machines.push(elf.machine);
        }
    }

    #[test]
    fn what_is_none_or_cut_off_or_false_says_nothing_or_less() {
        assert_eq!(read_from(&b"#!/bin/sh\n"[..]), None);
        assert_eq!(read_from(&b""[..]), None);
        let whole = written::Elf {
            interpreter: Some("/lib/ld.so.1"),
            needed: &["libone.so.1"],
            runpath: Some("/opt"),
            ..written::Elf::default()
        }
        .bytes();
        assert_eq!(read_from(&whole[..]).unwrap().needed.len(), 1);
        for at in 0..whole.len() {
            let _ = read_from(&whole[..at]);
            for byte in [0, 1, 0x7f, 0xff] {
                let mut odd = whole.clone();
                odd[at] = byte;
                let _ = read_from(&odd[..]);
            }
        }
    }

    #[test]
    fn of_a_file_that_claims_to_be_huge_little_is_read() {
        let mut bytes = written::Elf {
            interpreter: Some("/lib/ld.so.1"),
            needed: &["libone.so.1"],
            ..written::Elf::default()
        }
        .bytes();
        // The length of the loader's path, in the third of the headers.
        let at = 64 + 2 * 56 + 32;
        bytes[at..at + 8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, &bytes).unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(1 << 42)
            .unwrap();
        let elf = read(File::open(&path).unwrap()).unwrap();
        assert_eq!((elf.interpreter, elf.needed.len()), (None, 1));
    }

    #[test]
    fn welcome_libraries_are_told_but_for_mere_suggestions() {
        let json = br#"[{"feature":"kmod","priority":"recommended","soname":["libkmod.so.2"]},
            {"soname":["liba.so.2","liba.so.1"]},{"priority":"suggested","soname":["libb.so.1"]}]"#;
        let padded = [&json[..], b"\0\0"].concat();
        assert_eq!(
            welcome(&padded),
            [vec!["libkmod.so.2"], vec!["liba.so.2", "liba.so.1"]]
        );
        assert_eq!(welcome(b"{"), Vec::<Vec<String>>::new());
    }
}
