//! Where the loader of a tree finds the libraries of a program: nothing of the tree is run to know it, so that it may be
//! a tree for any machine.
//!
//! The order is that of ld.so(8), without variables: `DT_RPATH` of a file and of those that loaded it, unless it has a
//! `DT_RUNPATH`; that; the directories of `/etc/ld.so.conf`, which is what the loader's cache is made of, and those of
//! `/etc/ld-musl-*.path`; the usual ones. A library for another machine is passed over.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::elf::{self, Elf, Machine};
use super::source::Source;

/// Where loaders look at last.
const USUAL: [&str; 7] = [
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
    "/lib32",
    "/usr/lib32",
];

/// What the C library of GNU loads without saying so anywhere: when a thread is cancelled, and to look up names. From 2.34
/// on it does the latter itself.
const GLIBC: &str = "libc.so.6";
const SILENT: [&str; 3] = ["libgcc_s.so.1", "libnss_dns.so.2", "libnss_files.so.2"];

/// How many files of `/etc/ld.so.conf` are read, and how many directories they may name.
const FILES_MAX: usize = 256;
const DIRECTORIES_MAX: usize = 1024;

/// A library that something needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Library {
    /// What it is asked for by: a name, or the path of a loader.
    pub asked: PathBuf,
    /// Where the loader finds it, over links perhaps.
    pub path: PathBuf,
}

/// What a program needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closure {
    /// The libraries, each name and path once.
    pub libraries: BTreeSet<Library>,
    /// Names of libraries that are nowhere, and the file that needs each.
    pub missing: BTreeMap<String, PathBuf>,
}

/// The loader of a tree.
#[derive(Debug)]
pub struct Loader<'a> {
    source: &'a Source,
    /// Directories of its configuration, then the usual ones.
    directories: Vec<PathBuf>,
    /// What files without links say, as far as they were looked at; `None`: neither program nor library.
    known: RefCell<BTreeMap<PathBuf, Option<Rc<Elf>>>>,
}

/// A file that is looked at, and what it inherits.
struct Loaded {
    path: PathBuf,
    elf: Rc<Elf>,
    /// The `DT_RPATH` of all that led to it.
    inherited: Vec<PathBuf>,
}

impl<'a> Loader<'a> {
    /// Reads its configuration.
    pub fn new(source: &'a Source) -> Self {
        let mut directories = Vec::new();
        let mut included = BTreeSet::new();
        configured(
            source,
            Path::new("/etc/ld.so.conf"),
            &mut included,
            &mut directories,
        );
        for name in matching(source, Path::new("/etc/ld-musl-*.path")) {
            let text = source.text(&name).ok().flatten().unwrap_or_default();
            directories.extend(
                text.split([':', '\n'])
                    .filter(|dir| dir.starts_with('/'))
                    .map(PathBuf::from),
            );
        }
        directories.extend(USUAL.map(PathBuf::from));
        // Where Debian's loaders look without being told.
        for pattern in ["/lib/*-linux-*", "/usr/lib/*-linux-*"] {
            directories.extend(matching(source, Path::new(pattern)));
        }
        Self {
            source,
            directories,
            known: RefCell::default(),
        }
    }

    /// Everything that a program or library needs, and that what it needs needs.
    pub fn closure(&self, path: &Path) -> Closure {
        let mut closure = Closure::default();
        let Some(elf) = self.read(path) else {
            return closure;
        };
        let mut seen = BTreeSet::new();
        let mut queue = VecDeque::from([Loaded {
            path: path.to_owned(),
            elf,
            inherited: Vec::new(),
        }]);
        while let Some(loaded) = queue.pop_front() {
            let next = self.needs(&loaded, &mut closure);
            let mut inherited = expanded(self.source, &loaded.elf.rpath, &loaded.path);
            inherited.extend(loaded.inherited);
            for library in next {
                let real = self.source.file(&library.path);
                let Some(real) = real.filter(|real| seen.insert(real.clone())) else {
                    continue;
                };
                if let Some(elf) = self.read(&real) {
                    queue.push_back(Loaded {
                        path: library.path,
                        elf,
                        inherited: inherited.clone(),
                    });
                }
            }
        }
        closure
    }

    /// What the C library of a program may load besides, as far as it is there, and what that needs.
    pub fn silent(&self, program: &Path, closure: &Closure) -> BTreeSet<Library> {
        if !closure
            .libraries
            .iter()
            .any(|library| library.asked == Path::new(GLIBC))
        {
            return BTreeSet::new();
        }
        let mut silent = BTreeSet::new();
        for library in SILENT.iter().filter_map(|name| self.beside(program, name)) {
            silent.extend(self.closure(&library.path).libraries);
            silent.insert(library);
        }
        silent
    }

    /// Finds a library by name, for the machine that a program is made for.
    fn beside(&self, program: &Path, name: &str) -> Option<Library> {
        let elf = self.read(program)?;
        let path = self.first(&self.directories, OsStr::new(name), elf.machine)?;
        Some(Library {
            asked: name.into(),
            path,
        })
    }

    /// Finds what one file needs, and notes it.
    fn needs(&self, loaded: &Loaded, closure: &mut Closure) -> Vec<Library> {
        let Loaded { path, elf, inherited } = loaded;
        let mut directories = Vec::new();
        if elf.runpath.is_empty() {
            directories.extend(expanded(self.source, &elf.rpath, path));
            directories.extend_from_slice(inherited);
        } else {
            directories.extend(expanded(self.source, &elf.runpath, path));
        }
        directories.extend_from_slice(&self.directories);
        let find = |name: &OsStr| {
            if name.as_bytes().contains(&b'/') {
                let path = PathBuf::from(name);
                return self.is_for(&path, elf.machine).then_some(path);
            }
            self.first(&directories, name, elf.machine)
        };
        let interpreter = elf.interpreter.iter();
        let mut found = Vec::new();
        for name in interpreter.chain(&elf.needed) {
            let name = OsStr::from_bytes(name);
            if let Some(path) = find(name) {
                let asked = name.into();
                found.push(Library { asked, path });
            } else {
                let name = name.to_string_lossy().into_owned();
                closure.missing.entry(name).or_insert_with(|| path.clone());
            }
        }
        for names in &elf.welcome {
            let first = names
                .iter()
                .find_map(|name| Some((name, find(OsStr::new(name))?)));
            found.extend(first.map(|(name, path)| Library {
                asked: name.into(),
                path,
            }));
        }
        closure.libraries.extend(found.iter().cloned());
        found
    }

    fn first(&self, directories: &[PathBuf], name: &OsStr, machine: Machine) -> Option<PathBuf> {
        let paths = directories.iter().map(|directory| directory.join(name));
        paths.into_iter().find(|path| self.is_for(path, machine))
    }

    fn is_for(&self, path: &Path, machine: Machine) -> bool {
        self.read(path).is_some_and(|elf| elf.machine == machine)
    }

    fn read(&self, path: &Path) -> Option<Rc<Elf>> {
        let real = self.source.file(path)?;
        let mut known = self.known.borrow_mut();
        let read = || Some(Rc::new(elf::read(self.source.open(&real).ok()?)?));
        known.entry(real.clone()).or_insert_with(read).clone()
    }
}

/// The directories of an rpath or a runpath. `$ORIGIN` is the directory of the file that has it, whichever name it was found by.
fn expanded(source: &Source, text: &[u8], of: &Path) -> Vec<PathBuf> {
    let text = String::from_utf8_lossy(text);
    let origins = [source.resolve(of), Some(of.to_owned())];
    let origins: Vec<String> = origins
        .into_iter()
        .flatten()
        .filter_map(|path| Some(path.parent()?.display().to_string()))
        .collect();
    let mut directories = Vec::new();
    for part in text.split(':').filter(|part| !part.is_empty()) {
        for origin in &origins {
            let part = part.replace("${ORIGIN}", "$ORIGIN").replace("${LIB}", "$LIB");
            let part = part.replace("$ORIGIN", origin);
            let variants = ["lib64", "lib"].map(|lib| PathBuf::from(part.replace("$LIB", lib)));
            for directory in variants {
                let known = directory.to_string_lossy().contains('$') || directories.contains(&directory);
                if directory.is_absolute() && !known {
                    directories.push(directory);
                }
            }
        }
    }
    directories
}

/// The directories that a configuration names, and those that it includes; each file of it is read once.
fn configured(
    source: &Source,
    file: &Path,
    included: &mut BTreeSet<PathBuf>,
    directories: &mut Vec<PathBuf>,
) {
    let is_new = |real: &PathBuf| included.len() < FILES_MAX && included.insert(real.clone());
    let Some(Ok(Some(text))) = source.file(file).filter(is_new).map(|real| source.text(&real)) else {
        return;
    };
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(patterns) = line
            .strip_prefix("include")
            .filter(|rest| rest.starts_with([' ', '\t']))
        {
            for pattern in patterns.split_whitespace() {
                let pattern = file.parent().unwrap_or(Path::new("/")).join(pattern);
                for more in matching(source, &pattern) {
                    configured(source, &more, included, directories);
                }
            }
        } else {
            let words = line
                .split([' ', '\t', ',', ':'])
                .filter(|word| word.starts_with('/'));
            for word in words {
                let directory = PathBuf::from(word.split('=').next().unwrap_or(word));
                if directories.len() < DIRECTORIES_MAX && !directories.contains(&directory) {
                    directories.push(directory);
                }
            }
        }
    }
}

/// Paths that match a pattern, whose last part may hold `*`, sorted.
fn matching(source: &Source, pattern: &Path) -> Vec<PathBuf> {
    let (Some(directory), Some(name)) = (pattern.parent(), pattern.file_name()) else {
        return Vec::new();
    };
    let names = source.list(directory).unwrap_or_default();
    let pattern = name.as_bytes();
    names
        .into_iter()
        .filter(|name| crate::inspect::find::matches(pattern, name.as_bytes()))
        .map(|name| directory.join(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use oracle::elf as written;

    use super::*;

    /// What the loader itself says: names, or paths of loaders, and where they are.
    fn ldd(program: &str) -> BTreeSet<(String, PathBuf)> {
        let told = oracle::run("ldd", &[program.as_ref()]);
        let line = |line: &str| {
            let line = line.split(" (0x").next()?.trim();
            match line.split_once(" => ") {
                Some((name, path)) => Some((name.to_owned(), PathBuf::from(path))),
                None => line.starts_with('/').then(|| (line.to_owned(), line.into())),
            }
        };
        told.lines().filter_map(line).collect()
    }

    #[test]
    fn the_hosts_own_loader_finds_the_same() {
        if !oracle::require(&["ldd", "bash"]) {
            return;
        }
        let source = Source::new("/");
        let loader = Loader::new(&source);
        let mut looked = 0;
        for program in [
            "/bin/bash",
            "/usr/bin/tar",
            "/usr/bin/curl",
            "/usr/bin/git",
            "/usr/bin/qemu-img",
        ] {
            if !Path::new(program).exists() {
                continue;
            }
            let closure = loader.closure(Path::new(program));
            assert_eq!(closure.missing, BTreeMap::new(), "{program}");
            let real = |path: &Path| source.file(path).unwrap();
            let ours: BTreeSet<PathBuf> = closure
                .libraries
                .iter()
                .map(|library| real(&library.path))
                .collect();
            let theirs: BTreeSet<PathBuf> = ldd(program).iter().map(|(_, path)| real(path)).collect();
            assert_eq!(ours, theirs, "{program}");
            looked += theirs.len();
        }
        assert!(looked > 2, "{looked}");
    }

    /// Names that a program of a tree needs, and where they are found, a line each; then those that are nowhere.
    fn told(tree: &Path, program: &str) -> String {
        let source = Source::new(tree);
        let closure = Loader::new(&source).closure(Path::new(program));
        let found = closure.libraries.iter();
        let found = found.map(|library| format!("{} {}\n", library.asked.display(), library.path.display()));
        let missing = closure.missing.iter();
        let missing = missing.map(|(name, by)| format!("no {name} of {}\n", by.display()));
        found.chain(missing).collect()
    }

    #[test]
    fn a_path_of_old_is_for_all_that_is_loaded_and_one_of_now_for_its_file_alone() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, elf: written::Elf<'_>| elf.write(&dir.path().join(path));
        let needs = |needed: &'static [&'static str]| written::Elf {
            needed,
            ..written::Elf::default()
        };
        write("opt/a/liba.so", needs(&["libb.so"]));
        write("opt/a/libb.so", needs(&[]));
        write(
            "bin/old",
            written::Elf {
                rpath: Some("/opt/a"),
                ..needs(&["liba.so"])
            },
        );
        write(
            "bin/now",
            written::Elf {
                runpath: Some("$ORIGIN/../opt/a"),
                ..needs(&["liba.so"])
            },
        );
        write(
            "bin/both",
            written::Elf {
                rpath: Some("/opt/a"),
                runpath: Some("/opt/none"),
                ..needs(&["liba.so"])
            },
        );
        assert_eq!(
            told(dir.path(), "/bin/old"),
            "liba.so /opt/a/liba.so\nlibb.so /opt/a/libb.so\n"
        );
        assert_eq!(
            told(dir.path(), "/bin/now"),
            "liba.so /bin/../opt/a/liba.so\nno libb.so of /bin/../opt/a/liba.so\n"
        );
        assert_eq!(told(dir.path(), "/bin/both"), "no liba.so of /bin/both\n");
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/ld.so.conf"), "/opt/a\n").unwrap();
        assert_eq!(
            told(dir.path(), "/bin/both"),
            "liba.so /opt/a/liba.so\nlibb.so /opt/a/libb.so\n"
        );
    }

    #[test]
    fn libraries_for_another_machine_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let machines = [
            ("lib64", true, true, written::X86_64),
            ("lib32", false, true, written::X86),
            ("usr/lib/aarch64-linux-gnu", true, true, written::ARM64),
            ("usr/lib/s390x-linux-gnu", true, false, written::S390),
        ];
        for (place, wide, little, machine) in machines {
            let own = written::Elf {
                wide,
                little,
                machine,
                ..written::Elf::default()
            };
            own.write(&dir.path().join(place).join("libc.so.6"));
            own.write(&dir.path().join(place).join("ld.so.1"));
            let interpreter = format!("/{place}/ld.so.1");
            let program = written::Elf {
                interpreter: Some(&interpreter),
                needed: &["libc.so.6"],
                ..own
            };
            program.write(&dir.path().join(format!("bin/{}", place.replace('/', "-"))));
        }
        for (place, ..) in machines {
            assert_eq!(
                told(dir.path(), &format!("/bin/{}", place.replace('/', "-"))),
                format!("/{place}/ld.so.1 /{place}/ld.so.1\nlibc.so.6 /{place}/libc.so.6\n")
            );
        }
        fs::remove_file(dir.path().join("lib64/libc.so.6")).unwrap();
        assert!(told(dir.path(), "/bin/lib64").contains("no libc.so.6 of /bin/lib64"));
    }

    #[test]
    fn configuration_that_includes_itself_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc/ld.so.conf.d");
        fs::create_dir_all(&etc).unwrap();
        fs::write(dir.path().join("etc/ld.so.conf"), "include ld.so.conf.d/*\n").unwrap();
        for i in 0..40 {
            fs::write(etc.join(i.to_string()), format!("include *\n/opt/{i}\n")).unwrap();
        }
        let source = Source::new(dir.path());
        let directories = Loader::new(&source).directories;
        assert_eq!(directories.len(), 40 + USUAL.len());
    }

    #[test]
    fn configuration_includes_more() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc/ld.so.conf.d");
        fs::create_dir_all(&etc).unwrap();
        fs::create_dir_all(dir.path().join("usr/lib/arm-linux-gnueabihf")).unwrap();
        fs::write(
            etc.join("b.conf"),
            "# none\n/opt/b # why\n/opt/c:/opt/d hwcap 1\n",
        )
        .unwrap();
        fs::write(etc.join("a.conf"), "/opt/a\ninclude a.conf\n").unwrap();
        fs::write(etc.join("c.other"), "/opt/not\n").unwrap();
        fs::write(
            dir.path().join("etc/ld.so.conf"),
            "include ld.so.conf.d/*.conf\n/opt/last\n",
        )
        .unwrap();
        fs::write(dir.path().join("etc/ld-musl-x86_64.path"), "/musl/a:/musl/b\n").unwrap();
        let source = Source::new(dir.path());
        let directories = Loader::new(&source).directories;
        let mut told: Vec<&str> = directories.iter().map(|path| path.to_str().unwrap()).collect();
        told.dedup();
        let (own, rest) = told.split_at(7);
        assert_eq!(
            own,
            [
                "/opt/a",
                "/opt/b",
                "/opt/c",
                "/opt/d",
                "/opt/last",
                "/musl/a",
                "/musl/b"
            ]
        );
        assert_eq!(rest.first(), Some(&"/lib64"));
        assert_eq!(rest.last(), Some(&"/usr/lib/arm-linux-gnueabihf"));
    }

    #[test]
    fn what_the_c_library_loads_silently_comes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let glibc = written::Elf {
            needed: &["libc.so.6"],
            ..written::Elf::default()
        };
        let services = written::Elf {
            needed: &["libresolv.so.2", "libc.so.6"],
            ..written::Elf::default()
        };
        let musl = written::Elf {
            needed: &["libc.musl-x86_64.so.1"],
            ..written::Elf::default()
        };
        let foreign = written::Elf {
            machine: written::ARM64,
            ..written::Elf::default()
        };
        for (path, elf) in [
            ("bin/tool", glibc),
            ("bin/other", musl),
            ("bin/static", written::Elf::default()),
            ("lib/libc.so.6", written::Elf::default()),
            ("lib/libc.musl-x86_64.so.1", written::Elf::default()),
            ("lib/libresolv.so.2", glibc),
            ("lib/libnss_dns.so.2", services),
            ("lib64/libnss_dns.so.2", foreign),
            ("lib64/libnss_files.so.2", foreign),
        ] {
            elf.write(&dir.path().join(path));
        }
        let source = Source::new(dir.path());
        let loader = Loader::new(&source);
        let silent = |program: &str| {
            let program = Path::new(program);
            let silent = loader.silent(program, &loader.closure(program));
            let paths = silent.iter().map(|library| library.path.display().to_string());
            paths.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            silent("/bin/tool"),
            "/lib/libc.so.6 /lib/libnss_dns.so.2 /lib/libresolv.so.2"
        );
        assert_eq!(silent("/bin/other") + &silent("/bin/static"), "");
    }

    #[test]
    fn the_origin_of_a_path_is_where_its_file_lies() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("opt/app/bin")).unwrap();
        fs::create_dir_all(dir.path().join("bin")).unwrap();
        fs::write(dir.path().join("opt/app/bin/tool"), "").unwrap();
        std::os::unix::fs::symlink("/opt/app/bin/tool", dir.path().join("bin/tool")).unwrap();
        let source = Source::new(dir.path());
        let found = expanded(
            &source,
            b"$ORIGIN/../lib:${ORIGIN}:/x/$LIB:relative:$PLATFORM",
            Path::new("/bin/tool"),
        );
        let found: Vec<&str> = found.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(
            found,
            [
                "/opt/app/bin/../lib",
                "/bin/../lib",
                "/opt/app/bin",
                "/bin",
                "/x/lib64",
                "/x/lib"
            ]
        );
    }
}
