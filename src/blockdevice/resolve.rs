//! The nodes of a layout → the layout: what stands on what, every name known, every identity fixed.

use std::collections::HashMap;

use image_formats::gpt;

use super::config::{self, Config, Faults, Node};
use super::format::{Defaults, Format, Refusal, Wish};
use super::layout::{Disk, FIRST, FileSystem, Fstab, Layout, Mount, Partition, Place, Table, TableKind};
use super::sizes::Amount;
use super::volumes;
use crate::document::Value;
use crate::error::Error;
use crate::suggest::nearest;

/// Sectors that disks have.
const SECTORS: [u32; 2] = [512, 4096];

/// Why nodes make no layout.
#[derive(Debug)]
pub(super) enum Failure {
    /// The text is at fault, as [`Faults`] say.
    Text,
    /// What the user asked for is.
    Asked(Error),
}

/// Resolves the nodes of a text.
pub(super) fn resolve(
    config: &Config,
    defaults: &Defaults<'_>,
    origin: &str,
    faults: &mut Faults,
) -> Result<Layout, Failure> {
    let mut resolver = Resolver {
        nodes: &config.nodes,
        defaults,
        faults,
        places: HashMap::new(),
        taken: HashMap::new(),
        layout: Layout {
            origin: origin.to_owned(),
            disks: Vec::new(),
            groups: Vec::new(),
            filesystems: Vec::new(),
            warnings: Vec::new(),
        },
    };
    resolver.names();
    resolver.disks();
    resolver.tables();
    volumes::resolve(&mut resolver);
    let asked = resolver.filesystems();
    resolver.labels();
    resolver.whole();
    let mut layout = resolver.layout;
    if let Err(error) = asked {
        return Err(Failure::Asked(error));
    }
    layout.filesystems.sort_by(|a, b| {
        let point = |filesystem: &FileSystem| filesystem.mount.as_ref().map(|mount| mount.point.clone());
        // Those that are mounted nowhere come last.
        (point(a).is_none(), point(a)).cmp(&(point(b).is_none(), point(b)))
    });
    Ok(layout)
}

pub(super) struct Resolver<'a> {
    pub(super) nodes: &'a [Node],
    pub(super) defaults: &'a Defaults<'a>,
    pub(super) faults: &'a mut Faults,
    /// What a file system can stand on, by name.
    pub(super) places: HashMap<&'a str, Place>,
    /// What stands there already.
    taken: HashMap<&'a str, &'a str>,
    pub(super) layout: Layout,
}

impl<'a> Resolver<'a> {
    pub(super) fn of_sort(&self, sort: &str) -> impl Iterator<Item = &'a Node> + use<'a> {
        let sort = sort.to_owned();
        let nodes: &'a [Node] = self.nodes;
        nodes.iter().filter(move |node| node.sort == sort)
    }

    fn names(&mut self) {
        let mut seen: HashMap<&str, u64> = HashMap::new();
        let named = self.nodes.iter().filter(|node| node.sort != "partitioning");
        for node in named.filter(|node| !node.name.is_empty()) {
            if let Some(line) = seen.insert(&node.name, node.line) {
                let told = format!("Duplicate node name: {}; line {line} has it, too", node.name);
                self.faults.add(node.line, told);
            }
        }
    }

    /// The one node that a node stands on, which must be of one of these sorts.
    pub(super) fn base(&mut self, node: &Node, sorts: &[&str]) -> Option<&'a Node> {
        let Some(base) = node.base.first() else {
            let told = format!("{} {}: base is missing", node.sort, node.name);
            self.faults.add(node.line, told);
            return None;
        };
        self.named(node, &base.value, base.line, sorts)
    }

    /// The node of a name, which must be of one of these sorts.
    pub(super) fn named(&mut self, node: &Node, name: &str, line: u64, sorts: &[&str]) -> Option<&'a Node> {
        let nodes: &'a [Node] = self.nodes;
        let others = nodes.iter().filter(|other| other.sort != "partitioning");
        let found = others.clone().find(|other| other.name == name);
        match found {
            Some(found) if sorts.contains(&found.sort) => Some(found),
            Some(found) => {
                let told = format!(
                    "{} {}: base: '{name}' is a {}; expected a {}",
                    node.sort,
                    node.name,
                    found.sort,
                    sorts.join(" or a ")
                );
                self.faults.add(line, told);
                None
            }
            None => {
                let meant = nearest(name, others.map(|other| other.name.as_str()));
                let meant = meant.map_or(String::new(), |near| format!("; did you mean {near}?"));
                let told = format!(
                    "{} {}: base: there is no node '{name}'{meant}",
                    node.sort, node.name
                );
                self.faults.add(line, told);
                None
            }
        }
    }

    /// Where a node stands: nothing else may stand there.
    pub(super) fn stand_on(&mut self, node: &'a Node, sorts: &[&str]) -> Option<Place> {
        let base = self.base(node, sorts)?;
        if let Some(other) = self.taken.insert(&base.name, &node.name) {
            let told = format!(
                "{} {}: '{}' holds {other} already",
                node.sort, node.name, base.name
            );
            self.faults.add(node.line_of("base"), told);
            return None;
        }
        self.places.get(base.name.as_str()).copied()
    }

    fn disks(&mut self) {
        let given = self.defaults.environment.text("DIB_BLOCK_SIZE").ok().flatten();
        for node in self.of_sort("local_loop") {
            let size = node.read("size", self.faults, config::bytes);
            let said = node.read("block_size", self.faults, config::number);
            let wanted = match given {
                Some(text) => text.trim().parse().ok(),
                None => Some(said.unwrap_or(512)),
            };
            let sector = wanted.filter(|sector| SECTORS.contains(sector));
            if sector.is_none() {
                let text = given.map_or_else(|| said.unwrap_or(0).to_string(), str::to_owned);
                let from = if given.is_some() { "DIB_BLOCK_SIZE: " } else { "" };
                node.fault(
                    "block_size",
                    &format!("{from}'{text}' is neither 512 nor 4096"),
                    self.faults,
                );
            }
            if node.has("directory") {
                self.layout.warnings.push(format!(
                    "disk {}: directory is ignored: images go where -o says",
                    node.name
                ));
            }
            self.places
                .insert(&node.name, Place::Disk(self.layout.disks.len()));
            self.layout.disks.push(Disk {
                name: node.name.clone(),
                size,
                sector: sector.unwrap_or(512),
                table: None,
            });
        }
    }

    fn tables(&mut self) {
        let mut bases = Vec::new();
        for node in self.of_sort("partitioning") {
            let Some(Place::Disk(disk)) = self.stand_on(node, &["local_loop"]) else {
                continue;
            };
            bases.push(node.name.as_str());
            let label = node.must("label", self.faults, config::text);
            let identity = self.defaults.identity;
            let name = &self.layout.disks[disk].name;
            let kind = match label.as_deref() {
                Some("gpt") => TableKind::Gpt {
                    uuid: identity.uuid(&format!("gpt {name}")),
                },
                Some("mbr") => TableKind::Mbr {
                    id: disk_id(identity.uuid(&format!("mbr {name}"))),
                },
                Some(other) => {
                    node.fault("label", &format!("'{other}' is neither mbr nor gpt"), self.faults);
                    continue;
                }
                None => continue,
            };
            let align = node.read("align", self.faults, config::bytes);
            let mut table = Table {
                kind,
                align: align
                    .filter(|_| matches!(kind, TableKind::Mbr { .. }))
                    .unwrap_or(1 << 20),
                partitions: Vec::new(),
            };
            if table.align == 0 || !table.align.is_multiple_of(512) {
                node.fault("align", "is no multiple of the sector's 512 bytes", self.faults);
            }
            if matches!(kind, TableKind::Mbr { .. }) && self.layout.disks[disk].sector != 512 {
                let told = "mbr has sectors of 512 bytes; a disk with others needs gpt";
                node.fault("label", told, self.faults);
            }
            if !node.has("partitions") {
                let told = format!("partitioning {}: partitions is missing", node.name);
                self.faults.add(node.line, told);
            }
            self.partitions(&node.name, disk, &mut table);
            self.layout.disks[disk].table = Some(table);
        }
        for node in self.of_sort("partition") {
            let base = node.base.first().map(|base| base.value.as_str());
            if !bases.contains(&base.unwrap_or_default())
                && self
                    .of_sort("local_loop")
                    .any(|disk| Some(disk.name.as_str()) == base)
            {
                let told = format!("partition {}: its disk has no table", node.name);
                self.faults.add(node.line, told);
            }
        }
    }

    fn partitions(&mut self, disk_name: &str, disk: usize, table: &mut Table) {
        let nodes: Vec<&'a Node> = self
            .of_sort("partition")
            .filter(|node| node.base.first().is_some_and(|base| base.value == disk_name))
            .collect();
        let (mut primaries, mut logicals) = (0, 0);
        for node in nodes {
            let gpt = matches!(table.kind, TableKind::Gpt { .. });
            let flags = Flags::read(node, gpt, self.faults);
            let size = node.must("size", self.faults, config::amount);
            let code = node.read("type", self.faults, |value| match value {
                // `8E00` is a power of ten to YAML.
                Value::Fraction(_) => Err("expected a text, found a number; put it in quotes".into()),
                // `0x0c` is 12 to YAML, and `12` another type.
                Value::Whole(number) if !gpt => Err(format!(
                    "expected two hexadecimal digits in quotes, as '83'; without quotes YAML reads the number {number}"
                )),
                value => config::text(value),
            });
            let logical = !gpt && !flags.primary;
            if !gpt && flags.primary && logicals > 0 {
                node.fault(
                    "flags",
                    "a primary partition comes before all that are not",
                    self.faults,
                );
            }
            let number = if logical {
                logicals += 1;
                4 + logicals
            } else {
                primaries += 1;
                primaries
            };
            let code = match code {
                Some(code) if gpt => {
                    if gpt::kind(&code).is_none() {
                        let told =
                            format!("'{code}' is no type of a gpt: a code of sgdisk, or a GUID, in quotes");
                        node.fault("type", &told, self.faults);
                    }
                    code
                }
                Some(code) => mbr_type(node, &code, self.faults),
                None => if gpt { "8300" } else { "83" }.to_owned(),
            };
            self.places
                .insert(&node.name, Place::Partition(disk, table.partitions.len()));
            let purpose = format!("partition {} of {disk_name}", node.name);
            table.partitions.push(Partition {
                name: node.name.clone(),
                number,
                size: size.unwrap_or(Amount::Bytes(0)),
                code,
                boot: flags.boot,
                logical,
                uuid: self.defaults.identity.uuid(&purpose),
            });
            let most = if logicals > 0 { 3 } else { 4 };
            if !gpt && primaries > most {
                let told = format!("{primaries} primary partitions are more than an mbr has room for");
                node.fault("flags", &told, self.faults);
            }
        }
    }

    fn filesystems(&mut self) -> Result<(), Error> {
        let mut asked = Ok(());
        for node in self.of_sort("mkfs") {
            let place = self.stand_on(node, &["partition", "local_loop", "lv"]);
            let mount = self.mount(node);
            let wish = Wish {
                node: node.name.clone(),
                kind: node.text("type", self.faults),
                label: node.text("label", self.faults),
                opts: node.text("opts", self.faults),
                uuid: node.text("uuid", self.faults),
                mount_point: mount.as_ref().map(|mount| mount.point.clone()),
            };
            match (Format::of(&wish, self.defaults), place) {
                (Ok(format), Some(place)) => {
                    let root = mount.as_ref().is_some_and(|mount| mount.point == "/");
                    if root && !matches!(format, Format::Ext { .. }) {
                        let told = format!("a root is ext4, ext3 or ext2, not {}", format.name());
                        node.fault("type", &told, self.faults);
                    }
                    let mount = mount.map(|mount| settle(mount, &format));
                    self.layout.filesystems.push(FileSystem {
                        node: node.name.clone(),
                        format,
                        place,
                        mount,
                    });
                }
                (Ok(_), None) => {}
                (Err(Refusal::Key(key, told)), _) => node.fault(key, &told, self.faults),
                (Err(Refusal::Asked(error)), _) => asked = asked.and(Err(error)),
            }
        }
        for node in self.of_sort("mount") {
            self.base(node, &["mkfs"]);
        }
        for node in self.of_sort("fstab") {
            self.base(node, &["mount"]);
        }
        self.points();
        asked
    }

    /// Where a file system is mounted.
    fn mount(&mut self, mkfs: &Node) -> Option<Mount> {
        let stands_on = |node: &&Node, name: &str| node.base.first().is_some_and(|base| base.value == name);
        let mut mounts = self.of_sort("mount").filter(|node| stands_on(node, &mkfs.name));
        let node = mounts.next()?;
        if let Some(second) = mounts.next() {
            let told = format!("mount {}: '{}' is mounted already", second.name, mkfs.name);
            self.faults.add(second.line, told);
        }
        let point = node.must("mount_point", self.faults, config::text)?;
        let clean = point == "/"
            || point.starts_with('/') && point[1..].split('/').all(|part| !["", ".", ".."].contains(&part));
        if !clean && point != "none" {
            let told = format!("'{}' is no absolute path without detours", point.escape_debug());
            node.fault("mount_point", &told, self.faults);
        }
        let fstab = self.of_sort("fstab").find(|fstab| stands_on(fstab, &node.name));
        let fstab = fstab.map(|fstab| Fstab {
            options: fstab
                .text("options", self.faults)
                .unwrap_or_else(|| "defaults".into()),
            dump: fstab.read("dump-freq", self.faults, config::number).unwrap_or(0),
            pass: fstab
                .read("fsck-passno", self.faults, config::number)
                .unwrap_or(2),
        });
        Some(Mount { point, fstab })
    }

    fn points(&mut self) {
        let mut seen: HashMap<String, &str> = HashMap::new();
        for node in self.of_sort("mount") {
            let Some(point) = node.read("mount_point", &mut Faults::default(), config::text) else {
                continue;
            };
            if point == "none" {
                continue;
            }
            if let Some(other) = seen.insert(point.clone(), &node.name) {
                let told = format!("'{point}' is where {other} is mounted");
                node.fault("mount_point", &told, self.faults);
            }
        }
    }

    fn labels(&mut self) {
        let mut seen: HashMap<String, &str> = HashMap::new();
        for filesystem in &self.layout.filesystems {
            let label = filesystem.format.label();
            if let Some(other) = seen.insert(label.clone(), &filesystem.node) {
                let node = self.nodes.iter().find(|node| node.name == filesystem.node);
                let line = node.map_or(1, |node| node.line_of("label"));
                let told = format!(
                    "mkfs {}: label: '{label}' is the label of {other}, too",
                    filesystem.node
                );
                self.faults.add(line, told);
            }
        }
    }

    /// What every layout has.
    fn whole(&mut self) {
        let line = self.nodes.first().map_or(1, |node| node.line);
        if !self.layout.disks.iter().any(|disk| disk.name == FIRST) {
            let told = format!("no local_loop is called {FIRST}, whose image is the output");
            self.faults.add(line, told);
        }
        let rooted = self.of_sort("mount").any(|node| {
            let point = node.read("mount_point", &mut Faults::default(), config::text);
            point.as_deref() == Some("/")
        });
        if !rooted {
            self.faults.add(
                line,
                "nothing is mounted on /, where the root file system belongs",
            );
        }
    }
}

/// What is marked on a partition.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    boot: bool,
    primary: bool,
}

impl Flags {
    fn read(node: &Node, gpt: bool, faults: &mut Faults) -> Self {
        let mut flags = Self::default();
        for word in node.words("flags", faults) {
            match word.as_str() {
                "boot" => flags.boot = !gpt,
                "primary" if gpt => node.fault("flags", "a gpt knows no primary partitions", faults),
                "primary" => flags.primary = true,
                other => node.fault("flags", &format!("'{other}' is neither boot nor primary"), faults),
            }
        }
        flags
    }
}

/// Two hexadecimal digits.
fn mbr_type(node: &Node, code: &str, faults: &mut Faults) -> String {
    let digits = code.strip_prefix("0x").unwrap_or(code);
    match u8::from_str_radix(digits, 16) {
        Ok(kind) if kind > 0 && !digits.starts_with('+') => format!("{kind:02x}"),
        _ => {
            let told = format!("'{code}' is no type of an mbr: two hexadecimal digits, in quotes");
            node.fault("type", &told, faults);
            "83".into()
        }
    }
}

/// A disk's identity in an MBR, which is never 0.
fn disk_id(uuid: uuid::Uuid) -> u32 {
    uuid.as_fields().0.max(1)
}

/// Swap is mounted nowhere, and its line of fstab is always the same.
fn settle(mount: Mount, format: &Format) -> Mount {
    match format {
        Format::Swap { .. } => Mount {
            point: "none".into(),
            fstab: mount.fstab.map(|_| Fstab {
                options: "sw".into(),
                dump: 0,
                pass: 0,
            }),
        },
        _ => mount,
    }
}
