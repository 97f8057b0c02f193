//! What the program prints about itself: help, manual pages, completions; and the links to its names.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::lab::{
    DIB, DIB_LINT, DISK_IMAGE_CREATE, DISKIMAGE_BUILDER, ELEMENT_INFO, GET_KERNEL, Lab, RAMDISK_IMAGE_CREATE,
    RUN_PARTS,
};

/// Every name of the program, and every command of `dib`.
const NAMES: [(&str, &str); 8] = [
    ("dib", DIB),
    ("disk-image-create", DISK_IMAGE_CREATE),
    ("ramdisk-image-create", RAMDISK_IMAGE_CREATE),
    ("element-info", ELEMENT_INFO),
    ("diskimage-builder", DISKIMAGE_BUILDER),
    ("dib-lint", DIB_LINT),
    ("dib-run-parts", RUN_PARTS),
    ("disk-image-get-kernel", GET_KERNEL),
];

/// The table of exit statuses, a row each.
const STATUSES: [&str; 5] = ["  0  ", "  1  ", "  2  ", "  N  ", "  128+N"];

/// The commands that `dib --help` lists.
fn commands(lab: &Lab) -> Vec<String> {
    let help = lab.run(DIB, &["--help"]).ok().out;
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    let own = names.filter(|name| *name != "help").map(str::to_owned);
    let mut all: Vec<String> = NAMES
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .chain(own)
        .collect();
    all.sort();
    all.dedup();
    assert!(all.len() > NAMES.len() + 3, "{all:?}");
    all
}

#[test]
fn every_help_shows_examples_and_the_table_of_statuses() {
    let lab = Lab::unprivileged();
    let check = |help: String| {
        assert!(help.contains("Example"), "{help}");
        let (_, table) = help
            .split_once("Exit status:\n")
            .unwrap_or_else(|| panic!("{help}"));
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(rows.len(), STATUSES.len(), "{help}");
        for (row, status) in rows.iter().zip(STATUSES) {
            assert!(row.starts_with(status), "{row}");
        }
    };
    for (_, program) in NAMES {
        check(lab.run(program, &["--help"]).ok().out);
    }
    for command in commands(&lab)
        .iter()
        .filter(|command| *command != "dib" && *command != "dib-run-parts")
    {
        check(lab.run(DIB, &[command, "--help"]).ok().out);
    }
}

/// The command lines below "Examples", without the program's name and the variables before it.
fn examples<'a>(help: &'a str, begin: &str) -> Vec<Vec<&'a str>> {
    let (_, examples) = help.split_once("Examples:\n").unwrap();
    let lines = examples.lines().filter_map(|line| line.strip_prefix("  "));
    let commands = lines.filter(|line| !line.starts_with(' ') && !line.contains('|'));
    let words = commands.filter_map(|line| line.split_once(begin));
    words
        .map(|(_, words)| words.split_whitespace().collect())
        .collect()
}

#[test]
fn what_helps_show_as_examples_can_be_planned() {
    let lab = Lab::unprivileged();
    lab.file("my-site/README.md", "");
    for (command, begin) in [
        ("disk-image-create", "disk-image-create "),
        ("plan", "dib plan "),
        ("--help", "dib build "),
        ("--help", "dib plan "),
    ] {
        let help = lab.run(DIB, &[command, "--help"]).ok().out;
        let found = examples(&help, begin);
        assert!(!found.is_empty(), "{command}: {help}");
        for words in found {
            lab.run(DIB, &[&["plan"], &words[..]].concat()).ok();
        }
    }
}

#[test]
fn what_cannot_be_printed_is_a_failure_but_for_a_reader_that_went_away() {
    let lab = Lab::unprivileged();
    lab.file("os/element-provides", "operating-system\n")
        .file("bad/install.d/10-x", "#!/bin/bash\n");
    let links = lab.dir().join("links").display().to_string();
    fs::create_dir(&links).unwrap();
    let elements = lab.dir().join("elements").display().to_string();
    for words in [
        &["plan", "--json", "os"][..],
        &["plan", "os"],
        &["--help"],
        &["man"],
        &["completions", "bash"],
        &["element-info", "os"],
        &["element-info", "--env", "os"],
        &["element-info", "--all"],
        &["install-links", &links],
        &["doctor"],
        &["lint"],
    ] {
        let shell = |script: &str| {
            let set = format!("export ELEMENTS_DIR={elements}; {script}");
            lab.run("/bin/bash", &[&["-c", &set, DIB], words].concat())
        };
        shell("\"$0\" \"$@\" > /dev/full").failed(
            1,
            "error: cannot write to standard output: No space left on device",
        );
        for name in fs::read_dir(&links).unwrap() {
            fs::remove_file(name.unwrap().path()).unwrap();
        }
        let gone = shell("\"$0\" \"$@\" > >(exec true); wait $!");
        assert!(!gone.err.contains("standard output"), "{words:?}: {}", gone.err);
    }
}

#[test]
fn manual_pages_are_roff_that_renders_without_a_warning() {
    let lab = Lab::unprivileged();
    for command in commands(&lab) {
        let page = lab.run(DIB, &["man", &command]).ok().out;
        for section in [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "EXAMPLES",
            "\"EXIT STATUS\"",
            "\"SEE ALSO\"",
        ] {
            assert!(
                page.contains(&format!("\n.SH {section}\n")),
                "{command}: no {section} in {page}"
            );
        }
        let (_, synopsis) = page.split_once(".SH SYNOPSIS\n").unwrap();
        let synopsis = synopsis.lines().next().unwrap().replace("\\-", "-");
        assert!(
            synopsis.contains(&command) && !synopsis.contains("--"),
            "{synopsis}"
        );
        if !oracle::require(&["groff"]) {
            continue;
        }
        let file = lab.out("page.1");
        fs::write(&file, &page).unwrap();
        let args = ["-man", "-ww", "-Tutf8"].map(std::ffi::OsStr::new);
        let output = oracle::output("groff", &[&args[..], &[file.as_os_str()]].concat());
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{command}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("everything succeeded"), "{command}: {text}");
    }
    assert_eq!(
        lab.run(DIB, &["man"]).ok().out,
        lab.run(DIB, &["man", "dib"]).ok().out
    );
    lab.run(DIB, &["man", "disk-image-creat"]).failed(
        1,
        "there is no command 'disk-image-creat'\nhint: did you mean disk-image-create?",
    );
}

#[test]
fn the_manual_of_builds_lists_every_variable() {
    let lab = Lab::unprivileged();
    for command in ["disk-image-create", "plan"] {
        let page = lab.run(DIB, &["man", command]).ok().out;
        let (_, environment) = page.split_once(".SH ENVIRONMENT\n").unwrap();
        for (variable, what) in diskimage_builder::settings::origins::variables() {
            assert!(
                environment.contains(&format!("\\fB{variable}\\fR\n")),
                "no {variable} in {environment}"
            );
            assert!(!what.is_empty());
        }
    }
    let page = lab.run(DIB, &["man", "element-info"]).ok().out;
    assert!(!page.contains(".SH ENVIRONMENT"));
}

#[test]
fn bash_completes_options_commands_and_elements() {
    if !oracle::require(&["bash"]) {
        return;
    }
    let mut lab = Lab::unprivileged();
    let programs = Path::new(DIB).parent().unwrap().display().to_string();
    lab.set("PATH", &format!("{programs}:/usr/bin:/bin"));
    lab.file("my-own/README.md", "");
    let script = lab.run(DIB, &["completions", "bash"]).ok().out;
    fs::write(lab.out("all.bash"), &script).unwrap();
    let completed = |words: &str| {
        let function = format!("_{}", words.split(' ').next().unwrap().replace('-', "__"));
        let last = words.rsplit(' ').next().unwrap();
        let count = words.split(' ').count() - 1;
        let program = format!(
            "source all.bash; complete -p {command} >/dev/null; COMP_WORDS=({words}) COMP_CWORD={count}; \
             {function} {command} '{last}' x; echo \"${{COMPREPLY[@]}}\"",
            command = words.split(' ').next().unwrap(),
        );
        let said = lab.run("/bin/bash", &["-u", "-c", &program]).ok();
        assert_eq!(said.err, "");
        said.out.trim_end().to_owned()
    };
    assert_eq!(completed("disk-image-create --image-s"), "--image-size");
    assert_eq!(completed("disk-image-create -o x debian-m"), "debian-minimal");
    assert_eq!(completed("element-info my-"), "my-own");
    assert_eq!(completed("dib plan my-"), "my-own");
    assert_eq!(completed("dib assem"), "assemble");
    assert_eq!(completed("dib completions z"), "zsh");
    assert_eq!(completed("diskimage-builder --dry"), "--dry-run");
    assert_eq!(completed("dib-lint --h"), "--help");
    assert_eq!(completed("dib-run-parts --l"), "--list");
    assert!(
        !completed("dib assemble ").contains("TREE"),
        "files are bash's business"
    );
}

#[test]
fn other_shells_accept_their_completions() {
    let lab = Lab::unprivileged();
    for (name, _) in NAMES {
        let one = lab.run(DIB, &["completions", "zsh", name]).ok().out;
        assert!(one.starts_with(&format!("#compdef {name}\n")), "{one}");
    }
    for shell in ["zsh", "fish"] {
        let script = lab.run(DIB, &["completions", shell]).ok().out;
        for (name, _) in NAMES {
            assert!(script.contains(name), "{shell}: no {name}");
        }
        let file = lab.out(shell);
        fs::write(&file, script).unwrap();
        if shell == "zsh" && oracle::require(&["zsh"]) {
            let args = ["-f", "-n"].map(std::ffi::OsStr::new);
            oracle::run("zsh", &[&args[..], &[file.as_os_str()]].concat());
        }
    }
    let powershell = lab.run(DIB, &["completions", "powershell"]).ok().out;
    let code = powershell
        .lines()
        .skip_while(|line| line.starts_with("using namespace "));
    assert!(!code.clone().any(|line| line.starts_with("using namespace ")));
    assert!(code.count() > 100);
    assert!(
        lab.run(DIB, &["completions", "elvish"])
            .ok()
            .out
            .contains("'disk-image-create'")
    );
    lab.run(DIB, &["completions", "tcsh"]).failed(1, "tcsh");
    lab.run(DIB, &["completions", "bash", "dib-lnt"])
        .failed(1, "did you mean dib-lint?");
}

#[test]
fn links_to_every_name_are_made_unless_something_else_is_there() {
    let lab = Lab::unprivileged();
    let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
    let dir = lab.out("bin");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("dib-lint"), "mine").unwrap();
    symlink("/no/such", dir.join("dib")).unwrap();
    let said = lab.run(DIB, &["install-links", "bin"]);
    said.failed(
        1,
        "there already is bin/dib, bin/dib-lint\nhint: remove what may go",
    );
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "all or nothing");
    fs::remove_file(dir.join("dib-lint")).unwrap();
    fs::remove_file(dir.join("dib")).unwrap();
    let said = lab.run(DIB, &["install-links", "bin"]).ok();
    let expected: Vec<String> = names.iter().map(|name| format!("bin/{name}")).collect();
    assert_eq!(said.out.lines().collect::<Vec<_>>(), expected);
    assert_eq!(
        lab.run(DIB, &["install-links", "bin"]).ok().out,
        "",
        "those there are are ours"
    );
    let linked = dir.join("element-info").display().to_string();
    assert_eq!(
        lab.run(&linked, &["-d", "debootstrap"]).ok().out,
        lab.run(ELEMENT_INFO, &["-d", "debootstrap"]).ok().out
    );
    lab.run(DIB, &["install-links", "nowhere"])
        .failed(1, "nowhere is no directory");
}
