//! The YAML of a layout → its nodes, flat, or every fault with its line.
//!
//! A file is a list of maps of one key, the name of a module. In tree notation a key within a module's map that is itself the
//! name of a module is a child: its `base` is the parent's name unless it says another, and its name, unless it has one,
//! is `MODULE_BASE`. Flat (graph) notation names both. Entries of `partitions`, `pvs`, `vgs` and `lvs` are nodes too, and
//! all nodes share one namespace. A key that no module knows is left alone if its value is a plain one, with a warning;
//! a map or a list would be a part of the layout that silently is not made.

use super::sizes;
use crate::document::{self, Placed, Value};
use crate::suggest::nearest;

/// The modules, and the keys of each.
const MODULES: [(&str, &[&str]); 6] = [
    ("local_loop", &["name", "size", "directory", "block_size"]),
    ("partitioning", &["base", "label", "align", "partitions"]),
    ("lvm", &["name", "base", "pvs", "vgs", "lvs"]),
    ("mkfs", &["name", "base", "type", "label", "opts", "uuid"]),
    ("mount", &["name", "base", "mount_point"]),
    ("fstab", &["name", "base", "options", "dump-freq", "fsck-passno"]),
];
const PARTITION: &[&str] = &["name", "base", "size", "type", "flags"];
const PVS: &[&str] = &["name", "base", "options"];
const VGS: &[&str] = &["name", "base", "options"];
const LVS: &[&str] = &["name", "base", "size", "extents", "options", "type", "thin-pool"];

/// A part of a layout, as its text has it.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// What sort of part: a module, or one of `partition`, `pv`, `vg`, `lv`.
    pub(super) sort: &'static str,
    /// Its name; empty for a table, which is no node.
    pub(super) name: String,
    /// What it stands on.
    pub(super) base: Vec<Placed<String>>,
    /// Where it begins.
    pub(super) line: u64,
    /// Its keys and their values.
    keys: Vec<(Placed<String>, Placed<Value>)>,
}

/// What is wrong with a text, by line.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Vec<(u64, String)>);

impl Faults {
    pub(super) fn add(&mut self, line: u64, told: impl Into<String>) {
        self.0.push((line, told.into()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every fault with its place, in order; `None`: there is none.
    pub(super) fn told(mut self, place: &str) -> Option<String> {
        self.0.sort_by_key(|(line, _)| *line);
        let lines: Vec<String> = self
            .0
            .into_iter()
            .map(|(line, told)| format!("{place}:{line}: {told}"))
            .collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

/// What a text holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Config {
    /// The nodes, parents before their children.
    pub(super) nodes: Vec<Node>,
    /// Keys that nothing knows.
    pub(super) ignored: Vec<(u64, String)>,
}

type Keys = [(Placed<String>, Placed<Value>)];

/// Reads a text.
pub(super) fn parse(text: &str, faults: &mut Faults) -> Config {
    let mut reader = Reader {
        config: Config::default(),
        faults,
    };
    match document::parse(text, "layout") {
        Ok(document) => reader.entries(&document),
        Err((line, told)) => reader.faults.add(line.unwrap_or(1), told),
    }
    reader.config
}

struct Reader<'a> {
    config: Config,
    faults: &'a mut Faults,
}

impl Reader<'_> {
    fn entries(&mut self, document: &Placed<Value>) {
        let Value::List(entries) = &document.value else {
            let found = document.value.sort();
            let told = format!("expected a list of modules, found {found}");
            return self.faults.add(document.line, told);
        };
        for entry in entries {
            match &entry.value {
                Value::Map(keys) => {
                    if let [(key, value)] = &keys[..] {
                        self.entry(key, value);
                        continue;
                    }
                    let names: Vec<&str> = keys.iter().map(|(key, _)| key.value.as_str()).collect();
                    let told = format!(
                        "an entry should be a map of one key, the module; this one has {}: {}",
                        keys.len(),
                        names.join(", ")
                    );
                    self.faults.add(entry.line, told);
                }
                other => {
                    let told = format!("an entry should be a map of one module, found {}", other.sort());
                    self.faults.add(entry.line, told);
                }
            }
        }
    }

    fn entry(&mut self, key: &Placed<String>, value: &Placed<Value>) {
        let module = MODULES.iter().find(|(name, _)| *name == key.value);
        if let Some((name, known)) = module {
            return self.node(name, known, value, None);
        }
        let names: Vec<&str> = MODULES.iter().map(|(name, _)| *name).collect();
        let meant = match nearest(&key.value, names.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("the modules are {}", names.join(", ")),
        };
        let told = format!("unknown module '{}'; {meant}", key.value);
        self.faults.add(key.line, told);
    }

    /// Reads a node and its children.
    fn node(
        &mut self,
        sort: &'static str,
        known: &[&'static str],
        value: &Placed<Value>,
        parent: Option<&Placed<String>>,
    ) {
        let Value::Map(keys) = &value.value else {
            let found = value.value.sort();
            return self
                .faults
                .add(value.line, format!("{sort}: expected a map, found {found}"));
        };
        let base = self.base(sort, keys, parent);
        let name = self.name(sort, keys, &base, value.line);
        let at = Placed {
            value: name.clone(),
            line: value.line,
        };
        self.config.nodes.push(Node {
            sort,
            name,
            base,
            line: value.line,
            keys: keys.clone(),
        });
        for (key, value) in keys {
            let child = MODULES.iter().find(|(name, _)| *name == key.value);
            let lists = [
                ("partitions", "partition", PARTITION),
                ("pvs", "pv", PVS),
                ("vgs", "vg", VGS),
                ("lvs", "lv", LVS),
            ];
            let list = lists.into_iter().find(|(name, ..)| *name == key.value);
            match (child, list) {
                (Some((name, known)), _) => {
                    // A table is no node: what stands on it stands on what it divides.
                    self.node(name, known, value, Some(&at));
                }
                (None, Some((name, sort, of))) if known.contains(&name) => {
                    let table = (sort == "partition").then_some(&at);
                    self.list(sort, of, value, table);
                }
                _ if known.contains(&key.value.as_str()) => {}
                _ => self.unknown(sort, known, key, value),
            }
        }
    }

    fn list(
        &mut self,
        sort: &'static str,
        known: &[&'static str],
        list: &Placed<Value>,
        parent: Option<&Placed<String>>,
    ) {
        let Value::List(items) = &list.value else {
            let found = list.value.sort();
            return self
                .faults
                .add(list.line, format!("expected a list of {sort}s, found {found}"));
        };
        for item in items {
            self.node(sort, known, item, parent);
        }
    }

    fn base(&mut self, sort: &str, keys: &Keys, parent: Option<&Placed<String>>) -> Vec<Placed<String>> {
        let Some((_, value)) = keys.iter().find(|(key, _)| key.value == "base") else {
            return parent.cloned().into_iter().collect();
        };
        let items = match &value.value {
            Value::List(items) if sort == "vg" => items.as_slice(),
            _ => std::slice::from_ref(value),
        };
        let mut bases = Vec::new();
        for item in items {
            match plain(&item.value) {
                Ok(text) => bases.push(Placed {
                    value: text,
                    line: item.line,
                }),
                Err(told) => self.faults.add(item.line, format!("{sort}: base: {told}")),
            }
        }
        bases
    }

    fn name(&mut self, sort: &str, keys: &Keys, base: &[Placed<String>], line: u64) -> String {
        if let Some((_, value)) = keys.iter().find(|(key, _)| key.value == "name") {
            return match plain(&value.value) {
                Ok(name) if is_name(&name) => name,
                Ok(name) => {
                    let told = format!("{sort}: '{}' cannot be a name", name.escape_debug());
                    self.faults.add(value.line, told);
                    name
                }
                Err(told) => {
                    self.faults.add(value.line, format!("{sort}: name: {told}"));
                    String::new()
                }
            };
        }
        match base {
            // Of a disk there is one table, and it goes by the disk's name.
            [base] if sort == "partitioning" => base.value.clone(),
            [base, ..] if ["lvm", "mkfs", "mount", "fstab"].contains(&sort) => {
                format!("{sort}_{}", base.value)
            }
            [] if sort == "partitioning" => {
                self.faults.add(line, "partitioning: base is missing");
                String::new()
            }
            _ => {
                let wanted = match sort {
                    "mkfs" | "mount" | "fstab" => "neither name nor base is there",
                    _ => "name is missing",
                };
                self.faults.add(line, format!("{sort}: {wanted}"));
                String::new()
            }
        }
    }

    fn unknown(&mut self, sort: &str, known: &[&str], key: &Placed<String>, value: &Placed<Value>) {
        let modules = MODULES.iter().map(|(name, _)| *name);
        let meant = nearest(&key.value, known.iter().copied().chain(modules));
        let meant = meant.map_or(String::new(), |near| format!("; did you mean {near}?"));
        match &value.value {
            Value::Map(_) | Value::List(_) => {
                let told = format!("{sort}: unknown module '{}'{meant}", key.value);
                self.faults.add(key.line, told);
            }
            _ => {
                let told = format!("{sort}: the key '{}' is ignored{meant}", key.value);
                self.config.ignored.push((key.line, told));
            }
        }
    }
}

/// A name becomes part of paths, of names of outputs and of the table: one plain word.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
    !name.is_empty() && name.len() <= 64 && name.chars().all(plain) && !name.starts_with(['.', '-'])
}

/// A plain value as its text.
fn plain(value: &Value) -> Result<String, String> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        Value::Whole(number) => Ok(number.to_string()),
        Value::Fraction(number) => Ok(number.to_string()),
        Value::Truth(_) => Err("expected a text, found true or false; put it in quotes".into()),
        other => Err(format!("expected a text, found {}", other.sort())),
    }
}

impl Node {
    fn get(&self, key: &str) -> Option<&Placed<Value>> {
        let found = self.keys.iter().find(|(known, _)| known.value == key);
        found
            .map(|(_, value)| value)
            .filter(|value| value.value != Value::Nothing)
    }

    /// The line of a key, or of the node where it has not.
    pub(super) fn line_of(&self, key: &str) -> u64 {
        self.get(key).map_or(self.line, |value| value.line)
    }

    /// Says what is wrong with a key.
    pub(super) fn fault(&self, key: &str, told: &str, faults: &mut Faults) {
        let name = if self.name.is_empty() {
            String::new()
        } else {
            format!(" {}", self.name)
        };
        faults.add(self.line_of(key), format!("{}{name}: {key}: {told}", self.sort));
    }

    /// A text, if the key is there.
    pub(super) fn text(&self, key: &str, faults: &mut Faults) -> Option<String> {
        self.read(key, faults, plain)
    }

    /// Reads the value of a key, if it is there.
    pub(super) fn read<T>(
        &self,
        key: &str,
        faults: &mut Faults,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        match read(&self.get(key)?.value) {
            Ok(value) => Some(value),
            Err(told) => {
                self.fault(key, &told, faults);
                None
            }
        }
    }

    /// The value of a key that must be there.
    pub(super) fn must<T>(
        &self,
        key: &str,
        faults: &mut Faults,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        if self.get(key).is_none() {
            let name = &self.name;
            faults.add(self.line, format!("{} {name}: {key} is missing", self.sort));
        }
        self.read(key, faults, read)
    }

    /// A list of texts; a single one is a list, too.
    pub(super) fn words(&self, key: &str, faults: &mut Faults) -> Vec<String> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let items = match &value.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(value),
        };
        let mut words = Vec::new();
        for item in items {
            match plain(&item.value) {
                Ok(word) => words.push(word),
                Err(told) => self.fault(key, &told, faults),
            }
        }
        words
    }

    /// Whether the key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }
}

/// A plain text.
pub(super) fn text(value: &Value) -> Result<String, String> {
    plain(value)
}

/// A size in bytes.
pub(super) fn bytes(value: &Value) -> Result<u64, String> {
    sizes::bytes(&plain(value)?)
}

/// A size in bytes, or a part of the whole.
pub(super) fn amount(value: &Value) -> Result<sizes::Amount, String> {
    sizes::amount(&plain(value)?)
}

/// A small number.
pub(super) fn number(value: &Value) -> Result<u32, String> {
    let text = plain(value)?;
    text.parse().map_err(|_| format!("'{text}' is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(text: &str) -> Vec<(String, String, String)> {
        let mut faults = Faults::default();
        let config = parse(text, &mut faults);
        assert_eq!(faults.told("f"), None);
        let bases = |node: &Node| {
            let bases: Vec<&str> = node.base.iter().map(|base| base.value.as_str()).collect();
            bases.join(" ")
        };
        config
            .nodes
            .iter()
            .map(|node| (node.sort.to_owned(), node.name.clone(), bases(node)))
            .collect()
    }

    #[test]
    fn tree_and_graph_notation_say_the_same() {
        let tree = flat(
            "- local_loop:\n    name: image0\n    partitioning:\n      label: gpt\n      partitions:\n        - name: root\n          size: 100%\n          mkfs:\n            mount:\n              mount_point: /\n              fstab: {options: ro}\n",
        );
        let graph = flat(
            "- fstab: {name: fstab_mount_mkfs_root, base: mount_mkfs_root}\n- mount: {base: mkfs_root, mount_point: /}\n- mkfs: {base: root}\n- partitioning:\n    base: image0\n    label: gpt\n    partitions:\n      - {name: root, size: 100%}\n- local_loop: {name: image0}\n",
        );
        let sorted = |mut nodes: Vec<(String, String, String)>| {
            nodes.sort();
            nodes
        };
        assert_eq!(sorted(tree.clone()), sorted(graph));
        let names: Vec<&str> = tree.iter().map(|(_, name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "image0",
                "image0",
                "root",
                "mkfs_root",
                "mount_mkfs_root",
                "fstab_mount_mkfs_root"
            ]
        );
    }

    #[test]
    fn faults_have_their_lines() {
        for (text, told) in [
            ("a: b", "f:1: expected a list of modules, found a map"),
            ("", "f:1: expected a list of modules, found nothing"),
            ("- x", "f:1: an entry should be a map of one module, found a text"),
            (
                "- local_loop: {name: a}\n  mkfs: {base: a}",
                "f:1: an entry should be a map of one key, the module; this one has 2: local_loop, mkfs",
            ),
            (
                "\n- local_lop: {name: a}",
                "f:2: unknown module 'local_lop'; did you mean local_loop?",
            ),
            (
                "- luks: {}",
                "f:1: unknown module 'luks'; the modules are local_loop, partitioning, lvm, mkfs, mount, fstab",
            ),
            (
                "- partition: {name: x}",
                "f:1: unknown module 'partition'; did you mean partitioning?",
            ),
            ("- local_loop: x", "f:1: local_loop: expected a map, found a text"),
            (
                "- local_loop:\n    size: 1GiB",
                "f:2: local_loop: name is missing",
            ),
            (
                "- mkfs:\n    type: ext4",
                "f:2: mkfs: neither name nor base is there",
            ),
            (
                "- partitioning:\n    label: gpt",
                "f:2: partitioning: base is missing",
            ),
            (
                "- local_loop: {name: ../x}",
                "f:1: local_loop: '../x' cannot be a name",
            ),
            (
                "- local_loop: {name: [x]}",
                "f:1: local_loop: name: expected a text, found a list",
            ),
            (
                "- local_loop:\n    name: a\n    luks:\n      key: x\n",
                "f:3: local_loop: unknown module 'luks'",
            ),
            (
                "- partitioning: {base: a, label: gpt, partitions: x}",
                "f:1: expected a list of partitions, found a text",
            ),
            ("- a\n---\n- b", "f:3: a second document; a file holds one layout"),
        ] {
            let mut faults = Faults::default();
            parse(text, &mut faults);
            assert_eq!(faults.told("f").as_deref(), Some(told), "{text}");
        }
    }

    #[test]
    fn plain_keys_that_nothing_knows_are_ignored_aloud() {
        let mut faults = Faults::default();
        let config = parse(
            "- local_loop:\n    name: a\n    sise: 1\n    colour: red\n",
            &mut faults,
        );
        assert_eq!(faults.told("f"), None);
        assert_eq!(
            config.ignored,
            [
                (
                    3,
                    "local_loop: the key 'sise' is ignored; did you mean size?".to_owned()
                ),
                (4, "local_loop: the key 'colour' is ignored".to_owned())
            ]
        );
    }
}
