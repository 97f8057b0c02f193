//! A build plan: everything decided, nothing done.
//!
//! Settings, elements, the tree of hooks and the identity are fixed before the first hook runs, so that a mistake costs
//! seconds, and so that `dib plan` can print what a build would do, hook by hook.

mod disks;
pub mod fetches;
pub mod outline;
pub mod packages;

use std::path::Path;

use image_core::Identity;
use serde::Serialize;

use crate::blockdevice::{self, Defaults, Layout};
use crate::breaks::Breaks;
use crate::element::hooks::HookTree;
use crate::element::library::{self, Element, Library};
use crate::element::reasons::{Reason, reasons};
use crate::element::resolve::{IMPLICIT, implicit_notice, resolve_image};
use crate::environment::Environment;
use crate::error::{Context, Error, Result};
use crate::identity;
use crate::output;
use crate::phase::Phase;
use crate::pipeline::name_of;
use crate::ramdisk;
use crate::runner::{hook_names, hook_order, is_hook_name};
use crate::settings::origins::Origin;
use crate::settings::{Settings, WordOrigin, idle};
use crate::ui::events::{Event, Target};

/// Everything about a build.
#[derive(Clone, Debug)]
pub struct BuildPlan {
    /// What was asked for.
    pub settings: Settings,
    /// The caller's environment.
    pub environment: Environment,
    /// The elements, in order.
    pub elements: Vec<Element>,
    /// Why each of them is one.
    pub reasons: Vec<Vec<Reason>>,
    /// Where it stops for a shell.
    pub breaks: Breaks,
    /// What is odd about all this.
    pub warnings: Vec<String>,
    /// The tree of hooks that they make.
    pub hooks: HookTree,
    /// The disks.
    pub layout: Layout,
    /// The text that describes them.
    pub layout_text: String,
    /// UUIDs and time stamps.
    pub identity: Identity,
}

impl BuildPlan {
    /// Decides everything.
    pub fn new(mut settings: Settings, environment: Environment) -> Result<Self> {
        let own = |origin: &WordOrigin| matches!(origin, WordOrigin::Base | WordOrigin::Ramdisk);
        let mut words = settings.elements.iter().zip(&settings.word_origins);
        if words.all(|(word, origin)| word == "base" || own(origin)) {
            let example = if settings.ramdisk {
                "ramdisk-image-create -o ramdisk debian-minimal"
            } else {
                "disk-image-create -o image debian-minimal"
            };
            return Err(
                Error::usage("At least one distribution root element must be specified")
                    .hint(format!("for example: {example}")),
            );
        }
        let library = Library::load(&settings.elements_path)?;
        let (elements, implicit) = resolve_image(&library, &settings.elements, settings.strict)?;
        if implicit {
            settings.elements.push(IMPLICIT.to_owned());
            settings.word_origins.push(WordOrigin::Implicit);
        }
        let hooks = HookTree::merge(&elements)?;
        let words = settings.elements.iter().map(String::as_str);
        let words: Vec<_> = words.zip(settings.word_origins.iter().copied()).collect();
        let reasons = reasons(&library, &words, &elements);
        let elements: Vec<Element> = elements.into_iter().cloned().collect();
        let name = format!("{} {}", settings.base_name(), settings.elements.join(" "));
        let identity = identity::fix(&settings.repeat, &name).host(|| "cannot get a random seed".into())?;
        let defaults = Defaults {
            settings: &settings,
            environment: &environment,
            identity,
        };
        let (layout, layout_text) = blockdevice::decide(&elements, &defaults)?;
        // `-L` among the options of the file system is a label too.
        let label = layout.root().format.label();
        if label != settings.root_label && layout.is_bare() {
            settings.set("root_label", Origin::Flag("--mkfs-options"));
            settings.root_label = label;
        }
        check_listing(&settings)?;
        if settings.ramdisk {
            output::ramdisk::check(&settings.name)?;
            ramdisk::check(&environment)?;
        } else {
            check_formats(&settings, &layout, identity)?;
            output::archive::Facts::new(&settings, &environment, identity)?;
        }
        let breaks = Breaks::of(&environment)?;
        let names = hook_names(&environment)?;
        let warnings = [
            settings.warnings(),
            idle::warnings(&environment),
            implicit.then(implicit_notice).into_iter().collect(),
            breaks.warnings(),
            library.warnings().to_vec(),
            hooks.warnings(&names),
            layout.warnings.clone(),
        ];
        Ok(Self {
            settings,
            environment,
            elements,
            reasons,
            breaks,
            warnings: warnings.concat(),
            hooks,
            layout,
            layout_text,
            identity,
        })
    }

    /// How long disks shall be whose layout leaves it open; `None`: as long as they need.
    ///
    /// Of the variable, but not of the option, the original program is known to take 525 MiB more for an EFI system
    /// partition, and callers know its sums.
    pub fn disk_size(&self) -> Option<u64> {
        const PADDING: u64 = 525 << 20;
        let bytes = self.settings.disk_size()?;
        let efi = self
            .elements
            .iter()
            .any(|element| element.name.contains("block-device-efi"));
        let padding = if efi && self.settings.size_is_inherited() {
            PADDING
        } else {
            0
        };
        Some(bytes + padding)
    }

    /// Whether there shall be outputs: an element whose name says so forbids them.
    pub fn wants_image(&self) -> bool {
        let forbids = |element: &Element| element.name.contains("no-final-image");
        !self.elements.iter().any(forbids)
    }

    /// Whether the root is made by our own bootstrap, which runs programs of its packages.
    pub fn bootstraps(&self) -> bool {
        self.elements
            .iter()
            .any(|element| element.name == "debootstrap" && element.origin == library::Origin::BuiltIn)
    }

    /// Whether files get the labels of the tree's policy: for an element that promises it.
    pub fn wants_labels(&self) -> bool {
        self.elements
            .iter()
            .any(|element| element.name == "selinux-fixfiles-restore")
    }

    /// The hooks of a phase, as far as elements bring them: `extra-data.d` may add more.
    pub fn hooks_of(&self, phase: Phase) -> Result<Vec<PlannedHook>> {
        let names = hook_names(&self.environment)?;
        let dir = phase.dir();
        let files = self.hooks.files(&dir);
        let runs = files.filter(|(name, run, _)| *run && is_hook_name(&names, name));
        let mut hooks: Vec<_> = runs.collect();
        hooks.sort_by(|(a, ..), (b, ..)| hook_order(a, b));
        let hook = |(name, _, entry): (&[u8], bool, &crate::element::hooks::Entry)| PlannedHook {
            hook: String::from_utf8_lossy(name).into_owned(),
            element: entry.element.clone(),
            path: entry.from.display().to_string(),
        };
        Ok(hooks.into_iter().map(hook).collect())
    }

    /// The cache of compilations that chroot phases see: element `base` promises it.
    pub fn compile_cache(&self) -> Option<&Path> {
        let base = self.elements.iter().any(|element| element.name == "base");
        self.settings.ccache.as_deref().filter(|_| base)
    }

    /// The outputs with their formats, disk by disk; those of a ramdisk, if it is one.
    pub fn outputs(&self) -> Vec<(String, String)> {
        let Settings { name, formats, .. } = &self.settings;
        if self.settings.ramdisk {
            let suffixes = output::ramdisk::SUFFIXES.iter();
            return suffixes
                .map(|suffix| (format!("{name}.{suffix}"), (*suffix).to_owned()))
                .collect();
        }
        let disks = self.layout.disks.iter().map(|disk| name_of(name, &disk.name));
        let outputs = disks.flat_map(|name| {
            let words = formats.iter().map(ToString::to_string);
            words.map(move |word| (format!("{name}.{word}"), word))
        });
        outputs.collect()
    }

    /// The event that begins a build.
    pub fn started(&self) -> Event {
        Event::BuildStarted {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            architecture: self.settings.arch.clone(),
            elements: self.elements.iter().map(|element| element.name.clone()).collect(),
            outputs: self
                .outputs()
                .into_iter()
                .map(|(path, format)| Target { path, format })
                .collect(),
        }
    }
}

/// Refuses options that a type of image does not follow, and disks that are longer than one can be.
fn check_formats(settings: &Settings, layout: &Layout, identity: Identity) -> Result<()> {
    let rules = output::Rules::of(settings, identity, 0);
    rules.check(&settings.formats)?;
    let given = |disk: &blockdevice::layout::Disk| disk.size.or(settings.disk_size());
    for len in layout.disks.iter().filter_map(given) {
        rules.check_len(&settings.formats, rules.rounded(&settings.formats, len))?;
    }
    Ok(())
}

/// Fails if a list of packages is wanted that has no name to stand beside.
fn check_listing(settings: &Settings) -> Result<()> {
    if settings.sbom && settings.name == output::stdout::NAME {
        return Err(Error::usage("--sbom needs a name beside which to write").hint("-o NAME gives one"));
    }
    Ok(())
}

/// A hook of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedHook {
    /// Its name.
    pub hook: String,
    /// The element that brought it.
    pub element: String,
    /// Where it lies.
    pub path: String,
}
