//! The house rules that a machine can check, so that no reviewer has to.
//!
//! Function length is clippy's (`too-many-lines-threshold`), `unsafe` and lints are rustc's; here stands the rest: where
//! things may stand, how long files may grow, what must not be named, and what an element owes its readers.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Lines of code that a source file may have, comments, blank lines and unit tests not counted.
const CODE_LINES_MAX: usize = 600;

/// All that may lie at the top level, besides dotfiles.
const TOP_LEVEL: [&str; 10] = [
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "elements",
    "fixtures",
    "fs",
    "fuzz",
    "src",
];

/// The modules of `fs/` that touch the world. All others turn values into values.
const WORLDLY: [&str; 8] = ["scan", "read_at", "store", "copy", "sink", "tar", "oci", "laws"];

/// Words that say nothing about what a thing is.
const EMPTY_NAMES: [&str; 4] = ["manager", "helper", "util", "handler"];

struct File {
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|extension| extension == "rs")
    }

    /// Part of the product, not a test, an example or a benchmark.
    fn is_product(&self) -> bool {
        let in_src = self.path.starts_with("src/") || self.path.contains("/src/");
        self.is_rust()
            && in_src
            && !self.path.ends_with("/tests.rs")
            && !self.path.starts_with("tests/")
            && !self.path.starts_with("fuzz/")
    }

    /// `(line number, code)` of each line that holds code, without comments, up to the unit tests.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .take_while(|line| *line != "#[cfg(test)]")
            .enumerate()
            .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
            .filter(|(_, code)| !code.trim().is_empty())
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the repository, links and build output aside.
fn files() -> Vec<File> {
    let mut found = Vec::new();
    let mut directories = vec![root().to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() && !["target", ".git", "corpus", "artifacts"].contains(&name(&path)) {
                directories.push(path);
            } else if kind.is_file()
                && let Ok(text) = fs::read_to_string(&path)
            {
                found.push(File {
                    path: relative(&path),
                    text,
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap()
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()
}

/// Collects complaints, and fails with all of them at once.
#[derive(Default)]
struct Complaints(String);

impl Complaints {
    fn add(&mut self, place: &str, what: &str) {
        writeln!(self.0, "{place}: {what}").unwrap();
    }
}

impl Drop for Complaints {
    fn drop(&mut self) {
        assert!(self.0.is_empty() || std::thread::panicking(), "\n{}", self.0);
    }
}

/// The identifiers of one line of code.
fn identifiers(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

/// Code without its string literals, in which anything may stand.
fn without_strings(code: &str) -> String {
    code.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

#[test]
fn source_files_stay_readable() {
    let mut complaints = Complaints::default();
    for file in files().iter().filter(|file| file.is_product()) {
        let lines = file.code().count();
        if lines > CODE_LINES_MAX {
            complaints.add(
                &file.path,
                &format!("{lines} lines of code, more than {CODE_LINES_MAX}"),
            );
        }
        if file.path.ends_with("/mod.rs") {
            complaints.add(&file.path, "a module is foo.rs and foo/, never mod.rs");
        }
        if !file.text.starts_with("//!") {
            complaints.add(&file.path, "says at its head neither what it is for nor why");
        }
    }
}

#[test]
fn clippy_bounds_the_length_of_functions() {
    let config = fs::read_to_string(root().join(".clippy.toml")).unwrap();
    assert!(config.contains("too-many-lines-threshold = 70"));
}

#[test]
fn what_is_dangerous_stands_in_its_place() {
    let mut complaints = Complaints::default();
    for file in files().iter().filter(|file| file.is_product()) {
        for (number, code) in file.code() {
            let code = without_strings(code);
            let place = format!("{}:{number}", file.path);
            if identifiers(&code).any(|word| word == "unsafe") && file.path != "src/sandbox/sys.rs" {
                complaints.add(&place, "unsafe code stands in src/sandbox/sys.rs alone");
            }
            let runs = code.contains("process::Command") || code.contains("Command::new");
            let prints = ["print!(", "println!("]
                .iter()
                .any(|macro_name| code.contains(macro_name));
            if prints
                && file.path.starts_with("src/")
                && !file.path.starts_with("src/ui")
                && file.path != "src/build.rs"
            {
                complaints.add(&place, "printing is done by src/ui alone");
            }
            if runs && !code.contains("clap::") && !file.path.starts_with("src/sandbox") {
                complaints.add(&place, "processes are run by src/sandbox alone");
            }
        }
    }
}

/// What asks the libraries of the host for names: a static binary cannot have them, or has others than the host's.
const ASKS_THE_HOSTS_LIBRARIES: [&str; 13] = [
    "ToSocketAddrs",
    "to_socket_addrs",
    "getaddrinfo",
    "getnameinfo",
    "gethostbyname",
    "getpwnam",
    "getpwnam_r",
    "getpwuid",
    "getpwuid_r",
    "getgrnam",
    "getgrgid",
    "dlopen",
    "DefaultResolver",
];

#[test]
fn names_are_resolved_by_this_program_itself() {
    let mut complaints = Complaints::default();
    for file in files().iter().filter(|file| file.is_product()) {
        for (number, code) in file.code() {
            let code = without_strings(code);
            for word in identifiers(&code).filter(|word| ASKS_THE_HOSTS_LIBRARIES.contains(word)) {
                let place = format!("{}:{number}", file.path);
                complaints.add(
                    &place,
                    &format!("{word} loads what the host has: src/fetch/resolve needs nothing"),
                );
            }
            // An agent without a resolver of ours would bring its own, which is the C library's.
            if code.contains("ureq::") && !file.path.starts_with("src/fetch") {
                complaints.add(&file.path, "HTTP is spoken by src/fetch alone");
            }
        }
    }
}

#[test]
fn the_writers_know_no_world() {
    let mut complaints = Complaints::default();
    for file in files()
        .iter()
        .filter(|file| file.is_product() && file.path.starts_with("fs/"))
    {
        if file.path.ends_with("/src/lib.rs") && !file.text.contains("#![forbid(unsafe_code)]") {
            complaints.add(&file.path, "must forbid unsafe code");
        }
        if file.path.ends_with("/src/lib.rs") {
            for lint in ["as_conversions", "arithmetic_side_effects", "unwrap_used"] {
                if !file.text.contains(lint) {
                    complaints.add(&file.path, &format!("must deny clippy::{lint} outside of tests"));
                }
            }
        }
        let module = file.path.split("/src/").nth(1).unwrap_or_default();
        if WORLDLY.iter().any(|worldly| module.starts_with(worldly)) {
            continue;
        }
        for (number, code) in file.code() {
            for world in ["fs", "env", "process", "time", "net"] {
                if code.contains(&format!("std::{world}")) {
                    complaints.add(
                        &format!("{}:{number}", file.path),
                        &format!("std::{world} in a pure module"),
                    );
                }
            }
        }
    }
}

#[test]
fn names_say_what_things_are() {
    let mut complaints = Complaints::default();
    for file in files()
        .iter()
        .filter(|file| file.is_rust() && file.path != "tests/tidy.rs")
    {
        let stem = file
            .path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".rs");
        if EMPTY_NAMES.iter().any(|empty| stem.contains(empty)) {
            complaints.add(&file.path, "the name of the module is empty of meaning");
        }
        for (number, code) in file.code() {
            let code = without_strings(code);
            let words: Vec<_> = identifiers(&code).collect();
            let defines = |word: &str| {
                words.windows(2).any(|pair| {
                    ["fn", "struct", "enum", "trait", "mod", "let", "type"].contains(&pair[0])
                        && pair[1] == word
                })
            };
            let empty = words.iter().find(|word| {
                let lower = word.to_lowercase();
                defines(word)
                    && (EMPTY_NAMES
                        .iter()
                        .any(|empty| lower.split('_').any(|part| part == *empty))
                        || lower.starts_with("do_")
                        || lower == "process")
            });
            if let Some(word) = empty {
                complaints.add(
                    &format!("{}:{number}", file.path),
                    &format!("'{word}' is empty of meaning"),
                );
            }
        }
    }
}

#[test]
fn nothing_is_left_for_later() {
    // Spelt in halves, for this file is read, too.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("X", "XX"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
    ];
    let mut complaints = Complaints::default();
    for file in files()
        .iter()
        .filter(|file| file.is_rust() || file.path.starts_with("elements/"))
    {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(mark) = marks
                .iter()
                .find(|mark| line.contains(**mark) && !line.contains("XXXX"))
            {
                complaints.add(&format!("{}:{}", file.path, index + 1), mark);
            }
        }
    }
}

#[test]
fn no_test_file_is_forgotten() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut complaints = Complaints::default();
    let all = files();
    for file in &all {
        let Some(test) = file
            .path
            .strip_prefix("tests/")
            .and_then(|path| path.strip_suffix(".rs"))
        else {
            continue;
        };
        if test.starts_with("oracle/") || manifest.contains(&format!("path = \"{}\"", file.path)) {
            continue;
        }
        let (parent, module) = match test.rsplit_once('/') {
            Some((directory, module)) => (format!("tests/{directory}.rs"), module),
            None => ("tests/tests.rs".to_owned(), test),
        };
        let declared = |file: &File| file.text.contains(&format!("mod {module};"));
        if !all
            .iter()
            .any(|candidate| candidate.path == parent && declared(candidate))
        {
            complaints.add(&file.path, "is neither a [[test]] nor a module of one");
        }
    }
}

#[test]
fn fuzz_targets_call_a_law_and_no_more() {
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    let mut complaints = Complaints::default();
    for file in files()
        .iter()
        .filter(|file| file.path.starts_with("fuzz/fuzz_targets/"))
    {
        if file.text.matches("laws::").count() != 1 || file.text.lines().count() > 12 {
            complaints.add(&file.path, "a fuzz target calls one law, which a test calls too");
        }
        if !manifest.contains(file.path.trim_start_matches("fuzz/")) {
            complaints.add(&file.path, "is not declared in fuzz/Cargo.toml");
        }
    }
}

#[test]
fn the_top_level_stays_small() {
    let mut complaints = Complaints::default();
    for entry in fs::read_dir(root()).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = name(&path);
        if !name.starts_with('.') && !TOP_LEVEL.contains(&name) && name != "target" && name != "tests" {
            complaints.add(name, "does not belong at the top level");
        }
    }
    for required in ["README.md", "CHANGELOG.md", "LICENSE", "Cargo.lock", ".ci/run"] {
        if !root().join(required).is_file() {
            complaints.add(required, "is missing");
        }
    }
}

/// The hosts that this machine takes packages from: an archive or a mirror of one is the business of who builds.
fn package_hosts() -> BTreeSet<String> {
    let mut paths = vec![PathBuf::from("/etc/apt/sources.list")];
    paths.extend(
        fs::read_dir("/etc/apt/sources.list.d")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path()),
    );
    paths
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| {
            let hosts = text
                .split("://")
                .skip(1)
                .filter_map(|rest| rest.split(['/', ' ', '\n']).next());
            hosts.map(str::to_owned).collect::<Vec<_>>()
        })
        .filter(|host| host.contains('.'))
        .collect()
}

#[test]
fn no_file_names_a_package_host_or_this_machine() {
    // Directories that every machine has say nothing about this one.
    const EVERYWHERE: [&str; 10] = [
        "/", "/home", "/mnt", "/opt", "/root", "/run", "/srv", "/tmp", "/usr", "/var",
    ];
    let mut complaints = Complaints::default();
    let hosts = package_hosts();
    let parent = root()
        .parent()
        .filter(|parent| !EVERYWHERE.iter().any(|dir| *parent == Path::new(dir)));
    let parent = parent.unwrap_or(root());
    let parent = Some(format!("{}/", parent.display()));
    for file in files().iter().filter(|file| !file.path.ends_with("Cargo.lock")) {
        for word in hosts.iter().chain(&parent) {
            if file.text.contains(word.as_str()) {
                complaints.add(&file.path, &format!("names '{word}'"));
            }
        }
    }
}

#[test]
fn ci_runs_what_the_readme_tells() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    let marker = "<!-- every test -->";
    assert_eq!(
        readme.matches(marker).count(),
        1,
        "README.md must mark its test command once"
    );
    assert!(
        ci.contains(marker),
        ".ci/run must take its test command from README.md"
    );
}

#[test]
fn the_readme_builds_a_debian_image() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, command) = readme
        .split_once("<!-- a Debian image -->")
        .expect("the command is marked");
    let command = command.split("```").nth(1).unwrap();
    assert!(command.contains("cargo run --release --bin disk-image-create -- -o debian debian-minimal"));
}

/// What `.deny.toml` says, as far as no network is needed: its tool runs where there is one.
#[test]
fn dependencies_keep_to_the_rules() {
    let rules = fs::read_to_string(root().join(".deny.toml")).unwrap();
    let between = |start: &str| rules.split_once(start).unwrap().1.split(']').next().unwrap();
    let quoted =
        |text: &str| -> Vec<String> { text.split('"').skip(1).step_by(2).map(str::to_owned).collect() };
    let allowed = quoted(between("allow = ["));
    let banned = quoted(between("deny = ["));
    assert!(allowed.contains(&"MIT".to_owned()) && banned.contains(&"xz2".to_owned()));
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut complaints = Complaints::default();
    for package in metadata["packages"].as_array().unwrap() {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        let licence = text("license");
        if !permitted(licence, &allowed) {
            complaints.add(
                text("name"),
                &format!("the licence '{licence}' is not among the allowed"),
            );
        }
        if banned.iter().any(|name| name == text("name")) {
            complaints.add(text("name"), "is banned");
        }
        if !text("source").is_empty() && !text("source").starts_with("registry+") {
            complaints.add(text("name"), "comes from elsewhere than a registry");
        }
    }
}

/// Whether a licence expression can be met by what is allowed. `AND` binds closer than `OR`; an old `/` means `OR`.
fn permitted(expression: &str, allowed: &[String]) -> bool {
    if let Some((before, rest)) = expression.split_once('(') {
        let (inner, after) = rest.split_once(')').unwrap_or((rest, ""));
        let met = allowed.first().filter(|_| permitted(inner, allowed));
        let met = met.map_or("none", String::as_str);
        return permitted(&format!("{before}{met}{after}"), allowed);
    }
    let known = |licence: &str| allowed.iter().any(|allowed| allowed == licence.trim());
    let expression = expression.replace('/', " OR ");
    expression.split(" OR ").any(|all| all.split(" AND ").all(known))
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = [
        "MIT".to_owned(),
        "Apache-2.0".to_owned(),
        "Unicode-3.0".to_owned(),
    ];
    for (expression, is) in [
        ("MIT", true),
        ("GPL-2.0 OR MIT", true),
        ("GPL-2.0/Apache-2.0", true),
        ("(MIT OR GPL-2.0) AND Unicode-3.0", true),
        ("(GPL-2.0 OR LGPL-2.1) AND MIT", false),
        ("MIT AND GPL-2.0", false),
        ("", false),
    ] {
        assert_eq!(permitted(expression, &allowed), is, "{expression}");
    }
}

/// What the README of an element tells: what it is for, its variables, an example.
fn read_about(element: &Path, complaints: &mut Complaints) {
    let Ok(readme) = fs::read_to_string(element.join("README.md")) else {
        complaints.add(&relative(element), "has no README.md");
        return;
    };
    let what = readme.lines().filter(|line| !line.is_empty()).nth(1);
    if what.is_none_or(|line| {
        !line.starts_with(|letter: char| letter.is_alphanumeric() || "`[".contains(letter))
    }) {
        complaints.add(
            &relative(element),
            "its README begins with a sentence that says what it is for",
        );
    }
    if !readme.contains("\n```") {
        complaints.add(&relative(element), "its README has no example");
    }
    if !readme.to_lowercase().contains("variable") {
        complaints.add(
            &relative(element),
            "its README tells no variables, and not that there are none",
        );
    }
}

#[test]
fn elements_keep_their_manners() {
    let mut complaints = Complaints::default();
    let elements: BTreeSet<_> = fs::read_dir(root().join("elements"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    for element in &elements {
        read_about(element, &mut complaints);
    }
    let files = files();
    for file in files.iter().filter(|file| file.path.starts_with("elements/")) {
        let mode = fs::metadata(root().join(&file.path))
            .unwrap()
            .permissions()
            .mode();
        let (script, executable) = (file.text.starts_with("#!"), mode & 0o111 != 0);
        // The copy inside the binary has no modes: it tells scripts by their first line.
        if script != executable {
            complaints.add(&file.path, "what begins with #! is executable, and nothing else");
        }
        // What stays in images is for any POSIX shell, and those know no `pipefail`.
        let strict = if file.text.starts_with("#!/bin/sh\n") {
            "\nset -eu\n"
        } else {
            "\nset -eu -o pipefail\n"
        };
        // A machine's first process must go on whatever fails, and what OpenRC reads has its words alone.
        let own_way =
            file.path.contains("/extra-data.d/scripts/") || file.text.starts_with("#!/sbin/openrc-run\n");
        if script && !own_way && !file.text.contains(strict) {
            complaints.add(&file.path, &format!("a script says `{}`", strict.trim()));
        }
        if file.path.contains("/environment.d/") && script {
            complaints.add(&file.path, "a snippet is sourced, not run");
        }
        if file.path.ends_with("/element-deps") {
            let names: Vec<_> = file.text.lines().collect();
            if !names.is_sorted() {
                complaints.add(&file.path, "names stand in order");
            }
            // What several elements provide is nobody's name.
            let provided = |name: &str| {
                let mut lists = files
                    .iter()
                    .filter(|file| file.path.ends_with("/element-provides"));
                lists.any(|list| list.text.lines().any(|line| line == name))
            };
            // One test case of an element may stand on another.
            let cases = root().join(&file.path);
            let cases = cases.parent().and_then(Path::parent).unwrap();
            let beside = |name: &str| cases.ends_with("test-elements") && cases.join(name).is_dir();
            let known = |name: &str| {
                elements.contains(&root().join("elements").join(name)) || provided(name) || beside(name)
            };
            for dependency in names.iter().filter(|name| !known(name)) {
                complaints.add(&file.path, &format!("no element '{dependency}'"));
            }
        }
    }
}
