//! `dib man`: the manual, a page for each command, in roff.
//!
//! Options come from the same definitions as `--help`; what stands behind the options there, examples, exit statuses and
//! the like, becomes a section for each of its headings. The variables come from the table of settings.

use std::io::{self, Write};

use clap::{Command, Parser};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::{COMMANDS, after_help, command_of, command_words};
use crate::error::{Context, Error, Result};
use crate::settings::origins;
use crate::suggest::nearest;
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  dib man | man -l -
      reads the page of dib

  dib man disk-image-create >/usr/local/share/man/man1/disk-image-create.1
      installs a page";

/// Variables that are no settings, of commands that build.
const MORE_VARIABLES: [(&str, &str); 8] = [
    (
        "break",
        "where to open a shell: before-PHASE, after-PHASE, or after-error, in whatever phase; a comma between",
    ),
    ("break_cmd", "what to run there, bash unless it says otherwise"),
    (
        "break_outside_target",
        "not empty: after an error in a chroot phase, run it on the host",
    ),
    ("RUN_PARTS_REGEX", "the pattern that names of hooks must match"),
    ("DIB_EVENTS", "where to write events, as --events"),
    (
        "DIB_SHOW_IMAGE_USAGE",
        "1: tell at the end what of more than 10 MiB takes room in the image",
    ),
    ("DIB_SHOW_IMAGE_USAGE_FULL", "1: tell it of everything"),
    ("NO_COLOR", "not empty: no colours"),
];

/// Print the manual page of a command.
#[derive(Debug, Parser)]
#[command(name = "man", after_help = after_help(EXAMPLES))]
pub struct Args {
    /// The command: a name of the program, or a command of dib [default: dib]
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

/// Prints it.
pub fn run(args: &Args) -> Result<()> {
    let name = args.command.as_deref().unwrap_or("dib");
    let command = command_of(name).ok_or_else(|| unknown(name))?;
    let page = page(name, command).host(|| format!("cannot make the manual page of {name}"))?;
    ui::print(String::from_utf8_lossy(&page))
}

fn unknown(name: &str) -> Error {
    let error = Error::usage(format!("there is no command '{name}'"));
    match nearest(name, command_words().iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error.hint("'dib --help' lists the commands"),
    }
}

/// The page of a command.
fn page(name: &str, command: Command) -> io::Result<Vec<u8>> {
    let own = COMMANDS.contains(&name);
    let title = if own {
        name.to_owned()
    } else {
        format!("dib-{name}")
    };
    let called = if own {
        name.to_owned()
    } else {
        format!("dib {name}")
    };
    let builds = takes_settings(&command);
    let after = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let command = command.disable_help_subcommand(true);
    let mut command = command.display_name(&title).bin_name(called);
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    let command = command.override_usage(usage);
    let has_commands = command.has_subcommands();
    let man = Man::new(command)
        .title(title.to_uppercase())
        .section("1")
        .source(format!("diskimage-builder {}", env!("CARGO_PKG_VERSION")))
        .manual("diskimage-builder");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_commands {
        page.extend(commands_section(&man)?);
    }
    let mut roff = Roff::new();
    for (heading, body) in sections(&after) {
        section(&mut roff, &heading, &body);
    }
    if builds {
        roff.control("SH", ["ENVIRONMENT"]);
        roff.text([roman("An option beats its variable.")]);
        for (name, what) in origins::variables().into_iter().chain(MORE_VARIABLES) {
            roff.control("TP", []);
            roff.text([bold(name)]);
            roff.text([roman(what)]);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    let others = COMMANDS.iter().filter(|other| **other != name);
    let others: Vec<String> = others.map(|other| format!("{other}(1)")).collect();
    roff.text([roman(others.join(", "))]);
    roff.to_writer(&mut page)?;
    page.flush()?;
    Ok(page)
}

/// The commands of a command, each with the name of its page: some are names of the program, too.
fn commands_section(man: &Man) -> io::Result<Vec<u8>> {
    let mut section = Vec::new();
    man.render_subcommands_section(&mut section)?;
    let section = String::from_utf8_lossy(&section).into_owned();
    let named = COMMANDS.iter().fold(section, |section, name| {
        let name = name.replace('-', "\\-");
        section.replace(&format!("dib\\-{name}(1)"), &format!("{name}(1)"))
    });
    Ok(named.into_bytes())
}

/// Whether a command takes the settings of a build, and so heeds their variables.
fn takes_settings(command: &Command) -> bool {
    command
        .get_arguments()
        .any(|arg| arg.get_long() == Some("image-size"))
}

/// The parts of what stands behind the options: headings, which are lines with a colon at their end, and bodies. What
/// stands before the first heading, or behind a body without an indent, are notes.
fn sections(text: &str) -> Vec<(String, String)> {
    let mut sections: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        let open = !line.is_empty() && !line.starts_with(' ');
        let heading = line
            .strip_suffix(':')
            .filter(|heading| open && !heading.contains(". "));
        if let Some(heading) = heading {
            sections.push((heading.to_uppercase(), String::new()));
            continue;
        }
        if open && sections.last().is_none_or(|(heading, _)| heading != "NOTES") {
            sections.push(("NOTES".into(), String::new()));
        }
        if let Some((_, body)) = sections.last_mut() {
            body.push_str(line);
            body.push('\n');
        }
    }
    sections
}

/// A section whose lines stay as they are.
fn section(roff: &mut Roff, heading: &str, body: &str) {
    roff.control("SH", [heading]);
    roff.control("nf", []);
    let lines: Vec<&str> = body.trim_end().lines().collect();
    let indents = lines.iter().filter(|line| !line.is_empty());
    let indent = indents
        .map(|line| line.len() - line.trim_start().len())
        .min()
        .unwrap_or(0);
    for line in lines {
        roff.text([roman(line.get(indent..).unwrap_or_default())]);
    }
    roff.control("fi", []);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_refer_to_pages() {
        let page = String::from_utf8(page("dib", command_of("dib").unwrap()).unwrap()).unwrap();
        let plain = page.replace('\\', "");
        let named: Vec<&str> = plain
            .split([' ', '\n', ','])
            .filter_map(|word| word.strip_suffix("(1)"))
            .collect();
        assert!(named.len() > COMMANDS.len(), "{named:?}");
        for name in named {
            let ours = COMMANDS.contains(&name);
            let of_dib = name
                .strip_prefix("dib-")
                .is_some_and(|command| command_of(command).is_some() && !COMMANDS.contains(&command));
            assert!(ours || of_dib, "{name}(1) is no page");
        }
    }

    #[test]
    fn what_follows_the_options_is_cut_at_its_headings() {
        let text = "Examples:\n  a\n      b\n\nA note.\nAnother:\n  x: y\n\nExit status:\n  0  fine\n";
        let found = sections(text);
        let expected = [
            ("EXAMPLES", "  a\n      b\n\n"),
            ("NOTES", "A note.\n"),
            ("ANOTHER", "  x: y\n\n"),
            ("EXIT STATUS", "  0  fine\n"),
        ];
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(heading, body)| (heading.as_str(), body.as_str()))
            .collect();
        assert_eq!(found, expected);
    }
}
