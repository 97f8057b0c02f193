//! `element-info`: the elements that elements need.

use std::path::PathBuf;

use clap::Parser;

use super::after_help;
use super::disk_image_create::BEYOND;
use super::shell::always_quoted;
use crate::element::library::{Library, Origin};
use crate::element::resolve::{implicit_notice, resolve, resolve_image};
use crate::environment::Environment;
use crate::error::Result;
use crate::pipeline::{element_array, element_yaml};
use crate::settings::{elements_path, strict};
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  element-info debian-minimal
      the element and all that it needs

  element-info -d dpkg
      the same for elements that make no whole system

  eval \"$(element-info --env debian-minimal)\"
      IMAGE_ELEMENT, IMAGE_ELEMENT_YAML and get_image_element_array in a shell

Elements are looked for in the directories of ELEMENTS_PATH, then among those built into this
program, whose place reads built-in/NAME.";

/// Print the elements that elements need.
#[derive(Debug, Parser)]
#[command(name = "element-info", after_help = after_help(EXAMPLES))]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line are bools")]
pub struct Args {
    /// Print statements for a shell
    #[arg(long, short)]
    env: bool,
    /// Print the elements and what they need, and add no operating system if none of them is one
    #[arg(long, short = 'd')]
    expand_dependencies: bool,
    /// Print the names of all elements that there are
    #[arg(long, help_heading = BEYOND, conflicts_with_all = ["env", "expand_dependencies", "elements"])]
    all: bool,
    /// Refuse elements none of which is an operating system, instead of adding ubuntu
    #[arg(long, help_heading = BEYOND)]
    strict: bool,
    /// The elements
    #[arg(value_name = "ELEMENT", required_unless_present = "all")]
    elements: Vec<String>,
}

/// Prints them.
pub fn run(args: &Args, environment: &Environment) -> Result<()> {
    let library = Library::load(&elements_path(environment))?;
    if args.all {
        for name in library.names() {
            ui::print(format_args!("{name}\n"))?;
        }
        return Ok(());
    }
    let elements = if args.expand_dependencies {
        resolve(&library, &args.elements)?
    } else {
        let strict = args.strict || strict(environment)?;
        let (elements, implicit) = resolve_image(&library, &args.elements, strict)?;
        if implicit {
            ui::note(implicit_notice());
        }
        elements
    };
    let mut names: Vec<&str> = elements.iter().map(|element| element.name.as_str()).collect();
    if !args.env {
        names.sort_unstable();
        return ui::print(format_args!("{}\n", names.join(" ")));
    }
    let mut places: Vec<(&str, PathBuf)> = elements
        .iter()
        .map(|element| match &element.origin {
            Origin::Directory(dir) => (element.name.as_str(), dir.clone()),
            Origin::BuiltIn => (
                element.name.as_str(),
                PathBuf::from("built-in").join(&element.name),
            ),
        })
        .collect();
    places.sort();
    ui::print(format_args!(
        "export IMAGE_ELEMENT={}\nexport IMAGE_ELEMENT_YAML={}\nget_image_element_array {}\n\
         export -f get_image_element_array\n",
        always_quoted(&names.join(" ")),
        always_quoted(&element_yaml(&places)),
        element_array(&places),
    ))
}
