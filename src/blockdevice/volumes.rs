//! LVM's nodes → volume groups: physical volumes on partitions or disks, linear logical volumes.

use super::config::{self, Faults, Node};
use super::layout::{Group, Logical, Physical, Place, Volume};
use super::resolve::Resolver;
use super::sizes;
use crate::document::Value;

/// Bytes of an extent, unless a group says otherwise.
const EXTENT: u64 = 4 << 20;

/// Words of LVM's programs that change nothing of what is made here.
const IDLE: [&str; 10] = [
    "-f",
    "-ff",
    "--force",
    "-y",
    "--yes",
    "-q",
    "--quiet",
    "-v",
    "--verbose",
    "--",
];

pub(super) fn resolve(resolver: &mut Resolver<'_>) {
    for node in resolver.of_sort("lvm") {
        for list in ["pvs", "vgs", "lvs"] {
            if !node.has(list) {
                let told = format!("lvm {}: {list} is missing", node.name);
                resolver.faults.add(node.line, told);
            }
        }
    }
    let mut physical = Vec::new();
    for node in resolver.of_sort("pv") {
        idle(node, resolver.faults);
        if let Some(place) = resolver.stand_on(node, &["partition", "local_loop"]) {
            let name = node.name.clone();
            physical.push((node, Physical { name, place }));
        }
    }
    let mut used: Vec<&str> = Vec::new();
    for node in resolver.of_sort("vg") {
        let mut group = Group {
            name: node.name.clone(),
            extent: extent(node, resolver.faults),
            physical: Vec::new(),
            logical: Vec::new(),
        };
        if node.base.is_empty() {
            let told = format!("vg {}: base is missing", node.name);
            resolver.faults.add(node.line, told);
        }
        for base in &node.base {
            let Some(pv) = resolver.named(node, &base.value, base.line, &["pv"]) else {
                continue;
            };
            if used.contains(&pv.name.as_str()) {
                let told = format!("vg {}: base: '{}' belongs to a group already", node.name, pv.name);
                resolver.faults.add(base.line, told);
            }
            used.push(&pv.name);
            let found = physical.iter().find(|(known, _)| known.name == pv.name);
            group.physical.extend(found.map(|(_, physical)| physical.clone()));
        }
        resolver.layout.groups.push(group);
    }
    for node in resolver
        .of_sort("pv")
        .filter(|node| !used.contains(&node.name.as_str()))
    {
        let told = format!("pv {}: it belongs to no volume group", node.name);
        resolver.faults.add(node.line, told);
    }
    logical(resolver);
}

fn logical(resolver: &mut Resolver<'_>) {
    for node in resolver.of_sort("lv") {
        for key in ["type", "thin-pool"] {
            if node.has(key) {
                let told = "thin pools are not written here, only linear volumes";
                node.fault(key, told, resolver.faults);
            }
        }
        idle(node, resolver.faults);
        let size = size(node, resolver.faults);
        let Some(base) = resolver.base(node, &["vg"]) else {
            continue;
        };
        let groups = &mut resolver.layout.groups;
        let Some(index) = groups.iter().position(|group| group.name == base.name) else {
            continue;
        };
        let name = node.name.clone();
        let place = Place::Logical(index, groups[index].logical.len());
        groups[index].logical.push(Logical { name, size });
        resolver.places.insert(&node.name, place);
    }
}

/// `size`, or `extents`.
fn size(node: &Node, faults: &mut Faults) -> Volume {
    if node.has("size") && node.has("extents") {
        node.fault("extents", "there is a size, too", faults);
    }
    if node.has("size") {
        let bytes = node.read("size", faults, config::bytes);
        return Volume::Bytes(bytes.unwrap_or(EXTENT));
    }
    let extents = node.must("extents", faults, |value: &Value| {
        let text = config::text(value)?;
        let share = |number: &str, of: fn(sizes::Decimal) -> Volume| sizes::percent(number).map(of);
        match text.split_once('%') {
            Some((number, "VG")) => share(number, Volume::OfGroup),
            Some((number, "FREE")) => share(number, Volume::OfFree),
            Some(_) => Err(format!("'{text}' is a part of neither %VG nor %FREE")),
            None => match text.parse() {
                Ok(number) if number > 0 => Ok(Volume::Extents(number)),
                _ => Err(format!("'{text}' is no number of extents")),
            },
        }
    });
    extents.unwrap_or(Volume::Extents(1))
}

/// The size of a group's extents, which `vgcreate` calls `-s`.
fn extent(node: &Node, faults: &mut Faults) -> u64 {
    let words = node.words("options", faults);
    let mut words = words.iter().map(String::as_str);
    let mut extent = EXTENT;
    while let Some(word) = words.next() {
        let (option, value) = word
            .split_once('=')
            .map_or((word, None), |(option, value)| (option, Some(value)));
        if !["-s", "--physicalextentsize"].contains(&option) {
            unless_idle(word, node, faults);
            continue;
        }
        let text = value.or_else(|| words.next()).unwrap_or_default();
        // LVM counts by 1024, and by MiB where it is told no unit.
        let number = text.trim_end_matches(['m', 'M', 'k', 'K', 'g', 'G']);
        let factor = match text[number.len()..].to_ascii_lowercase().as_str() {
            "k" => 1 << 10,
            "g" => 1 << 30,
            _ => 1 << 20,
        };
        match number.parse::<u64>().map(|number| number.saturating_mul(factor)) {
            Ok(bytes) if bytes.is_power_of_two() && (4096..=1 << 34).contains(&bytes) => extent = bytes,
            _ => node.fault("options", &format!("'{text}' is no size of an extent"), faults),
        }
    }
    extent
}

fn idle(node: &Node, faults: &mut Faults) {
    for word in node.words("options", faults) {
        unless_idle(&word, node, faults);
    }
}

fn unless_idle(word: &str, node: &Node, faults: &mut Faults) {
    if !IDLE.contains(&word) {
        let told = format!("'{word}' has no place here: the volumes are written without LVM's programs");
        node.fault("options", &told, faults);
    }
}
