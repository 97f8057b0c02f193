//! What a build would fetch, as far as elements declare it: the lines of their `source-repository-*` files, and packages.
//!
//! What hooks download by themselves is not declared anywhere, and so not listed.

use serde::Serialize;

use crate::element::library::{Element, Item, ItemKind};
use crate::element::source_repositories::{Fault, Repository, expand, lines};
use crate::error::Result;
use crate::settings::Settings;

/// The directory of the cache that holds repositories.
const CACHED: &str = "source-repositories";

/// The element that fetches them.
const FETCHER: &str = "source-repositories";

/// Something to fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedFetch {
    /// `git`, `tar`, `file`, `package` of a repository; `mirror` of packages; `unknown`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The element that declares it.
    pub element: Option<String>,
    /// The file and the line where it stands.
    pub from: Option<String>,
    /// The path in the image where it goes.
    pub destination: Option<String>,
    /// Where it comes from; the line as it is written, if that is not known before the build.
    pub location: Option<String>,
    /// The revision, or the part of an archive.
    pub reference: Option<String>,
    /// The variables that override what the line says.
    pub overridden_by: Vec<String>,
    /// Whether the build would fetch it.
    pub fetched: bool,
    /// Why not, or what is not known yet.
    pub note: Option<String>,
    /// Whether the cache has it; `None`: that is not known.
    pub cached: Option<bool>,
}

/// The repositories of an element.
pub fn repositories(
    element: &Element,
    items: &[Item],
    settings: &Settings,
    has_fetcher: bool,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<PlannedFetch>> {
    let mut found = Vec::new();
    for item in items {
        let name = item.path.to_str().unwrap_or_default();
        let ItemKind::File { bytes, .. } = &item.kind else {
            continue;
        };
        if !name.starts_with("source-repository-") || name.contains('/') {
            continue;
        }
        for (number, line) in lines(&bytes.text()?) {
            let from = format!("{name}:{number}");
            let read = expand(line, variable)
                .and_then(|line| line.parse::<Repository>())
                .and_then(|repository| repository.overridden(variable));
            found.push(match read {
                Ok((repository, by)) => {
                    let fetched = repository.is_fetched(variable);
                    planned(element, from, &repository, by, settings, fetched && has_fetcher)
                }
                Err(fault) => unread(element, from, line, &fault, has_fetcher),
            });
        }
    }
    for fetch in found.iter_mut().filter(|_| !has_fetcher) {
        fetch.note = Some(format!("element {FETCHER} is no part of the build"));
    }
    Ok(found)
}

fn planned(
    element: &Element,
    from: String,
    repository: &Repository,
    overridden_by: Vec<String>,
    settings: &Settings,
    fetched: bool,
) -> PlannedFetch {
    let cached = settings.cache.join(CACHED).join(repository.cache_name());
    PlannedFetch {
        kind: repository.kind.to_string(),
        name: repository.name.clone(),
        element: Some(element.name.clone()),
        from: Some(from),
        destination: Some(repository.destination.clone()),
        location: Some(repository.location.clone()),
        reference: repository.reference.clone(),
        overridden_by,
        fetched,
        note: (!fetched).then(|| "not installed from source".to_owned()),
        cached: Some(cached.exists()),
    }
}

/// A line that cannot be read before the build, or not at all.
fn unread(element: &Element, from: String, line: &str, fault: &Fault, has_fetcher: bool) -> PlannedFetch {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default().to_owned();
    PlannedFetch {
        kind: words.next().unwrap_or("unknown").to_owned(),
        name,
        element: Some(element.name.clone()),
        from: Some(from),
        destination: None,
        location: Some(line.to_owned()),
        reference: None,
        overridden_by: Vec::new(),
        fetched: has_fetcher,
        note: Some(fault.to_string()),
        cached: None,
    }
}

/// Where the packages of the distribution come from: one entry for each element that is an operating system.
pub fn mirrors(
    elements: &[Element],
    operating_system: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Vec<PlannedFetch> {
    const MIRROR: &str = "DIB_DISTRIBUTION_MIRROR";
    let location = variable(MIRROR).filter(|location| !location.is_empty());
    let mirror = |element: &Element| PlannedFetch {
        kind: "mirror".to_owned(),
        name: "packages".to_owned(),
        element: Some(element.name.clone()),
        from: None,
        destination: None,
        note: location.is_none().then(|| "the element's own choice".to_owned()),
        overridden_by: location.iter().map(|_| MIRROR.to_owned()).collect(),
        location: location.clone(),
        reference: None,
        fetched: true,
        cached: None,
    };
    let provides = |element: &&Element| element.provides.iter().any(|name| name == operating_system);
    elements.iter().filter(provides).map(mirror).collect()
}

/// Whether the elements of a build fetch repositories.
pub fn has_fetcher(elements: &[Element]) -> bool {
    elements.iter().any(|element| element.name == FETCHER)
}
