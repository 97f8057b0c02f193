//! Why each element is one of the build.
//!
//! Found from the outcome of the resolution, not noted on its way, so that an element has every reason and not only the
//! one that happened to come first. Each element of a build has at least one.

use std::fmt;

use serde::Serialize;

use super::library::{Element, Library};
use crate::settings::WordOrigin;

/// A reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Reason {
    /// It was named on the command line.
    CommandLine,
    /// The variable `IMAGE_ELEMENT` names it.
    ImageElement,
    /// Every build has it that does not leave it out.
    Base,
    /// It makes the ramdisk that is built.
    Ramdisk,
    /// The element `vm` wants a disk with partitions, and no word named others.
    ForVm,
    /// No element provides an operating system.
    NoOperatingSystem,
    /// Another one needs it.
    Dependency {
        /// Which.
        of: String,
    },
    /// It is what another one needs under another name.
    Provides {
        /// The name.
        what: String,
        /// Which other one.
        needed_by: String,
    },
    /// One needs it that is no part of the build, since another one provides its name.
    DependencyOfProvided {
        /// Which needs it.
        of: String,
        /// Which provides that name.
        provided_by: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::CommandLine => f.write_str("named on the command line"),
            Reason::ImageElement => f.write_str("named by IMAGE_ELEMENT"),
            Reason::Base => f.write_str("part of every build without -n"),
            Reason::Ramdisk => f.write_str("makes the ramdisk"),
            Reason::ForVm => f.write_str("added for vm"),
            Reason::NoOperatingSystem => f.write_str("added, since no element given is an operating system"),
            Reason::Dependency { of } => write!(f, "needed by {of}"),
            Reason::Provides { what, needed_by } => write!(f, "provides {what}, needed by {needed_by}"),
            Reason::DependencyOfProvided { of, provided_by } => {
                write!(f, "needed by {of}, which {provided_by} provides")
            }
        }
    }
}

/// The reasons for each of `elements`, which the resolution of `words` gave.
pub fn reasons(library: &Library, words: &[(&str, WordOrigin)], elements: &[&Element]) -> Vec<Vec<Reason>> {
    let one = |element: &&Element| {
        let mut reasons: Vec<Reason> = Vec::new();
        let mut add = |reason: Reason| {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        };
        for (word, origin) in words {
            if *word == element.name {
                add(match origin {
                    WordOrigin::Base => Reason::Base,
                    WordOrigin::Inherited => Reason::ImageElement,
                    WordOrigin::Given => Reason::CommandLine,
                    WordOrigin::Ramdisk => Reason::Ramdisk,
                    WordOrigin::ForVm => Reason::ForVm,
                    WordOrigin::Implicit => Reason::NoOperatingSystem,
                });
            }
        }
        for other in elements.iter().filter(|other| other.name != element.name) {
            if other.deps.contains(&element.name) {
                add(Reason::Dependency {
                    of: other.name.clone(),
                });
            }
            for what in element.provides.iter().filter(|what| other.deps.contains(what)) {
                add(Reason::Provides {
                    what: what.clone(),
                    needed_by: other.name.clone(),
                });
            }
        }
        reasons
    };
    let mut all: Vec<Vec<Reason>> = elements.iter().map(one).collect();
    let lonely: Vec<usize> = (0..all.len()).filter(|at| all[*at].is_empty()).collect();
    for at in lonely {
        all[at] = by_provided(library, elements, elements[at]);
    }
    all
}

/// The reasons of an element that only elements need which are not part of the build.
fn by_provided(library: &Library, elements: &[&Element], element: &Element) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for provider in elements {
        let mut names: Vec<&String> = provider.provides.iter().collect();
        let mut seen = 0;
        // What such an element needs may be another such element.
        while let Some(name) = names.get(seen).copied() {
            seen += 1;
            let Some(dropped) = library.get(name) else {
                continue;
            };
            if dropped.deps.contains(&element.name) {
                reasons.push(Reason::DependencyOfProvided {
                    of: dropped.name.clone(),
                    provided_by: provider.name.clone(),
                });
            }
            let unseen = dropped.deps.iter().filter(|dep| !names.contains(dep));
            let unseen: Vec<_> = unseen
                .filter(|dep| elements.iter().all(|part| part.name != **dep))
                .collect();
            names.extend(unseen);
        }
    }
    if reasons.is_empty() {
        reasons = by_dropped_providers(library, element);
    }
    reasons
}

/// The reasons of an element that only elements need whose providers are not part of the build either.
fn by_dropped_providers(library: &Library, element: &Element) -> Vec<Reason> {
    let all = || library.names().filter_map(|name| library.get(name));
    let dropped = all().filter(|other| other.deps.contains(&element.name));
    let reason = |dropped: &Element| {
        let provider = all().find(|other| other.provides.contains(&dropped.name));
        Some(Reason::DependencyOfProvided {
            of: dropped.name.clone(),
            provided_by: provider?.name.clone(),
        })
    };
    dropped.filter_map(reason).collect()
}

#[cfg(test)]
mod tests {
    use super::super::library::tests::library;
    use super::super::resolve::resolve;
    use super::*;

    #[test]
    fn every_element_has_all_its_reasons() {
        let library = library(&[
            ("base", &["dib"], &[]),
            ("vm", &["block-device"], &[]),
            ("block-device-mbr", &["dib"], &["block-device"]),
            ("os", &["old", "tool"], &["operating-system"]),
            ("new", &[], &["old"]),
            ("old", &["tool", "relic"], &[]),
            ("tool", &["self", "dib"], &[]),
            ("self", &["self"], &[]),
            ("dib", &[], &[]),
            ("relic", &[], &[]),
        ]);
        let words = [
            ("base", WordOrigin::Base),
            ("tool", WordOrigin::Inherited),
            ("os", WordOrigin::Given),
            ("vm", WordOrigin::Given),
            ("tool", WordOrigin::Given),
            ("new", WordOrigin::Given),
            ("block-device-mbr", WordOrigin::ForVm),
        ];
        let names: Vec<String> = words.iter().map(|(word, _)| (*word).to_owned()).collect();
        let elements = resolve(&library, &names).unwrap();
        let lines: Vec<String> = elements
            .iter()
            .zip(reasons(&library, &words, &elements))
            .map(|(element, reasons)| {
                let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
                format!("{}: {}", element.name, reasons.join("; "))
            })
            .collect();
        let expected = [
            "base: part of every build without -n",
            "tool: named by IMAGE_ELEMENT; named on the command line; needed by os",
            "os: named on the command line",
            "vm: named on the command line",
            "new: named on the command line; provides old, needed by os",
            "block-device-mbr: added for vm; provides block-device, needed by vm",
            "dib: needed by base; needed by tool; needed by block-device-mbr",
            "self: needed by tool",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn an_element_that_only_a_replaced_one_needs_has_a_reason_too() {
        let library = library(&[
            ("os", &["old"], &[]),
            ("old", &["relic"], &[]),
            ("relic", &["new"], &[]),
            ("new", &[], &["old"]),
        ]);
        let elements = resolve(&library, &["os".to_owned()]).unwrap();
        let found = reasons(&library, &[("os", WordOrigin::Given)], &elements);
        let relic = elements
            .iter()
            .position(|element| element.name == "relic")
            .unwrap();
        assert_eq!(
            found[relic],
            [Reason::DependencyOfProvided {
                of: "old".into(),
                provided_by: "new".into()
            }]
        );
    }
}
