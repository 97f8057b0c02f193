//! Entries → images, merged by name; an image → the command line that builds it.

use std::fmt;

use super::schema::{Entry, KEYS, LOCKED, Said, Setting, Shape};
use crate::cli::shell::quoted;

/// What an entry without a name belongs to, if none had one before.
const FIRST_NAME: &str = "image";

/// The key that names an image: the first of the table.
const NAME: usize = 0;

/// An image to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) name: String,
    /// What was said about it, one for each key, in the order of the table.
    said: Vec<Said>,
}

/// The images in the order in which they are first named.
pub(super) fn merge(entries: Vec<Entry>) -> Vec<Image> {
    let mut images: Vec<Image> = Vec::new();
    let mut name = FIRST_NAME.to_owned();
    for entry in entries {
        for said in &entry {
            if let (NAME, Setting::Text(text)) = (said.key, &said.setting) {
                name.clone_from(text);
            }
        }
        let at = images
            .iter()
            .position(|image| image.name == name)
            .unwrap_or_else(|| {
                images.push(Image {
                    name: name.clone(),
                    said: Vec::new(),
                });
                images.len() - 1
            });
        for said in entry {
            images[at].add(said);
        }
    }
    images
}

impl Image {
    /// Joins a list, updates a map, replaces everything else.
    fn add(&mut self, said: Said) {
        let at = match self.said.binary_search_by_key(&said.key, |known| known.key) {
            Err(at) => return self.said.insert(at, said),
            Ok(at) => at,
        };
        match (&mut self.said[at].setting, said.setting) {
            (Setting::Words(words), Setting::Words(more)) => words.extend(more),
            (Setting::Pairs(pairs), Setting::Pairs(more)) => {
                for (name, value) in more {
                    match pairs.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, old)) => *old = value,
                        None => pairs.push((name, value)),
                    }
                }
            }
            (old, new) => {
                *old = new;
                self.said[at].place = said.place;
            }
        }
    }

    fn ramdisk(&self) -> Option<&Said> {
        let chooses = |said: &&Said| KEYS[said.key].shape == Shape::Command;
        let said = self.said.iter().find(chooses);
        said.filter(|said| said.setting == Setting::Truth(true))
    }

    /// The command that builds it.
    pub(super) fn command(&self) -> &'static str {
        match self.ramdisk() {
            Some(_) => "ramdisk-image-create",
            None => "disk-image-create",
        }
    }

    /// The variables that the command gets besides those of the caller.
    fn environment(&self) -> &[(String, String)] {
        let variables = |said: &&Said| KEYS[said.key].shape == Shape::Variables;
        match self.said.iter().find(variables).map(|said| &said.setting) {
            Some(Setting::Pairs(pairs)) => pairs,
            _ => &[],
        }
    }

    /// What builds it.
    pub(super) fn building(&self) -> Call<'_> {
        Call {
            command: self.command(),
            arguments: self.arguments(),
            environment: self.environment(),
        }
    }

    /// What writes the lock that it names; `None`: it names none.
    pub(super) fn locking(&self) -> Option<Call<'_>> {
        let lock = self.said.iter().find(|said| KEYS[said.key].option == LOCKED)?;
        let Setting::Text(file) = &lock.setting else {
            return None;
        };
        let mut open = self.clone();
        open.said.retain(|said| KEYS[said.key].option != LOCKED);
        let words = ["lock", "--file", file].map(str::to_owned);
        Some(Call {
            command: "dib",
            arguments: words.into_iter().chain(open.arguments()).collect(),
            environment: self.environment(),
        })
    }

    /// The arguments of the command.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![KEYS[NAME].option.to_owned(), self.name.clone()];
        for said in self.said.iter().filter(|said| said.key != NAME) {
            let key = &KEYS[said.key];
            let option = || key.option.to_owned();
            match (&said.setting, key.shape) {
                (_, Shape::Variables | Shape::Command) | (Setting::Truth(false), _) => {}
                (Setting::Truth(true), _) => arguments.push(option()),
                (Setting::Text(text), _) => arguments.extend([option(), text.clone()]),
                (Setting::Number(times), Shape::Times(_)) => {
                    arguments.extend((0..*times).map(|_| option()));
                }
                (Setting::Number(number), _) => arguments.extend([option(), number.to_string()]),
                (Setting::Words(words), _) if key.option.is_empty() => {
                    // Nothing after it can be taken for an option.
                    if words.iter().any(|word| word.starts_with('-')) {
                        arguments.push("--".to_owned());
                    }
                    arguments.extend(words.iter().cloned());
                }
                (Setting::Words(words), _) if words.is_empty() => {}
                (Setting::Words(words), _) => arguments.extend([option(), words.join(",")]),
                (Setting::Pairs(pairs), _) if pairs.is_empty() => {}
                (Setting::Pairs(pairs), _) => {
                    let pairs: Vec<_> = pairs
                        .iter()
                        .map(|(name, value)| format!("{name}={value}"))
                        .collect();
                    arguments.extend([option(), pairs.join(",")]);
                }
            }
        }
        arguments
    }
}

/// What is run for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call<'a> {
    /// The command.
    pub(super) command: &'static str,
    /// Its arguments.
    pub(super) arguments: Vec<String>,
    /// The variables that it gets besides those of the caller.
    pub(super) environment: &'a [(String, String)],
}

/// The command line as a shell would take it, variables first.
impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.environment {
            write!(f, "{name}={} ", quoted(value))?;
        }
        write!(f, "{}", self.command)?;
        self.arguments
            .iter()
            .try_for_each(|argument| write!(f, " {}", quoted(argument)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::check;
    use super::*;

    fn lines(texts: &[&str]) -> Vec<String> {
        let entries = texts.iter().flat_map(|text| check("f", text).unwrap());
        let images = merge(entries.collect());
        images.iter().map(|image| image.building().to_string()).collect()
    }

    #[test]
    fn every_key_becomes_its_option_in_the_order_of_the_table() {
        let text = "
- elements: [vm, os]
  packages: [p, q]
  install-type: package
  qemu-img-options: {compat: '1.1', lazy_refcounts: true, cluster_size: 65536}
  mkfs-journal-size: 8
  min-tmpfs: 3
  max-online-resize: 1000
  image-extra-size: 10
  image-size: 5
  docker-target: a/b:c
  ramdisk-element: dracut-ramdisk
  root-label: my root
  mkfs-options: -i 16384
  image-cache: /var/cache
  logfile: log
  skip-base: true
  offline: true
  locked: web.lock
  no-tmpfs: true
  checksum: true
  clear: true
  uncompressed: true
  debug-trace: 2
  ramdisk: false
  environment: {B: \"it's\", A: ''}
  types: [qcow2, raw]
  arch: arm64
  imagename: d/n
";
        assert_eq!(
            lines(&[text]),
            [
                "B='it'\"'\"'s' A='' disk-image-create -o d/n -a arm64 -t qcow2,raw -x -x -u -c --checksum \
              --no-tmpfs --offline --locked web.lock -n --logfile log --image-cache /var/cache --mkfs-options '-i 16384' \
              --root-label 'my root' --ramdisk-element dracut-ramdisk --docker-target a/b:c --image-size 5 \
              --image-extra-size 10 --max-online-resize 1000 --min-tmpfs 3 --mkfs-journal-size 8 \
              --qemu-img-options compat=1.1,lazy_refcounts=on,cluster_size=65536 --install-type package -p p,q vm os"
            ]
        );
    }

    #[test]
    fn entries_of_one_name_are_merged_in_the_order_of_first_sight() {
        let first = "
- elements: [os]
- arch: amd64
  environment: {A: '1', B: '2'}
  debug-trace: 1
- imagename: web
  elements: [os]
  packages: [p]
- imagename: image
  arch: arm64
  elements: [vm]
  environment: {B: '3', C: '4'}
  checksum: true
";
        let second = "
- packages: [q]
  checksum: false
- imagename: web
  packages: [q]
  ramdisk: true
";
        assert_eq!(
            lines(&[first, second]),
            [
                "A=1 B=3 C=4 disk-image-create -o image -a arm64 -x -p q os vm",
                "ramdisk-image-create -o web -p p,q os"
            ]
        );
    }

    #[test]
    fn nothing_is_passed_for_what_is_empty_or_false() {
        assert_eq!(
            lines(&["- {packages: [], types: [], qemu-img-options: {}, offline: false, debug-trace: 0}"]),
            ["disk-image-create -o image"]
        );
        assert_eq!(lines(&["- elements: [-c]"]), ["disk-image-create -o image -- -c"]);
        assert_eq!(lines(&["[]"]), [""; 0]);
    }

    #[test]
    fn a_lock_is_written_by_what_is_built_without_it() {
        let text = "
- imagename: web
  environment: {DIB_RELEASE: trixie}
  locked: web.lock
  offline: true
  elements: [os]
- imagename: open
";
        let images = merge(check("f", text).unwrap());
        let locking: Vec<_> = images
            .iter()
            .map(|image| image.locking().map(|call| call.to_string()))
            .collect();
        let line = "DIB_RELEASE=trixie dib lock --file web.lock -o web --offline os";
        assert_eq!(locking, [Some(line.to_owned()), None]);
    }
}
