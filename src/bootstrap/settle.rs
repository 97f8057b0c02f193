//! Whose file it is, where several packages bring one of the same name.
//!
//! A diversion decides it, or who says to replace whom; else it is nobody's, and an error, as it is to dpkg.

use std::collections::{BTreeMap, HashMap};

use super::database::Installed;
use super::relation::groups;
use super::unpack::Place;

/// Who takes which name, by the number of the package: where its file of one name goes.
pub type Moves = BTreeMap<usize, HashMap<Place, Place>>;

/// A diversion: everybody's file of one name but one package's goes by another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diversion {
    from: Place,
    to: Place,
    by: String,
}

/// Two packages that bring the same file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{first} and {second} both bring /{}", .place.escape_ascii())]
pub struct Clash {
    first: String,
    second: String,
    place: Place,
}

/// Reads dpkg's `diversions`: three lines each.
pub fn diversions(bytes: &[u8]) -> Vec<Diversion> {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let place = |line: &[u8]| line.strip_prefix(b"/").map(<[u8]>::to_vec);
    let read = |lines: &[&[u8]]| {
        let [from, to, by] = lines else { return None };
        Some(Diversion {
            from: place(from)?,
            to: place(to)?,
            by: String::from_utf8_lossy(by).into_owned(),
        })
    };
    lines.chunks(3).filter_map(read).collect()
}

/// Decides, and takes names off the lists of those that lose them; the numbers of these.
pub fn settle(packages: &mut [Installed], diversions: &[Diversion]) -> Result<(Moves, Vec<usize>), Clash> {
    let mut moves = Moves::new();
    for diversion in diversions {
        for (number, package) in packages.iter().enumerate() {
            for place in package
                .unpacked
                .places
                .iter()
                .filter(|place| merged(place) == merged(&diversion.from))
            {
                let own = package.name() == diversion.by;
                let to = if own { &diversion.from } else { &diversion.to };
                moves.entry(number).or_default().insert(place.clone(), to.clone());
            }
        }
    }
    let mut losers = Vec::new();
    let clashes: Vec<(usize, Place)> = packages
        .iter()
        .enumerate()
        .flat_map(|(number, package)| {
            package
                .unpacked
                .clashes
                .iter()
                .map(move |place| (number, place.clone()))
        })
        .collect();
    for (late, place) in clashes {
        if moves.get(&late).is_some_and(|moves| moves.contains_key(&place)) {
            continue;
        }
        let has = |package: &Installed| {
            package
                .unpacked
                .places
                .iter()
                .any(|other| merged(other) == merged(&place))
        };
        let others: Vec<usize> = (0..packages.len())
            .filter(|other| *other != late && has(&packages[*other]))
            .collect();
        for early in others {
            let loser = match (
                replaces(&packages[late], &packages[early]),
                replaces(&packages[early], &packages[late]),
            ) {
                (true, _) => {
                    moves
                        .entry(late)
                        .or_default()
                        .insert(place.clone(), place.clone());
                    early
                }
                (false, true) => late,
                (false, false) => {
                    return Err(Clash {
                        first: packages[early].name().to_owned(),
                        second: packages[late].name().to_owned(),
                        place,
                    });
                }
            };
            let places = &mut packages[loser].unpacked.places;
            places.retain(|other| merged(other) != merged(&place));
            losers.push(loser);
        }
    }
    Ok((moves, losers))
}

/// Whether a package says to take over files of another.
fn replaces(package: &Installed, other: &Installed) -> bool {
    let mut relations = groups(package.control.field("Replaces"))
        .filter_map(Result::ok)
        .flatten();
    relations
        .any(|relation| relation.name == other.name() && relation.accepts(other.control.field("Version")))
}

/// A place in a tree whose `/bin` and its like are those of `/usr`.
fn merged(place: &[u8]) -> Place {
    let first = place.split(|byte| *byte == b'/').next().unwrap_or_default();
    let aliased = first == b"bin" || first == b"sbin" || (first.starts_with(b"lib") && first.len() <= 6);
    if aliased && first.len() < place.len() {
        [b"usr/", place].concat()
    } else {
        place.to_vec()
    }
}
