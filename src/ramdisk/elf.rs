//! What a program or a library says of the libraries that it needs, for any architecture.
//!
//! Specs: <https://refspecs.linuxfoundation.org/elf/gabi4+/ch5.dynamic.html>, and for what is only loaded where it is
//! there <https://uapi-group.org/specifications/specs/elf_dlopen_metadata/>
//!
//! What is read is untrusted: nothing in it is believed but what lies inside the file.

use object::elf;
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};
use object::{Endianness, FileKind};
use serde::Deserialize;

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

/// Reads what a file says; `None` where it is no program and no library.
pub fn read(file: &[u8]) -> Option<Elf> {
    let kind = FileKind::parse(file).ok()?;
    match kind {
        FileKind::Elf32 => read_as::<elf::FileHeader32<Endianness>>(file, kind),
        FileKind::Elf64 => read_as::<elf::FileHeader64<Endianness>>(file, kind),
        _ => None,
    }
}

fn read_as<H: FileHeader<Endian = Endianness>>(file: &[u8], kind: FileKind) -> Option<Elf> {
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
    let mut strings = None;
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
                Some(elf::DT_STRTAB) => strings = Some(value),
                Some(tag @ (elf::DT_NEEDED | elf::DT_RPATH | elf::DT_RUNPATH)) => texts.push((tag, value)),
                _ => {}
            }
        }
    }
    // An address, to be found in what is loaded.
    let strings = strings.and_then(|address| {
        programs.iter().find_map(|program| {
            let data = program.data(endian, file).ok()?;
            let start: u64 = program.p_vaddr(endian).into();
            let offset = usize::try_from(address.checked_sub(start)?).ok()?;
            (program.p_type(endian) == elf::PT_LOAD).then(|| data.get(offset..))?
        })
    });
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

/// A text that ends before a NUL.
fn text(strings: &[u8], offset: u64) -> Option<Vec<u8>> {
    let rest = strings.get(usize::try_from(offset).ok()?..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
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
    use super::*;

    #[test]
    fn this_program_says_what_it_is() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let elf = read(&own).unwrap();
        assert_eq!(elf.machine, read(&own).unwrap().machine);
        assert!(elf.rpath.is_empty() && elf.welcome.is_empty());
    }

    #[test]
    fn what_is_none_or_cut_off_says_nothing_or_less() {
        assert_eq!(read(b"#!/bin/sh\n"), None);
        assert_eq!(read(b""), None);
        let own = std::fs::read("/proc/self/exe").unwrap();
        for len in (0..4096).step_by(61) {
            let _ = read(&own[..len]);
        }
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
