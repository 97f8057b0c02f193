//! Programs and libraries of a few hundred bytes, for any machine: they say what they need, and run nowhere.
//!
//! Spec: <https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html>

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Where the file is loaded: addresses in it are no offsets.
const BASE: u64 = 0x40_0000;

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;

const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// The numbers of some machines.
pub const X86_64: u16 = 62;
/// 32 bits of the same.
pub const X86: u16 = 3;
/// 64-bit ARM.
pub const ARM64: u16 = 183;
/// A machine whose highest byte comes first.
pub const S390: u16 = 22;

/// What such a file says.
#[derive(Clone, Copy, Debug)]
pub struct Elf<'a> {
    /// Whether its words have 64 bits.
    pub wide: bool,
    /// Whether its lowest byte comes first.
    pub little: bool,
    /// Its machine.
    pub machine: u16,
    /// The loader that it asks for.
    pub interpreter: Option<&'a str>,
    /// The libraries that it needs.
    pub needed: &'a [&'a str],
    /// Where it has them looked for, and what it loads theirs.
    pub rpath: Option<&'a str>,
    /// Where it alone has them looked for.
    pub runpath: Option<&'a str>,
}

/// A library of the usual machine, which needs nothing.
impl Default for Elf<'_> {
    fn default() -> Self {
        Self {
            wide: true,
            little: true,
            machine: X86_64,
            interpreter: None,
            needed: &[],
            rpath: None,
            runpath: None,
        }
    }
}

impl Elf<'_> {
    /// Writes it, to be run, and the directories above it.
    pub fn write(&self, path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, self.bytes()).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Its bytes: headers, texts, the loader's path, the list of what is needed.
    pub fn bytes(&self) -> Vec<u8> {
        let (header, program, word) = if self.wide { (64, 56, 8) } else { (52, 32, 4) };
        let mut texts = vec![0];
        let mut entries = Vec::new();
        let needed = self.needed.iter().map(|name| (DT_NEEDED, *name));
        let rpath = self.rpath.map(|text| (DT_RPATH, text));
        let runpath = self.runpath.map(|text| (DT_RUNPATH, text));
        for (tag, text) in needed.chain(rpath).chain(runpath) {
            entries.push((tag, texts.len() as u64));
            texts.extend_from_slice(text.as_bytes());
            texts.push(0);
        }
        let loader = self.interpreter.map(|path| [path.as_bytes(), b"\0"].concat());
        let loader_len = loader.as_ref().map_or(0, |path| path.len() as u64);
        let programs = 2 + u64::from(loader.is_some());
        let texts_at = header + program * programs;
        let loader_at = texts_at + texts.len() as u64;
        let list_at = (loader_at + loader_len).next_multiple_of(8);
        entries.extend([
            (DT_STRTAB, BASE + texts_at),
            (DT_STRSZ, texts.len() as u64),
            (DT_NULL, 0),
        ]);
        let list_len = entries.len() as u64 * 2 * word;

        let mut file = Words {
            bytes: Vec::new(),
            wide: self.wide,
            little: self.little,
        };
        file.header(self.machine, header, program, programs);
        file.program(PT_LOAD, 0, list_at + list_len);
        file.program(PT_DYNAMIC, list_at, list_len);
        if loader.is_some() {
            file.program(PT_INTERP, loader_at, loader_len);
        }
        file.bytes.extend(texts);
        file.bytes.extend(loader.unwrap_or_default());
        file.bytes.resize(usize::try_from(list_at).unwrap(), 0);
        for (tag, value) in entries {
            file.word(tag);
            file.word(value);
        }
        file.bytes
    }
}

/// Numbers in the order and the width of a machine.
struct Words {
    bytes: Vec<u8>,
    wide: bool,
    little: bool,
}

impl Words {
    fn number(&mut self, len: usize, value: u64) {
        let mut bytes = value.to_le_bytes()[..len].to_vec();
        if !self.little {
            bytes.reverse();
        }
        self.bytes.extend(bytes);
    }

    fn word(&mut self, value: u64) {
        self.number(if self.wide { 8 } else { 4 }, value);
    }

    fn header(&mut self, machine: u16, len: u64, program: u64, programs: u64) {
        let class = if self.wide { 2 } else { 1 };
        let order = if self.little { 1 } else { 2 };
        self.bytes.extend(*b"\x7fELF");
        self.bytes.extend([class, order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        // What is loaded anywhere.
        self.number(2, 3);
        self.number(2, machine.into());
        self.number(4, 1);
        self.word(BASE);
        self.word(len);
        self.word(0);
        self.number(4, 0);
        for value in [len, program, programs, 0, 0, 0] {
            self.number(2, value);
        }
    }

    fn program(&mut self, kind: u64, at: u64, len: u64) {
        const READ: u64 = 4;
        self.number(4, kind);
        if self.wide {
            self.number(4, READ);
        }
        for value in [at, BASE + at, BASE + at, len, len] {
            self.word(value);
        }
        if !self.wide {
            self.number(4, READ);
        }
        self.word(8);
    }
}
