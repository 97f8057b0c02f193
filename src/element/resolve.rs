//! Resolution: the words of a command line → the elements of a build.
//!
//! A queue, breadth first: words before dependencies, so that a provider that the user names late still satisfies
//! what an earlier word needs. The result keeps that order, and is the same in every run.

use std::collections::{BTreeMap, VecDeque};

use crate::element::library::{Element, Library};
use crate::error::{Error, Kind, Result};
use crate::suggest::nearest;

/// The name that some element of a disk image must provide.
pub const OPERATING_SYSTEM: &str = "operating-system";

/// The element that is taken where none is an operating system.
pub const IMPLICIT: &str = "ubuntu";

/// Finds the elements of an image: those that `words` need, with an operating system. Where none of them is one, `ubuntu`
/// joins the words, which is told by the second value; `strict` refuses that.
pub fn resolve_image<'a>(
    library: &'a Library,
    words: &[String],
    strict: bool,
) -> Result<(Vec<&'a Element>, bool)> {
    let elements = resolve(library, words)?;
    let Err(none) = require_operating_system(&elements) else {
        return Ok((elements, false));
    };
    // One that is there and does not say what it provides would not become an operating system by being named again.
    if strict || library.get(IMPLICIT).is_none() || words.iter().any(|word| word == IMPLICIT) {
        return Err(none);
    }
    let words: Vec<String> = words.iter().cloned().chain([IMPLICIT.to_owned()]).collect();
    let elements = resolve(library, &words)?;
    require_operating_system(&elements)?;
    Ok((elements, true))
}

/// What is said when `ubuntu` has joined.
pub fn implicit_notice() -> String {
    format!(
        "no element given provides {OPERATING_SYSTEM}: {IMPLICIT} is added (--strict refuses such builds)"
    )
}

/// Finds the elements that `words` need, in a stable order: words first, then their dependencies.
pub fn resolve<'a>(library: &'a Library, words: &[String]) -> Result<Vec<&'a Element>> {
    let mut order: Vec<String> = Vec::new();
    for word in words {
        if !order.contains(word) {
            order.push(word.clone());
        }
    }
    let mut queue: VecDeque<String> = words.iter().cloned().collect();
    let mut provided: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while let Some(name) = queue.pop_front() {
        if provided.contains_key(&name) {
            continue;
        }
        let element = library
            .get(&name)
            .ok_or_else(|| unknown(library, &name, &order))?;
        library.require_sound(&name)?;
        for virtual_name in &element.provides {
            if let Some(providers) = provided.get(virtual_name) {
                return Err(conflict(virtual_name, providers, &name));
            }
            provided.insert(virtual_name.clone(), vec![name.clone()]);
        }
        for dep in &element.deps {
            if !order.contains(dep) && !provided.contains_key(dep) {
                order.push(dep.clone());
                queue.push_back(dep.clone());
            }
        }
    }
    if let Some((word, providers)) = words.iter().find_map(|word| provided.get_key_value(word)) {
        return Err(conflict(word, providers, word));
    }
    order.retain(|name| !provided.contains_key(name));
    let elements = order.iter().filter_map(|name| library.get(name));
    Ok(elements.collect())
}

/// Fails unless an element provides an operating system.
pub fn require_operating_system(elements: &[&Element]) -> Result<()> {
    let provides = |element: &&Element| element.provides.iter().any(|name| name == OPERATING_SYSTEM);
    if elements.iter().any(provides) {
        return Ok(());
    }
    Err(
        Error::new(Kind::Elements, "Please include an operating system element").hint(
            "no element given provides operating-system; add one that does, such as ubuntu or debian-minimal",
        ),
    )
}

fn conflict(name: &str, providers: &[String], second: &str) -> Error {
    let first = providers.join(", ");
    let message = format!("{name}: already provided by [{first}]");
    let error = Error::new(Kind::Elements, message);
    if first == second {
        return error.hint(format!("name {second} once"));
    }
    error.hint(format!("leave out {first} or {second}"))
}

/// Says which element wants it, if no word does, and what would satisfy it.
fn unknown(library: &Library, name: &str, order: &[String]) -> Error {
    let elements = order.iter().filter_map(|known| library.get(known));
    let mut needing = elements.filter(|element| element.deps.iter().any(|dep| dep == name));
    let needed = needing.next().map_or(String::new(), |element| {
        format!(", which element '{}' needs", element.name)
    });
    let error = Error::new(Kind::Elements, format!("Element '{name}' not found{needed}"));
    let provides = |provider: &&str| {
        let element = library.get(provider);
        element.is_some_and(|element| element.provides.iter().any(|provided| provided == name))
    };
    let providers: Vec<&str> = library.names().filter(provides).collect();
    match nearest(name, library.names()) {
        _ if !providers.is_empty() => error.hint(format!(
            "name an element that provides it: {}",
            providers.join(", ")
        )),
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error.hint("elements are looked for in ELEMENTS_PATH, then among the built-in ones"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::library::tests::library;

    fn resolved(library: &Library, words: &[&str]) -> Result<Vec<String>> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let elements = resolve(library, &words)?;
        Ok(elements.iter().map(|element| element.name.clone()).collect())
    }

    #[test]
    fn dependencies_follow_breadth_first() {
        let library = library(&[
            ("a", &["b", "c"], &[]),
            ("b", &["d", "b"], &[]),
            ("c", &["a"], &[]),
            ("d", &["c"], &[]),
        ]);
        assert_eq!(resolved(&library, &["a"]).unwrap(), ["a", "b", "c", "d"]);
        assert_eq!(
            resolved(&library, &["c", "a", "a"]).unwrap(),
            ["c", "a", "b", "d"]
        );
    }

    #[test]
    fn a_provider_named_after_its_dependant_satisfies_it() {
        let library = library(&[
            ("app", &["boots"], &[]),
            ("grub", &[], &["boots"]),
            ("lilo", &[], &["boots"]),
        ]);
        assert_eq!(resolved(&library, &["app", "grub"]).unwrap(), ["app", "grub"]);
        let none = resolved(&library, &["app"]).unwrap_err().to_string();
        assert_eq!(
            none,
            "Element 'boots' not found, which element 'app' needs\n\
             hint: name an element that provides it: grub, lilo"
        );
        let two = resolved(&library, &["grub", "lilo"]).unwrap_err().to_string();
        assert!(two.contains("boots: already provided by [grub]"), "{two}");
    }

    #[test]
    fn an_operating_system_given_twice_provides_itself_twice() {
        let library = library(&[("os", &["self"], &["operating-system"]), ("self", &[], &["also"])]);
        let twice = resolved(&library, &["os", "os"]).unwrap_err().to_string();
        assert!(twice.contains("already provided"), "{twice}");
        assert_eq!(resolved(&library, &["self", "os"]).unwrap(), ["self", "os"]);
        let word = resolved(&library, &["self", "also"]).unwrap_err().to_string();
        assert!(word.contains("also: already provided by [self]"), "{word}");
    }

    #[test]
    fn ubuntu_joins_where_nothing_is_an_operating_system() {
        let library = |provides: &'static [&'static str]| {
            library(&[
                ("app", &["tool"], &[]),
                ("tool", &[], &[]),
                ("ubuntu", &["tool"], provides),
            ])
        };
        let image = |library: &Library, words: &[&str], strict| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let (elements, joined) =
                resolve_image(library, &words, strict).map_err(|error| error.to_string())?;
            let names = elements.iter().map(|element| element.name.as_str());
            Ok::<_, String>((names.collect::<Vec<_>>().join(" "), joined))
        };
        let sound = library(&[OPERATING_SYSTEM]);
        assert_eq!(
            image(&sound, &["app"], false).unwrap(),
            ("app ubuntu tool".to_owned(), true)
        );
        assert_eq!(
            image(&sound, &["ubuntu"], true).unwrap(),
            ("ubuntu tool".to_owned(), false)
        );
        let strict = image(&sound, &["app"], true).unwrap_err();
        assert!(
            strict.contains("Please include an operating system element"),
            "{strict}"
        );
        // An element of that name that is none does not help.
        for words in [&["app"][..], &["app", "ubuntu"]] {
            let none = image(&library(&[]), words, false).unwrap_err();
            assert!(
                none.contains("Please include an operating system element"),
                "{none}"
            );
        }
    }

    #[test]
    fn unknown_names_get_a_suggestion() {
        let library = library(&[("debian-minimal", &[], &[]), ("vm", &[], &[])]);
        let near = resolved(&library, &["debian-minmal"]).unwrap_err().to_string();
        assert!(near.contains("Element 'debian-minmal' not found"), "{near}");
        assert!(near.contains("did you mean debian-minimal?"), "{near}");
        let far = resolved(&library, &["quite-else"]).unwrap_err().to_string();
        assert!(!far.contains("did you mean"), "{far}");
    }
}
