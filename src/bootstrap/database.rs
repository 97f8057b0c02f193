//! The database of dpkg, as it is when everything is unpacked and nothing configured.
//!
//! Spec: dpkg's `doc/` and deb-triggers(5). Written whole, since nobody else looks at the tree yet: `status`, and for
//! each package its list, its scripts and what else its control archive holds, below `info`; who is interested in which
//! trigger, below `triggers`.
//!
//! Configuration files lie in their places already, with their digests in `status`: dpkg then has nothing to ask.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use super::deb::Control;
use super::deb822::Paragraph;
use super::index::file_name;
use super::unpack::{Unpacked, conffiles};
use crate::sandbox::rooted::Rooted;

/// A package in the tree.
#[derive(Debug)]
pub struct Installed {
    /// What it says of itself.
    pub control: Control,
    /// What it brought.
    pub unpacked: Unpacked,
}

impl Installed {
    /// Its name.
    pub fn name(&self) -> &str {
        self.control.field("Package")
    }

    /// The name by which dpkg files it.
    pub fn file_name(&self) -> String {
        let field = |name| self.control.field(name);
        file_name(self.name(), field("Architecture"), field("Multi-Arch"))
    }

    /// Its list: one path a line.
    fn list(&self) -> Vec<u8> {
        let mut list = Vec::new();
        for place in &self.unpacked.places {
            list.push(b'/');
            list.extend_from_slice(if place.is_empty() { b"." } else { place });
            list.push(b'\n');
        }
        list
    }

    /// The digests of its files, which dpkg makes where a package brings none.
    fn md5sums(&self) -> String {
        let conffiles: Vec<&[u8]> = conffiles(&self.control).map(str::as_bytes).collect();
        let mut text = String::new();
        for place in &self.unpacked.places {
            if let Some(digest) = self.unpacked.digests.get(place)
                && !conffiles.contains(&place.as_slice())
            {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{digest}  {}", String::from_utf8_lossy(place));
            }
        }
        text
    }

    /// Its paragraph in `status`.
    fn status(&self) -> String {
        let mut text = String::new();
        let paragraph = Paragraph::first(&self.control.text);
        for (name, value) in paragraph.iter().flat_map(|paragraph| paragraph.fields()) {
            if ["Status", "Conffiles"]
                .iter()
                .any(|own| name.eq_ignore_ascii_case(own))
            {
                continue;
            }
            let _ = writeln!(text, "{name}: {value}");
            if name == "Package" {
                text.push_str("Status: install ok unpacked\n");
            }
        }
        let mut lines = String::new();
        for path in conffiles(&self.control) {
            if let Some(digest) = self.unpacked.digests.get(path.as_bytes()) {
                let _ = writeln!(lines, " /{path} {digest}");
            }
        }
        if !lines.is_empty() {
            let _ = write!(text, "Conffiles:\n{lines}");
        }
        text
    }
}

/// Writes the list of a package anew.
pub fn write_list(tree: &Rooted, package: &Installed) -> io::Result<()> {
    let info = tree.make_dirs(&[b"var", b"lib", b"dpkg", b"info"], 0o755)?;
    info.write(&format!("{}.list", package.file_name()), 0o644, &package.list())
}

/// Writes the database of these packages, in the order in which they count as unpacked.
pub fn write<'a>(
    tree: &Rooted,
    architecture: &str,
    packages: impl Iterator<Item = &'a Installed>,
) -> io::Result<()> {
    let packages: Vec<&Installed> = packages.collect();
    let directory = |names: &[&[u8]]| tree.make_dirs(names, 0o755);
    let dpkg = directory(&[b"var", b"lib", b"dpkg"])?;
    for name in ["alternatives", "parts", "updates"] {
        dpkg.make_dir(name, 0o755)?;
    }
    let info = directory(&[b"var", b"lib", b"dpkg", b"info"])?;
    info.write("format", 0o644, b"1\n")?;
    for package in &packages {
        let name = package.file_name();
        info.write(&format!("{name}.list"), 0o644, &package.list())?;
        if package.control.file("md5sums").is_none() {
            info.write(&format!("{name}.md5sums"), 0o644, package.md5sums().as_bytes())?;
        }
        for file in &package.control.files {
            info.write(&format!("{name}.{}", file.name), file.mode, &file.bytes)?;
        }
    }
    let mut sorted = packages.clone();
    sorted.sort_by(|a, b| a.name().cmp(b.name()));
    let status: Vec<String> = sorted.into_iter().map(Installed::status).collect();
    dpkg.write("status", 0o644, status.join("\n").as_bytes())?;
    dpkg.write("arch", 0o644, format!("{architecture}\n").as_bytes())?;
    let triggers = directory(&[b"var", b"lib", b"dpkg", b"triggers"])?;
    for (name, lines) in interests(&packages) {
        triggers.write(&name, 0o644, lines.as_bytes())?;
    }
    triggers.write("Unincorp", 0o644, b"")
}

/// The files below `triggers`: who wants to hear of what.
fn interests(packages: &[&Installed]) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for package in packages {
        for line in package.control.lines("triggers") {
            let mut words = line.split_whitespace();
            let (Some(directive), Some(trigger)) = (words.next(), words.next()) else {
                continue;
            };
            let patience = match directive {
                "interest" | "interest-await" => "",
                "interest-noawait" => "/noawait",
                _ => continue,
            };
            let who = format!("{}{patience}\n", package.file_name());
            match trigger.strip_prefix('/') {
                Some(_) => {
                    let _ = write!(files.entry("File".to_owned()).or_default(), "{trigger} {who}");
                }
                // A name of a trigger is a name of a file.
                None if trigger.bytes().all(super::relation::is_name) && !trigger.starts_with('.') => {
                    files.entry(trigger.to_owned()).or_default().push_str(&who);
                }
                None => {}
            }
        }
    }
    files.entry("File".to_owned()).or_default();
    files
}
