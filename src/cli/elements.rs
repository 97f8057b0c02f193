//! `dib elements`: the library of elements, a line each; `dib elements show NAME`: all about some of them.

use std::fmt::{self, Write as _};

use clap::Parser;
use serde::Serialize;

use super::after_help;
use super::inspect::print_json;
use crate::element::library::Library;
use crate::element::portrait::{Line, Need, Portrait, SCHEMA, VERSION, harmless};
use crate::environment::Environment;
use crate::error::{Error, Kind, Result};
use crate::settings::elements_path;
use crate::suggest::nearest;
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  dib elements
      every element there is, with what it is and the first sentence of its README

  dib elements show growroot
      its README, hooks, variables and what it needs

  dib elements --json | jq -r '.elements[] | select(.kind == \"system\").name'
      the elements that are operating systems

Kinds, by what an element holds:
  system    it provides operating-system
  disk      it lays out disks, or has machines boot them
  ramdisk   it brings parts of ramdisks
  hooks     it has hooks
  packages  it lists packages, without a hook
  files     it brings commands or files, without a hook
  settings  it sets variables, and nothing more
  group     it stands for what it needs
  marker    its name is all there is to it

Elements are looked for in the directories of ELEMENTS_PATH, then among those built into this program.";

/// List the elements that there are, or show all about some of them.
#[derive(Debug, Parser)]
#[command(name = "elements", after_help = after_help(&format!("{EXAMPLES}\n\n{SCHEMA}")))]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Show all about the elements that follow
    #[arg(value_name = "show", value_parser = ["show"], hide_possible_values = true, requires = "elements")]
    show: Option<String>,
    /// The elements
    #[arg(value_name = "ELEMENT")]
    elements: Vec<String>,
}

#[derive(Serialize)]
struct Listing<T> {
    version: u32,
    elements: Vec<T>,
}

/// Prints them.
pub fn run(args: &Args, environment: &Environment) -> Result<()> {
    let library = Library::load(&elements_path(environment))?;
    if args.show.is_some() {
        return show(args, &library);
    }
    let all = library.names().filter_map(|name| library.get(name));
    let elements = all.map(Line::of).collect::<Result<Vec<_>>>()?;
    if args.json {
        let version = VERSION;
        return print_json(&Listing { version, elements });
    }
    let width = elements.iter().map(|line| line.name.chars().count()).max();
    let width = width.unwrap_or(0).min(40);
    for line in elements {
        let kind = word(&line);
        let (name, summary) = (harmless(&line.name), &line.summary);
        ui::print(format_args!("{name:width$}  {kind:8}  {summary}\n"))?;
    }
    Ok(())
}

fn show(args: &Args, library: &Library) -> Result<()> {
    let elements = args.elements.iter().map(|name| {
        let element = library.get(name).ok_or_else(|| unknown(library, name))?;
        library.require_sound(name)?;
        Portrait::of(library, element)
    });
    let elements = elements.collect::<Result<Vec<_>>>()?;
    if args.json {
        let version = VERSION;
        return print_json(&Listing { version, elements });
    }
    for (number, portrait) in elements.iter().enumerate() {
        let gap = if number > 0 { "\n" } else { "" };
        ui::print(format_args!("{gap}{}", Shown(portrait)))?;
    }
    Ok(())
}

/// Says that there is no such element.
pub(super) fn unknown(library: &Library, name: &str) -> Error {
    let error = Error::new(Kind::Elements, format!("Element '{name}' not found"));
    match nearest(name, library.names()) {
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error.hint("'dib elements' lists them"),
    }
}

/// An element's kind, in a word.
fn word(line: &Line) -> String {
    format!("{:?}", line.kind).to_lowercase()
}

struct Shown<'a>(&'a Portrait);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Portrait { line, tree, .. } = self.0;
        let readme = self.0.readme.trim();
        if readme.is_empty() {
            writeln!(f, "# {}\n\n(It has no README.)\n", harmless(&line.name))?;
        } else {
            writeln!(f, "{readme}\n")?;
        }
        let mut facts = vec![("kind", word(line)), ("place", harmless(&line.place))];
        for (title, words) in [
            ("provides", &line.provides),
            ("snippets", &self.0.snippets),
            ("data", &self.0.data),
            ("cases", &self.0.cases),
        ] {
            if !words.is_empty() {
                facts.push((title, harmless(&words.join(" "))));
            }
        }
        for (title, text) in facts {
            writeln!(f, "{title:10}{text}")?;
        }
        section(f, "hooks", self.0.hooks.iter().map(|hook| hook.path.clone()))?;
        section(
            f,
            "variables",
            self.0.variables.iter().map(|variable| {
                let mut text = variable.name.clone();
                if let Some(default) = variable.default.as_deref().filter(|default| !default.is_empty()) {
                    write!(text, " [{default}]").expect("a String takes everything");
                }
                if let Some(meaning) = &variable.meaning {
                    write!(text, "  {meaning}").expect("a String takes everything");
                }
                text
            }),
        )?;
        let mut lines = Vec::new();
        branches(tree, 0, &mut lines);
        section(f, "needs", lines.into_iter())
    }
}

/// A title and its lines, if there are any.
fn section(f: &mut fmt::Formatter<'_>, title: &str, lines: impl Iterator<Item = String>) -> fmt::Result {
    for (number, line) in lines.enumerate() {
        let title = if number == 0 { title } else { "" };
        writeln!(f, "{title:10}{}", harmless(&line))?;
    }
    Ok(())
}

/// The lines of a tree below its root, deeper ones further right.
fn branches(need: &Need, level: usize, lines: &mut Vec<String>) {
    for need in &need.needs {
        let note = match (need.known, need.provided_by.is_empty()) {
            (true, _) => String::new(),
            (false, true) => "  (there is none)".to_owned(),
            (false, false) => format!("  (provided by {})", need.provided_by.join(", ")),
        };
        lines.push(format!("{}{}{note}", "  ".repeat(level), need.name));
        branches(need, level + 1, lines);
    }
}
