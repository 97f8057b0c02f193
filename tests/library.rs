//! The library of elements: its list, its accounts of elements, and the table in `elements/README.md`, which is made of the
//! elements themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use diskimage_builder::element::library::Library;
use diskimage_builder::element::portrait::{Portrait, What};
use diskimage_builder::element::resolve::resolve;
use oracle::golden;

use crate::lab::{DIB, Lab};

/// The elements of diskimage-builder.
const UPSTREAM: &str = "almalinux-container apt-conf apt-preferences apt-sources autoupdates baremetal base block-device-efi \
    block-device-efi-4k block-device-efi-lvm block-device-gpt block-device-mbr bootloader cache-url centos centos-minimal \
    cleanup-kernel-initrd cloud-init cloud-init-datasources cloud-init-disable-resizefs cloud-init-growpart cloud-init-nocloud \
    containerfile debian debian-minimal debian-systemd debian-upstart debootstrap deploy-baremetal deploy-kexec \
    deploy-targetcli deploy-tgtadm devuser dhcp-all-interfaces dib-init-system dib-python dib-run-parts disable-nouveau \
    disable-selinux dkms docker dpkg dracut-network dracut-ramdisk dracut-regenerate dynamic-login element-manifest elrepo \
    enable-serial-console ensure-venv epel fail2ban fedora fedora-container fedora-minimal fips gentoo growroot growvols grub2 \
    hpdsa hwburnin hwdiscovery ibft-interfaces ilo install-bin install-static install-types iscsi-boot iso journal-to-console \
    keylime-agent local-config lvm manifests mellanox modprobe modprobe-blacklist nm-dhcp-ib-interfaces no-final-image \
    oat-client openeuler-minimal openssh-server openstack-ci-mirrors opensuse opensuse-minimal package-installs \
    pip-and-virtualenv pip-cache pkg-map posix proliant-tools pypi python-brickclient python-stow-versions ramdisk ramdisk-base \
    rax-nova-agent redhat-common replace-partition replace-partition-redhat rhel rhel-common rocky-container rpm-distro \
    runtime-ssh-host-keys select-boot-kernel-initrd selinux-fixfiles-restore selinux-permissive simple-init source-repositories \
    stable-interface-names svc-map sysctl sysprep tpm-emulator uboot ubuntu ubuntu-common ubuntu-minimal ubuntu-signed \
    ubuntu-systemd-container vm yum yum-minimal zipl zypper zypper-minimal";

/// Those that it had when its first README was written, in 2013.
const SEED: &str = "base cache-url cloud-init-nocloud config-applier deploy deploy-kexec dhcp-all-interfaces dib-run-parts \
    disable-selinux dkms dpkg dracut-network fedora hwburnin hwdiscovery local-config mellanox pip-cache pypi ramdisk rhel \
    rpm-distro selinux-permissive serial-console source-repositories ubuntu vm yum";

const HEAD: &str = "\
# Elements

This file is made of the elements: `DIB_BLESS=1 cargo test --test tests library` writes it, and a test compares it. `dib elements
show NAME` tells all about one; each has a README of its own. How to write one: [GUIDE.md](GUIDE.md).

A case `element/case` is `element/test-elements/case`, and `dib test-element element/case` builds it. `tests/services.rs` and
`tests/cloud_images.rs` build on toy roots, where the tools of a distribution are stand-ins: what hooks do is seen there, not what
real packages make of it. `tests/roots.rs` builds with real tools of packages: for rpm they are those of Debian, and the packages are
a toy distribution's.
";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn elements() -> Library {
    Library::load(&[root().join("elements")]).unwrap()
}

/// The lines of a file below `fixtures/library`, `NAME: TEXT`.
fn notes(file: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("fixtures/library").join(file)).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let notes: Vec<(String, String)> = lines
        .map(|line| {
            let (name, text) = line
                .split_once(": ")
                .unwrap_or_else(|| panic!("{file}: '{line}'"));
            (name.to_owned(), text.to_owned())
        })
        .collect();
    assert!(notes.is_sorted(), "{file}: its lines stand in order");
    notes
}

/// What builds or boots elements, by their names.
#[derive(Default)]
struct Proof {
    booted: Vec<String>,
    built: Vec<String>,
    /// Those that a line names it for, not something that needs it.
    named: BTreeSet<String>,
    said: Option<String>,
}

impl Proof {
    fn told(&self, name: &str) -> String {
        // What stands in for something does so in a test of its own: elsewhere the element may have nothing to do.
        let says = self.said.as_ref().is_some_and(|said| said.contains("stand-in"));
        if says && !self.named.is_empty() {
            let named = self.named.iter().map(|case| format!("`{case}`"));
            let named: Vec<String> = named.collect();
            let how = if self.booted.iter().any(|case| self.named.contains(case)) {
                "booted"
            } else {
                "built"
            };
            return format!(
                "{how}: {}; {}",
                named.join(", "),
                self.said.as_deref().unwrap_or_default()
            );
        }
        let own = |case: &&String| case.starts_with(&format!("{name}/"));
        let mut told: Vec<String> = Vec::new();
        if let Some(first) = self.booted.iter().find(own).or(self.booted.first()) {
            told.push(format!("booted: `{first}`"));
        }
        let mut built: Vec<&String> = self.built.iter().filter(own).collect();
        if built.is_empty() && told.is_empty() {
            built.extend(self.built.first());
        }
        if !built.is_empty() {
            let cases: Vec<String> = built.iter().map(|case| format!("`{case}`")).collect();
            told.push(format!("built: {}", cases.join(", ")));
        }
        told.extend(self.said.clone());
        told.join("; ")
    }
}

fn names_of(library: &Library, words: &[String]) -> Vec<String> {
    let elements = resolve(library, words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    elements.iter().map(|element| element.name.clone()).collect()
}

/// The words of a test file and of its modules, as names of elements are made of letters, digits and dashes.
fn words_of(test: &str) -> BTreeSet<String> {
    let path = root().join(test);
    let mut files = vec![path.clone()];
    if let Ok(modules) = fs::read_dir(path.with_extension("")) {
        files.extend(modules.map(|entry| entry.unwrap().path()));
    }
    let mut words = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        // Lists in a string have the ends of their lines written out.
        let text = text.replace("\\n", " ");
        let part = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
        words.extend(text.split(|letter| !part(letter)).map(str::to_owned));
    }
    words
}

fn proofs(library: &Library) -> BTreeMap<String, Proof> {
    let mut proofs: BTreeMap<String, Proof> = BTreeMap::new();
    let lines = |path: PathBuf| -> Vec<String> {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .map(str::to_owned)
            .filter(|line| !line.is_empty())
            .collect()
    };
    for name in library.names() {
        let dir = root().join("elements").join(name).join("test-elements");
        let portrait = Portrait::of(library, library.get(name).unwrap()).unwrap();
        for case in portrait.cases {
            if dir.join(&case).join("fails").exists() {
                continue;
            }
            let with_cases = Library::load(&[root().join("elements"), dir.clone()]).unwrap();
            let mut words = vec![name.to_owned(), case.clone()];
            let arguments = lines(dir.join(&case).join("arguments"));
            words.extend(arguments.into_iter().filter(|word| library.get(word).is_some()));
            let boots = dir.join(&case).join("boot").exists();
            for element in names_of(&with_cases, &words) {
                let proof = proofs.entry(element).or_default();
                let cases = if boots {
                    &mut proof.booted
                } else {
                    &mut proof.built
                };
                cases.push(format!("{name}/{case}"));
            }
        }
    }
    for (name, text) in notes("proven.txt") {
        let Some((test, how)) = name.split_once(' ') else {
            assert!(
                library.get(&name).is_some(),
                "proven.txt: there is no element {name}"
            );
            proofs.entry(name).or_default().said = Some(text);
            continue;
        };
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let known = words_of(test);
        for word in &words {
            assert!(known.contains(word), "proven.txt: {test} has no {word}");
            let proof = proofs.entry(word.clone()).or_default();
            proof.named.insert(test.to_owned());
        }
        for element in names_of(library, &words) {
            let proof = proofs.entry(element).or_default();
            let cases = if how == "boots" {
                &mut proof.booted
            } else {
                &mut proof.built
            };
            cases.push(test.to_owned());
        }
    }
    proofs
}

#[test]
fn the_table_of_elements_is_made_of_the_elements() {
    let library = elements();
    let proofs = proofs(&library);
    let mut text = String::from(HEAD);
    text.push_str("\n| element | what | needs | provides | proven |\n|---|---|---|---|---|\n");
    let mut unproven = Vec::new();
    for name in library.names() {
        let portrait = Portrait::of(&library, library.get(name).unwrap()).unwrap();
        let line = portrait.line;
        assert!(!line.summary.is_empty(), "{name}: README.md says nothing");
        assert!(
            !line.summary.ends_with(':'),
            "{name}: its summary says what no list shows"
        );
        let proven = proofs.get(name).map(|proof| proof.told(name)).unwrap_or_default();
        if proven.is_empty() {
            unproven.push(name);
        }
        let summary = line.summary.replace('|', "\\|");
        let (needs, provides) = (line.needs.join(", "), line.provides.join(", "));
        writeln!(
            text,
            "| [{name}]({name}/README.md) | {summary} | {needs} | {provides} | {proven} |"
        )
        .unwrap();
    }
    assert!(
        unproven.is_empty(),
        "no case builds {}: write elements/NAME/test-elements/CASE, or say why not in fixtures/library/proven.txt",
        unproven.join(", ")
    );
    text.push_str("\n## Elements of diskimage-builder that are not here\n\n| element | why |\n|---|---|\n");
    for (name, reason) in absent(&library) {
        writeln!(text, "| {name} | {reason} |").unwrap();
    }
    golden::check("../elements/README.md", &text);
}

/// The elements of diskimage-builder that are not here, and why. Nobody else is left out.
fn absent(library: &Library) -> Vec<(String, String)> {
    let bless = std::env::var_os("DIB_BLESS").is_some_and(|bless| bless == "1");
    let (come, mut absent): (Vec<_>, Vec<_>) = notes("absent.txt")
        .into_iter()
        .partition(|(name, _)| library.get(name).is_some());
    if bless && !come.is_empty() {
        let path = root().join("fixtures/library/absent.txt");
        let text = fs::read_to_string(&path).unwrap();
        let stays = |line: &&str| {
            !come
                .iter()
                .any(|(name, _)| line.starts_with(&format!("{name}: ")))
        };
        let kept: Vec<&str> = text.lines().filter(stays).collect();
        fs::write(&path, kept.join("\n") + "\n").unwrap();
    } else {
        let come: Vec<_> = come.iter().map(|(name, _)| name.as_str()).collect();
        assert!(
            come.is_empty(),
            "absent.txt: {} are here: DIB_BLESS=1 drops their lines",
            come.join(", ")
        );
    }
    let upstream: BTreeSet<&str> = UPSTREAM.split_whitespace().collect();
    assert_eq!(upstream.len(), 128);
    let seed: BTreeSet<&str> = SEED.split_whitespace().collect();
    assert_eq!(seed.len(), 28);
    let upstream: BTreeSet<&str> = upstream.union(&seed).copied().collect();
    let told: BTreeSet<&str> = absent.iter().map(|(name, _)| name.as_str()).collect();
    let silent: Vec<_> = upstream
        .iter()
        .filter(|name| library.get(name).is_none() && !told.contains(*name))
        .collect();
    assert!(silent.is_empty(), "neither here nor in absent.txt: {silent:?}");
    let strange: Vec<_> = told.difference(&upstream).collect();
    assert!(
        strange.is_empty(),
        "absent.txt: diskimage-builder has no {strange:?}"
    );
    absent.sort();
    absent
}

#[test]
fn kinds_follow_from_what_elements_hold() {
    let library = elements();
    for (name, kind) in [
        ("debian-minimal", What::System),
        ("test-root", What::System),
        ("block-device-efi", What::Disk),
        ("dpkg", What::Hooks),
        ("no-final-image", What::Marker),
    ] {
        let portrait = Portrait::of(&library, library.get(name).unwrap()).unwrap();
        assert_eq!(portrait.line.kind, kind, "{name}");
    }
}

#[test]
fn elements_are_listed_and_shown() {
    let lab = Lab::unprivileged();
    lab.file("probe/README.md", "# probe\n\nProbes *things*, e.g. this. More of it.\n\n| Variable | Default | Meaning |\n|---|---|---|\n| `DIB_PROBE` | `no` | whether |\n\x1b[2J")
        .file("probe/element-deps", "lower\nspy\nnowhere\n")
        .file("probe/environment.d/10-probe.bash", "export DIB_OTHER=${DIB_OTHER:-5}\n")
        .file("probe/test-elements/builds/element-deps", "mini-os\n")
        .file("lower/element-deps", "disk-maker\n")
        .file("lower/element-provides", "lowest\n")
        .file("layout/element-provides", "disk-maker\n")
        .hook("install.d/20-later", "true")
        .hook("install.d/3-first", "true")
        .hook("root.d/10-root", "true")
        .hook("install.d/probe-source-install/30-source", "true")
        .file("probe/install.d/none", "no hook");
    let list = lab.run(DIB, &["elements"]).ok().out;
    let line = list.lines().find(|line| line.starts_with("probe ")).unwrap();
    assert!(line.ends_with("hooks     Probes *things*, e.g. this."), "{line}");
    assert!(
        list.contains("debian-minimal ") && list.contains("mini-os "),
        "{list}"
    );
    let shown = lab.run(DIB, &["elements", "show", "probe"]).ok().out;
    let head = "# probe\n\nProbes *things*, e.g. this. More of it.\n";
    assert!(shown.starts_with(head) && !shown.contains('\x1b'), "{shown}");
    let facts = shown.split_once("\nkind ").unwrap().1;
    assert_eq!(
        lab.plain(facts),
        "     hooks\n\
         place     LAB/elements/probe\n\
         snippets  10-probe.bash\n\
         cases     builds\n\
         hooks     root.d/10-root\n          install.d/3-first\n          install.d/20-later\n\
         \x20         install.d/probe-source-install/30-source\n\
         variables DIB_PROBE [`no`]  whether\n          DIB_OTHER [5]\n\
         needs     lower\n            disk-maker  (provided by layout)\n          spy\n          nowhere  (there is none)\n"
    );
    let json = lab.run(DIB, &["elements", "--json", "show", "probe"]).ok().out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let probe = &json["elements"][0];
    assert_eq!((&json["version"], &probe["kind"]), (&1.into(), &"hooks".into()));
    assert_eq!(probe["hooks"][1]["hook"], "3-first");
    assert_eq!(
        ["hook", "phase", "install_type"].map(|key| probe["hooks"][3][key].clone()),
        ["30-source", "install.d", "source"]
    );
    assert!(probe["readme"].as_str().unwrap().starts_with("# probe\n\nProbes"));
    assert_eq!(
        probe["variables"][0],
        serde_json::json!({"name": "DIB_PROBE", "default": "`no`", "meaning": "whether"})
    );
    assert_eq!(probe["cases"][0], "builds");
    assert_eq!(probe["tree"]["needs"][0]["needs"][0]["provided_by"][0], "layout");
    let json = lab.run(DIB, &["elements", "--json"]).ok().out;
    assert!(
        serde_json::from_str::<serde_json::Value>(&json).unwrap()["elements"]
            .as_array()
            .unwrap()
            .len()
            > 50
    );
    lab.run(DIB, &["elements", "show", "prob"])
        .failed(1, "did you mean probe?");
    lab.run(DIB, &["elements", "show"]).failed(1, "ELEMENT");
}

#[test]
fn the_cases_that_help_names_are_there() {
    let library = elements();
    let help = Lab::unprivileged().run(DIB, &["test-element", "--help"]).ok().out;
    let named = help.split_whitespace().filter_map(|word| word.split_once('/'));
    let mut cases = 0;
    for (element, case) in named.filter(|(element, _)| library.get(element).is_some()) {
        let portrait = Portrait::of(&library, library.get(element).unwrap()).unwrap();
        assert!(
            portrait.cases.contains(&case.to_owned()),
            "there is no {element}/{case}"
        );
        cases += 1;
    }
    assert!(cases > 0, "{help}");
}

/// The variables that a snippet of `environment.d` takes from its caller.
fn taken(dir: &Path) -> Vec<String> {
    let mut taken = Vec::new();
    for entry in fs::read_dir(dir.join("environment.d")).into_iter().flatten() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in text.lines() {
            let words = line.split("export ").skip(1);
            let named = words.filter_map(|word| word.split_once('='));
            let own = named.filter(|(name, value)| value.starts_with(&format!("${{{name}:-")));
            taken.extend(own.map(|(name, _)| name.to_owned()));
        }
    }
    taken
}

#[test]
fn elements_tell_the_variables_that_they_take() {
    let (mut seen, mut silent) = (0, Vec::new());
    for name in elements().names() {
        let dir = root().join("elements").join(name);
        let readme = fs::read_to_string(dir.join("README.md")).unwrap();
        // What installs packages is told by the element `yum` for all of them.
        for variable in taken(&dir).into_iter().filter(|variable| variable != "YUM") {
            seen += 1;
            if !readme.contains(&format!("`{variable}`")) {
                silent.push(format!("{name}: {variable}"));
            }
        }
    }
    assert!(seen > 50, "only {seen} variables were found");
    assert!(silent.is_empty(), "these stand in no README: {silent:#?}");
}

/// The names in the first column of a README's tables of variables.
fn named_in_tables(readme: &str) -> Vec<String> {
    let mut named = Vec::new();
    for table in readme.split("\n| Variable |").skip(1) {
        let rows = table.lines().skip(2).take_while(|line| line.starts_with("| "));
        for row in rows {
            let first = row.split('|').nth(1).unwrap();
            let words = first.split('`').skip(1).step_by(2);
            // `_2` stands for a name like the one before it.
            named.extend(words.filter(|word| !word.starts_with('_')).map(str::to_owned));
        }
    }
    named
}

#[test]
fn variables_of_every_table_are_shown_and_nothing_else_of_a_table() {
    let lab = Lab::unprivileged();
    let library = elements();
    let names: Vec<&str> = library.names().collect();
    let words = [&["elements", "--json", "show"], &names[..]].concat();
    let json = lab.run(DIB, &words).ok().out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let mut seen = 0;
    for element in json["elements"].as_array().unwrap() {
        let name = element["name"].as_str().unwrap();
        let shown: Vec<&str> = element["variables"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|variable| !variable["meaning"].is_null())
            .map(|variable| variable["name"].as_str().unwrap())
            .collect();
        let named = named_in_tables(element["readme"].as_str().unwrap());
        assert_eq!(shown, named, "{name}");
        seen += named.len();
    }
    assert!(seen > 240, "only {seen} variables were found");
}

/// The files of an element that say what it does: not its README, nor its cases.
fn work_of(dir: &Path, texts: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if path.is_dir() {
            if name != "test-elements" {
                work_of(&path, texts);
            }
        } else if name != "README.md" {
            texts.extend(fs::read_to_string(&path));
        }
    }
}

#[test]
fn openrc_is_told_of_services_without_a_word() {
    let mut calls = 0;
    for name in elements().names() {
        let mut texts = Vec::new();
        work_of(&root().join("elements").join(name), &mut texts);
        let lines = texts.iter().flat_map(|text| text.lines());
        for line in lines.filter(|line| line.contains("rc-update ")) {
            assert!(line.contains("rc-update --quiet add "), "{name}: {line}");
            calls += 1;
        }
    }
    assert!(calls > 3, "only {calls} calls were found");
}

/// What of a host's name stands in a file, where a variable is the beginning of it. That of the package index is put
/// together, as no file names it.
fn constant_part(host: &str) -> String {
    let Some((_, variable)) = host.rsplit_once('$') else {
        return host.to_owned();
    };
    match variable.split_once('.') {
        Some((_, domain)) if domain.contains('.') => domain.to_owned(),
        Some(_) => "public index".to_owned(),
        None => String::new(),
    }
}

/// Whom a line may ask over the network: hosts of addresses in it, and the package index.
fn asked_by(line: &str) -> Vec<String> {
    let addresses = line.split("://").skip(1);
    let letter = |letter: char| letter.is_ascii_alphanumeric() || ".-${}_".contains(letter);
    let hosts = addresses.map(|rest| rest.chars().take_while(|c| letter(*c)).collect::<String>());
    let hosts = hosts.filter(|host| host.contains('.'));
    let mut asked: Vec<String> = hosts
        .map(|host| constant_part(host.trim_end_matches('}')))
        .collect();
    asked.retain(|host| !host.is_empty());
    if line.contains("pip\" install ") || line.contains("pip install ") {
        asked.push("package index".to_owned());
    }
    asked
}

#[test]
fn hosts_are_found_whose_names_are_put_together() {
    for (line, asked) in [
        ("curl https://a.example.org/x", "a.example.org"),
        ("m=http://$_archive.example.org/$dir", "example.org"),
        ("m=http://${archive}.example.org", "example.org"),
        ("i=\"https://$project.org/simple\"", "public index"),
        ("m=${A:-${B:-https://a.example.org}}", "a.example.org"),
        ("python -m pip install x", "package index"),
        ("curl https://$host/x.y", ""),
    ] {
        assert_eq!(asked_by(line).join(" "), asked, "{line}");
    }
}

#[test]
fn elements_say_whom_they_ask_over_the_network() {
    let mut silent = Vec::new();
    let mut hosts = 0;
    for name in elements().names() {
        let dir = root().join("elements").join(name);
        let readme = fs::read_to_string(dir.join("README.md")).unwrap();
        let mut texts = Vec::new();
        work_of(&dir, &mut texts);
        let lines = texts.iter().flat_map(|text| text.lines());
        for line in lines.filter(|line| !line.trim_start().starts_with('#')) {
            for asked in asked_by(line) {
                hosts += 1;
                if !readme.contains(&asked) {
                    silent.push(format!("{name}: {asked}"));
                }
            }
        }
    }
    assert!(hosts > 20, "only {hosts} addresses were found");
    assert!(silent.is_empty(), "these stand in no README: {silent:#?}");
}
