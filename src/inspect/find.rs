//! Files of an image by their names, with as little of the image read as that takes.
//!
//! A pattern is a path, whose parts may hold `*`, `?` and `[...]`. Links are followed as the image's own system would follow
//! them: an absolute one begins at the image's root, and none leads out of it.

use std::collections::BTreeSet;

use super::InspectError;
use super::compose::{self, Place, joined};
use super::image::Image;
use super::view::{Mount, Scope, Spot, View};

/// Links that one name may lead through.
const LINKS_MAX: usize = 40;
/// Names that one pattern may be expanded to.
const FOUND_MAX: usize = 1 << 20;

/// A file that a pattern named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The name by which it was found, with a leading `/`.
    pub name: Vec<u8>,
    /// Its path without links, without a leading `/`.
    pub path: Vec<u8>,
}

/// The files of an image, read as they are asked for.
#[derive(Debug)]
pub struct Finder {
    image: Image,
    places: Vec<Place>,
    scope: Scope,
    view: View,
}

impl Finder {
    /// Reads the root, or the partition of the given number, and what is mounted in it; of directories those above
    /// `names` at first.
    pub fn new(mut image: Image, only: Option<u32>, names: &[&[u8]]) -> Result<Self, InspectError> {
        if let Some(files) = image.packed.take() {
            if let Some(number) = only {
                return Err(InspectError::NoPartition(number));
            }
            let at = Vec::new();
            let whole = true;
            return Ok(Self {
                image,
                places: Vec::new(),
                scope: Scope::All,
                view: View::new(vec![Mount { at, files, whole }]),
            });
        }
        let places = compose::places(&image, only)?;
        let mut scope = BTreeSet::new();
        for path in places
            .iter()
            .map(|place| &place.at[..])
            .chain(names.iter().copied())
        {
            let mut above = Vec::new();
            let parts: Vec<_> = parts(path).take_while(|part| !is_pattern(part)).collect();
            for part in parts {
                above = joined(&above, part);
                scope.insert(above.clone());
            }
        }
        let scope = Scope::Some(scope);
        let view = compose::load(&image, &places, &scope, Vec::new())?;
        Ok(Self {
            image,
            places,
            scope,
            view,
        })
    }

    /// Reads all of it.
    pub fn read_all(&mut self) -> Result<&View, InspectError> {
        if !matches!(self.scope, Scope::All) {
            self.scope = Scope::All;
            self.reload()?;
        }
        Ok(&self.view)
    }

    /// What was read so far.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// What is mounted where.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    fn reload(&mut self) -> Result<(), InspectError> {
        let before = std::mem::replace(&mut self.view, View::new(Vec::new()));
        self.view = compose::load(&self.image, &self.places, &self.scope, before.into_mounts())?;
        Ok(())
    }

    /// Sees to it that a directory was read.
    fn read(&mut self, path: &[u8]) -> Result<(), InspectError> {
        if let Scope::Some(paths) = &mut self.scope
            && !path.is_empty()
            && paths.insert(path.to_vec())
        {
            self.reload()?;
        }
        Ok(())
    }

    /// What a directory names.
    pub fn list(&mut self, path: &[u8]) -> Result<Vec<(Vec<u8>, Spot)>, InspectError> {
        self.read(path)?;
        let Some(directory) = self.view.at(path) else {
            return Ok(Vec::new());
        };
        let entries = self.view.entries(directory).into_iter();
        Ok(entries.map(|(name, spot)| (name.to_vec(), spot)).collect())
    }

    /// All files that a pattern names, in order. A link at the end is followed if `follow` says so.
    pub fn find(&mut self, pattern: &[u8], follow: bool) -> Result<Vec<Found>, InspectError> {
        let start = Found {
            name: Vec::new(),
            path: Vec::new(),
        };
        let mut found = vec![start];
        let parts: Vec<&[u8]> = parts(pattern).collect();
        for (at, part) in parts.iter().enumerate() {
            let last = at + 1 == parts.len();
            let mut next = Vec::new();
            for above in &found {
                self.step(above, part, !last || follow, &mut next)?;
                if next.len() > FOUND_MAX {
                    return Err(InspectError::TooMany(FOUND_MAX));
                }
            }
            found = next;
        }
        for found in &mut found {
            if found.name.is_empty() {
                found.name.push(b'/');
            }
        }
        Ok(found)
    }

    /// The one file of a name, if there is one.
    pub fn one(&mut self, name: &[u8]) -> Result<Option<(Vec<u8>, Spot)>, InspectError> {
        let Some(path) = self.follow(Vec::new(), name, &mut 0)? else {
            return Ok(None);
        };
        Ok(self.view.at(&path).map(|spot| (path, spot)))
    }

    fn step(
        &mut self,
        above: &Found,
        part: &[u8],
        follow: bool,
        next: &mut Vec<Found>,
    ) -> Result<(), InspectError> {
        if part == b".." {
            next.push(Found {
                name: [&above.name[..], b"/.."].concat(),
                path: parent(&above.path),
            });
            return Ok(());
        }
        self.read(&above.path)?;
        let Some(directory) = self.view.at(&above.path) else {
            return Ok(());
        };
        let names: Vec<Vec<u8>> = if is_pattern(part) {
            let entries = self.view.entries(directory).into_iter();
            let matching = entries.filter(|(name, _)| matches(part, name));
            matching.map(|(name, _)| name.to_vec()).collect()
        } else {
            let there = self.view.child(directory, part).is_some();
            there.then(|| part.to_vec()).into_iter().collect()
        };
        for name in names {
            let path = if follow {
                self.follow(above.path.clone(), &name, &mut 0)?
            } else {
                Some(joined(&above.path, &name))
            };
            if let Some(path) = path {
                let name = [&above.name[..], b"/", &name].concat();
                next.push(Found { name, path });
            }
        }
        Ok(())
    }

    /// Where a name leads from a directory, through all links.
    fn follow(
        &mut self,
        from: Vec<u8>,
        name: &[u8],
        links: &mut usize,
    ) -> Result<Option<Vec<u8>>, InspectError> {
        let mut at = if name.starts_with(b"/") { Vec::new() } else { from };
        for part in parts(name) {
            if part == b".." {
                at = parent(&at);
                continue;
            }
            self.read(&at)?;
            let directory = self.view.at(&at);
            let Some(spot) = directory.and_then(|directory| self.view.child(directory, part)) else {
                return Ok(None);
            };
            let target = self.view.target(spot).map(<[u8]>::to_vec);
            match target {
                Some(_) if *links == LINKS_MAX => return Ok(None),
                Some(target) => {
                    *links += 1;
                    match self.follow(at, &target, links)? {
                        Some(led) => at = led,
                        None => return Ok(None),
                    }
                }
                None => at = joined(&at, part),
            }
        }
        Ok(Some(at))
    }
}

fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
}

fn parent(path: &[u8]) -> Vec<u8> {
    let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    path[..end].to_vec()
}

fn is_pattern(part: &[u8]) -> bool {
    part.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

/// Whether a name fits a pattern, as a shell sees it: a leading dot is matched by a dot alone.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let hidden = name.first() == Some(&b'.') && pattern.first() != Some(&b'.');
    !hidden && fits(pattern, name)
}

/// Goes back to the last `*` alone where the rest does not fit: no pattern takes longer than both lengths multiplied.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut done) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, done));
            at += 1;
            continue;
        }
        if done == name.len() && at == pattern.len() {
            return true;
        }
        let step = name.get(done).and_then(|byte| one(&pattern[at..], *byte));
        match (step, &mut star) {
            (Some(len), _) => {
                at += len;
                done += 1;
            }
            (None, Some((star, from))) if *from < name.len() => {
                *from += 1;
                (at, done) = (*star + 1, *from);
            }
            (None, _) => return false,
        }
    }
}

/// How many bytes of a pattern match one byte of a name.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern.first()? {
        b'?' => Some(1),
        b'[' => {
            let close = 2 + pattern.get(2..)?.iter().position(|byte| *byte == b']')?;
            let inside = &pattern[1..close];
            let (not, set) = match inside.split_first() {
                Some((b'!' | b'^', set)) if !set.is_empty() => (true, set),
                _ => (false, inside),
            };
            (in_set(set, byte) != not).then_some(close + 1)
        }
        b'\\' if pattern.len() > 1 => (pattern[1] == byte).then_some(2),
        literal => (*literal == byte).then_some(1),
    }
}

fn in_set(set: &[u8], byte: u8) -> bool {
    let mut rest = set;
    while let Some((first, after)) = rest.split_first() {
        let (last, behind) = match after {
            [b'-', last, behind @ ..] => (last, behind),
            _ => (first, after),
        };
        if (*first..=*last).contains(&byte) {
            return true;
        }
        rest = behind;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, fits) in [
            ("vmlinuz*", "vmlinuz-6.1", true),
            ("vmlinu[xz]*generic", "vmlinuz-6.1-generic", true),
            ("vmlinu[!xz]*", "vmlinuz", false),
            ("*", ".hidden", false),
            (".*", ".hidden", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxbxxcx", false),
            ("[a-c]", "b", true),
            ("[a-c]", "d", false),
            ("[]]", "]", true),
            ("[", "[", false),
            ("", "", true),
            ("**", "x", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                fits,
                "{pattern} {name}"
            );
        }
        let long = [b'a'; 5000];
        assert!(!matches(&[b"*a".repeat(1000), b"b".to_vec()].concat(), &long));
    }
}
