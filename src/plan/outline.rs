//! A plan for readers: what `dib plan` prints, as text or as JSON of a documented, versioned form.
//!
//! The form of the JSON is [`SCHEMA`], which `dib plan --help` prints. Within a version fields may come, but none goes or
//! changes what it means.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::Value;

use super::disks::PlannedLayout;
use super::fetches::{self, PlannedFetch};
use super::packages::{self, PlannedPackage};
use super::{BuildPlan, PlannedHook};
use crate::element::ignored::ignored;
use crate::element::reasons::Reason;
use crate::element::resolve::OPERATING_SYSTEM;
use crate::error::Result;
use crate::phase::{Phase, Place};
use crate::runner::{hook_names, is_snippet_name};
use crate::settings::origins::{Origin, ROWS};

/// The version of the JSON.
pub const VERSION: u32 = 1;

/// What the JSON holds.
pub const SCHEMA: &str = "\
JSON, version 1:
  version        1; within a version fields are only added
  program        the version of this program
  settings       by name: {value, origin, name}; origin is flag, environment or default, name the option or variable
  elements       in order: {name, place, provides, reasons}; place is a directory or 'this program'; a reason is
                 {reason: command-line | image-element | base | ramdisk | for-vm | no-operating-system}, {reason: dependency, of},
                 {reason: provides, what, needed_by} or {reason: dependency-of-provided, of, provided_by}
  environment_d  snippets in the order in which they are sourced: {snippet, element, path}
  phases         in order: {phase, place, hooks, packages}; place is host, chroot or first boot
                 a hook, in the order in which they run: {hook, element, path}
                 a package of an element's files: {package, element, phase, action, conditions, applies, decided_by};
                 action is install, uninstall or build-only; applies is null while the variables decided_by are open
  packages       those of -p, installed after install.d
  ignored        files that no build runs: {element, path, reason}
  fetches        what elements declare: {kind, name, element, from, destination, location, reference, overridden_by,
                 fetched, note, cached}; kind is git, tar, file or package of a repository, or mirror; cached is null
                 where it is not known
  layout         {origin, disks, filesystems}; a disk: {name, size, sector, table, partitions}, size in bytes or null where
                 the tree decides; a partition: {number, name, size, type}; a file system: {node, type, label, uuid,
                 mount_point, device, disk, partition, abstraction}; devices are names that hooks see
  outputs        the files of the image, or of the ramdisk
  warnings       what is odd";

/// A plan for readers.
#[derive(Clone, Debug, Serialize)]
pub struct Outline {
    version: u32,
    program: &'static str,
    settings: PlannedSettings,
    elements: Vec<PlannedElement>,
    environment_d: Vec<PlannedSnippet>,
    phases: Vec<PlannedPhase>,
    packages: Vec<String>,
    ignored: Vec<PlannedIgnored>,
    fetches: Vec<PlannedFetch>,
    layout: PlannedLayout,
    outputs: Vec<String>,
    warnings: Vec<String>,
}

/// The settings of a plan.
#[derive(Clone, Debug)]
struct PlannedSettings(Vec<(&'static str, PlannedSetting)>);

/// A setting of a plan.
#[derive(Clone, Debug, Serialize)]
struct PlannedSetting {
    value: Value,
    #[serde(flatten)]
    origin: Origin,
}

/// An element of a plan.
#[derive(Clone, Debug, Serialize)]
struct PlannedElement {
    name: String,
    place: String,
    provides: Vec<String>,
    reasons: Vec<Reason>,
}

/// A snippet of `environment.d`.
#[derive(Clone, Debug, Serialize)]
struct PlannedSnippet {
    snippet: String,
    element: String,
    path: String,
}

/// A phase of a plan.
#[derive(Clone, Debug, Serialize)]
struct PlannedPhase {
    phase: String,
    place: &'static str,
    hooks: Vec<PlannedHook>,
    packages: Vec<PlannedPackage>,
}

/// A file that no build runs.
#[derive(Clone, Debug, Serialize)]
struct PlannedIgnored {
    element: String,
    path: String,
    reason: String,
}

impl Outline {
    /// The outline of a plan.
    pub fn of(plan: &BuildPlan) -> Result<Self> {
        let variable = |name: &str| variable(plan, name);
        let has_fetcher = fetches::has_fetcher(&plan.elements);
        let names = hook_names(&plan.environment)?;
        let mut outline = Self {
            version: VERSION,
            program: env!("CARGO_PKG_VERSION"),
            settings: PlannedSettings::of(plan),
            elements: elements(plan),
            environment_d: snippets(plan),
            phases: phases(plan)?,
            packages: plan.settings.packages.clone(),
            ignored: Vec::new(),
            fetches: fetches::mirrors(&plan.elements, OPERATING_SYSTEM, &variable),
            layout: PlannedLayout::of(&plan.layout, plan.disk_size()),
            outputs: outputs(plan),
            warnings: plan.warnings.clone(),
        };
        for element in &plan.elements {
            let items = element.items()?;
            let (packages, faults) = packages::packages(element, &items, &variable)?;
            outline.warnings.extend(faults);
            for package in packages {
                outline.add_package(package);
            }
            let settings = &plan.settings;
            outline.fetches.extend(fetches::repositories(
                element,
                &items,
                settings,
                has_fetcher,
                &variable,
            )?);
            outline
                .ignored
                .extend(ignored(&items, &names).into_iter().map(|ignored| PlannedIgnored {
                    element: element.name.clone(),
                    path: ignored.path.display().to_string(),
                    reason: ignored.why.to_string(),
                }));
        }
        Ok(outline)
    }

    /// What is odd.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn add_package(&mut self, package: PlannedPackage) {
        let phase = self.phases.iter_mut().find(|phase| phase.phase == package.phase);
        match phase {
            Some(phase) => phase.packages.push(package),
            None => self.warnings.push(format!(
                "element {}: package {} in phase {}, which is none",
                package.element, package.package, package.phase
            )),
        }
    }
}

/// A variable as hooks would see it: the caller's, or what a setting makes of it.
fn variable(plan: &BuildPlan, name: &str) -> Option<String> {
    let settings = &plan.settings;
    match name {
        "ARCH" => Some(settings.arch.clone()),
        "DIB_DEFAULT_INSTALLTYPE" => Some(settings.install_type.clone()),
        "IMAGE_NAME" => Some(settings.name.clone()),
        "FS_TYPE" => Some(settings.fs_type.clone()),
        "DIB_IMAGE_CACHE" => Some(settings.cache.display().to_string()),
        _ => {
            let value = plan.environment.get(name)?;
            Some(value.to_string_lossy().into_owned())
        }
    }
}

fn elements(plan: &BuildPlan) -> Vec<PlannedElement> {
    let elements = plan.elements.iter().zip(&plan.reasons);
    elements
        .map(|(element, reasons)| PlannedElement {
            name: element.name.clone(),
            place: element.origin.to_string(),
            provides: element.provides.clone(),
            reasons: reasons.clone(),
        })
        .collect()
}

fn snippets(plan: &BuildPlan) -> Vec<PlannedSnippet> {
    let files = plan.hooks.files("environment.d");
    let mut snippets: Vec<_> = files.filter(|(name, ..)| is_snippet_name(name)).collect();
    snippets.sort_by_key(|(name, ..)| name.to_vec());
    let snippet = |(name, _, entry): (&[u8], bool, &crate::element::hooks::Entry)| PlannedSnippet {
        snippet: String::from_utf8_lossy(name).into_owned(),
        element: entry.element.clone(),
        path: entry.from.display().to_string(),
    };
    snippets.into_iter().map(snippet).collect()
}

fn phases(plan: &BuildPlan) -> Result<Vec<PlannedPhase>> {
    let phase = |phase: Phase| {
        Ok(PlannedPhase {
            phase: phase.dir(),
            place: match phase.place() {
                Place::Host => "host",
                Place::Chroot => "chroot",
                Place::FirstBoot => "first boot",
            },
            hooks: plan.hooks_of(phase)?,
            packages: Vec::new(),
        })
    };
    Phase::ALL.into_iter().map(phase).collect()
}

fn outputs(plan: &BuildPlan) -> Vec<String> {
    let forbids = |name: &str| name.contains("no-final-image");
    if plan.elements.iter().any(|element| forbids(&element.name)) {
        return Vec::new();
    }
    plan.outputs().into_iter().map(|(path, _)| path).collect()
}

impl PlannedSettings {
    fn of(plan: &BuildPlan) -> Self {
        let settings = ROWS.iter().zip(&plan.settings.origins);
        let setting = |(row, origin): (&crate::settings::origins::Row, &Origin)| {
            let value = (row.value)(&plan.settings);
            let origin = *origin;
            (row.name, PlannedSetting { value, origin })
        };
        Self(settings.map(setting).collect())
    }
}

impl Serialize for PlannedSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, setting) in &self.0 {
            map.serialize_entry(name, setting)?;
        }
        map.end()
    }
}

/// A value as a line of text shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(truth) => if *truth { "yes" } else { "no" }.into(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".into(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(" "),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| match name.as_str() {
                "rule" => shown(value),
                unit => format!(
                    "{} {}",
                    shown(value),
                    unit.replace("kib", "KiB").replace("mib", "MiB")
                ),
            };
            fields.iter().rev().map(field).collect::<Vec<_>>().join(", ")
        }
    }
}

/// The plan for people.
impl fmt::Display for Outline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "settings")?;
        for (name, setting) in &self.settings.0 {
            let value = shown(&setting.value);
            writeln!(f, "    {name:<20} {value:<32} {}", setting.origin)?;
        }
        writeln!(f, "elements")?;
        for element in &self.elements {
            let reasons: Vec<String> = element.reasons.iter().map(ToString::to_string).collect();
            let PlannedElement { name, place, .. } = element;
            writeln!(f, "    {name:<24} {place}  ({})", reasons.join("; "))?;
        }
        if !self.environment_d.is_empty() {
            writeln!(f, "environment.d  (before every phase)")?;
        }
        for PlannedSnippet {
            snippet,
            element,
            path,
        } in &self.environment_d
        {
            writeln!(f, "    {snippet:<32} {element:<20} {path}")?;
        }
        self.phases.iter().try_for_each(|phase| self.phase(phase, f))?;
        if !self.ignored.is_empty() {
            writeln!(f, "ignored")?;
        }
        for PlannedIgnored {
            element,
            path,
            reason,
        } in &self.ignored
        {
            writeln!(f, "    {path:<32} {element:<20} {reason}")?;
        }
        if !self.fetches.is_empty() {
            writeln!(f, "fetches")?;
        }
        for fetch in &self.fetches {
            writeln!(f, "    {fetch}")?;
        }
        write!(f, "{}", self.layout)?;
        let outputs = match &self.outputs[..] {
            [] => "none".to_owned(),
            outputs => outputs.join("\n    "),
        };
        writeln!(f, "outputs\n    {outputs}")
    }
}

impl Outline {
    fn phase(&self, phase: &PlannedPhase, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packages = || {
            phase
                .packages
                .iter()
                .filter(|package| package.applies != Some(false))
        };
        if !phase.hooks.is_empty() || packages().next().is_some() {
            writeln!(f, "{}  ({})", phase.phase, phase.place)?;
        }
        for PlannedHook { hook, element, path } in &phase.hooks {
            writeln!(f, "    {hook:<32} {element:<20} {path}")?;
        }
        for package in packages() {
            let open = match &package.decided_by[..] {
                [] => String::new(),
                names => format!("  if {} says so", names.join(", ")),
            };
            let PlannedPackage {
                package,
                element,
                action,
                ..
            } = package;
            let what = format!("{action} {package}");
            writeln!(f, "    {what:<32} {element:<20} package{open}")?;
        }
        if phase.phase == "install.d" && !self.packages.is_empty() {
            writeln!(f, "packages  (chroot)\n    {}", self.packages.join(" "))?;
        }
        Ok(())
    }
}

impl fmt::Display for PlannedFetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self.element.as_deref().unwrap_or_default();
        let location = self.location.as_deref().unwrap_or("-");
        let what = format!("{} {}", self.kind, self.name);
        write!(f, "{what:<32} {from:<20} {location}")?;
        if let Some(reference) = &self.reference {
            write!(f, " {reference}")?;
        }
        if let Some(destination) = &self.destination {
            write!(f, " -> {destination}")?;
        }
        let cached = match (self.fetched, self.cached) {
            (true, Some(true)) => Some("cached".to_owned()),
            _ => None,
        };
        let not = (!self.fetched).then(|| "not fetched".to_owned());
        let by = self.overridden_by.iter().map(|name| format!("by {name}"));
        let notes: Vec<String> = not
            .into_iter()
            .chain(self.note.clone())
            .chain(by)
            .chain(cached)
            .collect();
        match &notes[..] {
            [] => Ok(()),
            notes => write!(f, "  ({})", notes.join("; ")),
        }
    }
}
