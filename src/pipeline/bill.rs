//! The bill of materials of a build: what each hook brought is noted as it runs, and written beside the image.

use std::cell::RefCell;
use std::io;
use std::path::Path;

use serde_json::Value;

use crate::applets::package_installs;
use crate::applets::pkg_map::{Distribution, PackageMap};
use crate::clock::Moment;
use crate::element::library::{Element, ItemKind};
use crate::element::resolve::OPERATING_SYSTEM;
use crate::environment::Environment;
use crate::error::{Context, Error, Kind, Result};
use crate::output::{self, Rules};
use crate::phase::Phase;
use crate::plan::BuildPlan;
use crate::sandbox::rooted::Rooted;
use crate::sbom::ledger::Ledger;
use crate::sbom::{self, cyclonedx, spdx};
use crate::ui;

/// What is noted of a build.
#[derive(Debug, Default)]
pub(super) struct Bill {
    ledger: RefCell<Ledger>,
    /// Why something could not be noted.
    failed: RefCell<Option<io::Error>>,
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
        let mut ledger = self.ledger.borrow_mut();
        for element in &plan.elements {
            let map =
                text(element, "pkg-map").and_then(|text| serde_json::from_str::<PackageMap>(&text).ok());
            let map = map.unwrap_or_default();
            let lists = ["package-installs.yaml", "package-installs.json"];
            for list in lists.iter().filter_map(|name| text(element, name)) {
                let packages = package_installs::parse(&list).ok().flatten().unwrap_or_default();
                // A list that makes no sense has ended the build before.
                for name in package_installs::installed(&element.name, packages, &lookup).unwrap_or_default()
                {
                    let names = map.lookup(&name, &distribution).unwrap_or_else(|| vec![name]);
                    for name in names {
                        ledger.ask(name, &element.name);
                    }
                }
            }
        }
    }

    /// Notes what a hook has brought.
    pub(super) fn look(&self, plan: &BuildPlan, tree: &Path, phase: Phase, hook: &Path) {
        let name = hook.file_name().unwrap_or_default();
        let path = Path::new(&phase.dir()).join(name);
        let entry = plan.hooks.get(&path).or_else(|| {
            // A link that element install-types has made of one further down.
            let further = |(at, _): &(&Path, _)| at.starts_with(phase.dir()) && at.file_name() == Some(name);
            plan.hooks.entries().find(further).map(|(_, entry)| entry)
        });
        self.note(tree, entry.map_or("(the build)", |entry| entry.element.as_str()));
    }

    /// Notes what was brought just now.
    pub(super) fn note(&self, tree: &Path, by: &str) {
        let looked = Rooted::open(tree).and_then(|tree| self.ledger.borrow_mut().look(&tree, by));
        if let Err(error) = looked {
            self.failed.borrow_mut().get_or_insert(error);
        }
    }

    /// Writes the documents of the finished tree beside the image.
    pub(super) fn write(&self, plan: &BuildPlan, tree: &Rooted, umask: u32) -> Result<()> {
        let _work = ui::work("list the packages");
        let tried = || "cannot list the packages of the image".to_owned();
        if let Some(error) = self.failed.take() {
            return Err(Error::new(Kind::Image, tried()).because(error));
        }
        let (mut packages, warnings) = sbom::packages(tree).image(tried)?;
        for warning in warnings {
            ui::warn(warning);
        }
        let provides = |element: &&Element| element.provides.iter().any(|name| name == OPERATING_SYSTEM);
        let system = plan
            .elements
            .iter()
            .find(provides)
            .map(|element| element.name.as_str());
        self.ledger.borrow().attribute(&mut packages, system);
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

fn text(element: &Element, name: &str) -> Option<String> {
    let items = element.items().ok()?;
    let item = items.into_iter().find(|item| item.path == Path::new(name))?;
    match item.kind {
        ItemKind::File { bytes, .. } => bytes.text().ok(),
        _ => None,
    }
}
