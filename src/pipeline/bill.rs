//! The bill of materials of a build: what each hook brought is noted as it runs, and written beside the image.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::Path;

use serde_json::Value;

use crate::applets::package_installs::{self, Lookup};
use crate::applets::pkg_map::{Distribution, PackageMap};
use crate::clock::Moment;
use crate::element::library::{Element, Item};
use crate::element::resolve::OPERATING_SYSTEM;
use crate::environment::Environment;
use crate::error::{Context, Error, Kind, Result};
use crate::output::{self, Rules};
use crate::phase::Phase;
use crate::plan::BuildPlan;
use crate::sandbox::rooted::Rooted;
use crate::sbom::ledger::{COMMAND_LINE, Ledger};
use crate::sbom::{self, cyclonedx, rpm, spdx};
use crate::ui;

/// What stands for an element where none is known.
const NOBODY: &str = "(the build)";

/// What is noted of a build.
#[derive(Debug, Default)]
pub(super) struct Bill {
    ledger: RefCell<Ledger>,
    /// Why something could not be noted.
    failed: RefCell<Option<io::Error>>,
    /// Why rpm does not tell what it has installed since it told last.
    untold: RefCell<Option<io::Error>>,
}

/// The tree as it is looked at.
#[derive(Clone, Copy)]
pub(super) struct Tree<'a> {
    /// Its directory.
    pub(super) dir: &'a Path,
    /// The variables of programs that run in it, once it is furnished for that.
    pub(super) programs: Option<&'a Environment>,
}

/// Who brought what no hook has.
#[derive(Clone, Copy, Debug)]
pub(super) enum By {
    /// The element of the operating system, with the root.
    Root,
    /// The command line.
    CommandLine,
}

impl Bill {
    /// One, if it is wanted.
    pub(super) fn of(plan: &BuildPlan) -> Option<Self> {
        plan.settings.sbom.then(Self::default)
    }

    /// Notes what lists of elements ask for, by the variables of a phase.
    pub(super) fn ask(&self, plan: &BuildPlan, environment: &Environment) {
        let lookup = |name: &str| {
            environment
                .get(name)
                .map(|value| value.to_string_lossy().into_owned())
        };
        let word = |name: &str| lookup(name).unwrap_or_default();
        let distribution = Distribution::new(&word("DISTRO_NAME"), &word("DIB_RELEASE"));
        let files: Vec<(&Element, Vec<Item>)> = plan
            .elements
            .iter()
            .map(|element| (element, element.items().unwrap_or_default()))
            .collect();
        let maps: HashMap<&str, PackageMap> = files
            .iter()
            .filter_map(|(element, items)| {
                let item = items.iter().find(|item| item.path == Path::new("pkg-map"))?;
                let map = serde_json::from_str(&element.text_of(item)?).ok()?;
                Some((element.name.as_str(), map))
            })
            .collect();
        let mut ledger = self.ledger.borrow_mut();
        for (element, items) in &files {
            for (map, names) in items.iter().filter_map(|item| asked(element, item, &lookup)) {
                for name in names {
                    let translated = maps
                        .get(map.as_str())
                        .and_then(|map| map.lookup(&name, &distribution));
                    for name in translated.unwrap_or_else(|| vec![name]) {
                        ledger.ask(&name, &element.name);
                    }
                }
            }
        }
    }

    /// Notes what a hook has brought.
    pub(super) fn look(&self, plan: &BuildPlan, tree: Tree<'_>, phase: Phase, hook: &Path) {
        let name = hook.file_name().unwrap_or_default();
        let path = Path::new(&phase.dir()).join(name);
        let entry = plan.hooks.get(&path).or_else(|| {
            // A link that element install-types has made of one further down.
            let further = |(at, _): &(&Path, _)| at.starts_with(phase.dir()) && at.file_name() == Some(name);
            plan.hooks.entries().find(further).map(|(_, entry)| entry)
        });
        self.note(tree, entry.map_or(NOBODY, |entry| entry.element.as_str()));
    }

    /// Notes what was brought just now, by no hook.
    pub(super) fn look_beside_hooks(&self, plan: &BuildPlan, tree: Tree<'_>, by: By) {
        let provides = |element: &&Element| element.provides.iter().any(|name| name == OPERATING_SYSTEM);
        let by = match by {
            By::Root => plan
                .elements
                .iter()
                .find(provides)
                .map_or(NOBODY, |element| &element.name),
            By::CommandLine => COMMAND_LINE,
        };
        self.note(tree, by);
    }

    fn note(&self, tree: Tree<'_>, by: &str) {
        if let Err(error) = self.try_note(tree, by) {
            self.failed.borrow_mut().get_or_insert(error);
        }
    }

    fn try_note(&self, tree: Tree<'_>, by: &str) -> io::Result<()> {
        let rooted = Rooted::open(tree.dir)?;
        let mut ledger = self.ledger.borrow_mut();
        if let Some(environment) = tree.programs
            && ledger.has_new_rpm(&rooted)?
        {
            let told = rpm::ask(tree.dir, environment).map(|installed| ledger.rpm_tells(installed));
            *self.untold.borrow_mut() = told.err();
        }
        ledger.look(&rooted, by)
    }

    /// Writes the documents of the finished tree beside the image.
    pub(super) fn write(&self, plan: &BuildPlan, tree: &Rooted, umask: u32) -> Result<()> {
        let _work = ui::work("list the packages");
        let tried = || "cannot list the packages of the image".to_owned();
        if let Some(error) = self.failed.take() {
            return Err(Error::new(Kind::Image, tried()).because(error));
        }
        let ledger = self.ledger.borrow();
        let (mut packages, mut warnings) = sbom::packages(tree, ledger.rpm()).image(tried)?;
        let untold = self.untold.take();
        warnings.extend(untold.map(|error| format!("packages of rpm are not listed as they are: {error}")));
        for warning in warnings {
            ui::warn(warning);
        }
        ledger.attribute(&mut packages);
        let distribution = sbom::Distribution::of(tree).image(tried)?;
        let elements: Vec<&str> = plan
            .elements
            .iter()
            .map(|element| element.name.as_str())
            .collect();
        let created = Moment::of_file(plan.identity.epoch.secs).to_the_second();
        let subject = spdx::Subject {
            image: plan.settings.base_name(),
            distribution: &distribution,
            created: &format!("{}Z", created.replacen(' ', "T", 1)),
            uuid: &plan.identity.uuid("sbom").to_string(),
            elements: &elements,
        };
        let rules = Rules::of(&plan.settings, plan.identity, umask);
        for (suffix, document) in [
            ("spdx.json", spdx::document(&packages, &subject)),
            ("cdx.json", cyclonedx::document(&packages, &subject)),
        ] {
            output::save_text(&rules, suffix, &pretty(&document).image(tried)?)?;
        }
        Ok(())
    }
}

fn pretty(document: &Value) -> serde_json::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(document)?;
    text.push(b'\n');
    Ok(text)
}

/// The packages that a file of an element wants installed, and the element whose map translates their names; `None` if it is
/// no list of packages.
fn asked(element: &Element, item: &Item, variable: Lookup<'_>) -> Option<(String, Vec<String>)> {
    let path = item.path.to_str()?;
    if package_installs::FILES.contains(&path) {
        // A list that makes no sense has ended the build before.
        let packages = package_installs::parse(&element.text_of(item)?).ok()??;
        let names = package_installs::installed(&element.name, packages, variable).ok()?;
        return Some((element.name.clone(), names));
    }
    let (phase, map) = path.split_once("/package-installs-")?;
    if !package_installs::PHASES.contains(&phase) {
        return None;
    }
    let text = element.text_of(item)?;
    let words = text.lines().filter_map(|line| line.split_whitespace().next());
    let names = words.filter(|word| !word.starts_with(['#', '-']));
    Some((map.to_owned(), names.map(str::to_owned).collect()))
}
