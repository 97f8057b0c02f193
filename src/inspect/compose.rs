//! Which partition is mounted where.
//!
//! The rule, in this order:
//! 1. The root is the last partition whose file system has `etc` and `usr` or `bin`, but for the EFI system partition and
//!    that of `/boot`, known by their types; where none looks so, the last that has a file system at all.
//! 2. What the root's `/etc/fstab` names by label, UUID, or those of its partition, is mounted where it says.
//! 3. What is left of the partitions that are `/boot` or the EFI system partition by their type, or `/boot` by the name
//!    `boot`, are `/boot` and `/boot/efi`, unless something is there already.

use std::collections::BTreeSet;

use super::InspectError;
use super::contents::{self, Contents, Files};
use super::filesystem;
use super::fstab::{self, By};
use super::ids::type_text;
use super::image::{Image, Volume};
use super::subvolumes;
use super::table::Partition;
use super::view::{Mount, Scope, View};

/// A volume of an image at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where, without a leading `/`.
    pub at: Vec<u8>,
    /// Which volume.
    pub volume: usize,
}

/// The longest table of file systems that is read.
const FSTAB_MAX: usize = 1 << 20;

/// What a partition is for, by its type and name alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Esp,
    Boot,
    Other,
}

fn role(image: &Image, volume: usize) -> Role {
    let Some(partition) = image.partition(volume) else {
        return Role::Other;
    };
    match type_text(partition.purpose).as_str() {
        "c12a7328-f81f-11d2-ba4b-00a0c93ec93b" | "0xef" => Role::Esp,
        "bc13c2ff-59e6-4262-a352-b275fd6f7172" => Role::Boot,
        _ if partition.name.eq_ignore_ascii_case("boot") => Role::Boot,
        _ => Role::Other,
    }
}

/// All volumes at their places, the root first; or the one with the number of a partition, as the root.
pub fn places(image: &Image, only: Option<u32>) -> Result<Vec<Place>, InspectError> {
    if let Some(number) = only {
        let numbered = |volume: &usize| image.partition(*volume).is_some_and(|it| it.number == number);
        // Of subvolumes the one that is mounted where none is named.
        let volume = (0..image.volumes.len()).rfind(numbered);
        let volume = volume.ok_or(InspectError::NoPartition(number))?;
        return Ok(vec![Place {
            at: Vec::new(),
            volume,
        }]);
    }
    let root = root(image)?;
    let mut places = vec![Place {
        at: Vec::new(),
        volume: root,
    }];
    if image.volumes[root].is_alone() {
        return Ok(places);
    }
    for line in fstab_of(image, root)? {
        let found = (0..image.volumes.len()).find(|volume| is_named(image, *volume, &line));
        if let Some(volume) = found {
            add(image, &mut places, line.at, volume);
        }
    }
    for (wanted, at) in [(Role::Boot, &b"boot"[..]), (Role::Esp, b"boot/efi")] {
        let found = (0..image.volumes.len()).rev().find(|volume| {
            role(image, *volume) == wanted && !places.iter().any(|place| place.volume == *volume)
        });
        if let Some(volume) = found {
            add(image, &mut places, at.to_vec(), volume);
        }
    }
    places.sort_by_key(|place| place.at.len());
    Ok(places)
}

fn add(image: &Image, places: &mut Vec<Place>, at: Vec<u8>, volume: usize) {
    let taken = places
        .iter()
        .any(|place| place.at == at || place.volume == volume);
    if !taken && image.volumes[volume].contents.is_read() {
        places.push(Place { at, volume });
    }
}

fn root(image: &Image) -> Result<usize, InspectError> {
    let (mut first, mut unread, mut failed, mut boot) = (None, None, None, None);
    for volume in (0..image.volumes.len()).rev() {
        let contents = image.volumes[volume].contents;
        // The root may be in it.
        if let Contents::Other(kind) = contents
            && kind != contents::SWAP
        {
            unread.get_or_insert(InspectError::FileSystem {
                place: image.place(volume),
                kind,
            });
        }
        if !contents.is_read() {
            continue;
        }
        if role(image, volume) != Role::Other {
            boot.get_or_insert(volume);
            continue;
        }
        match looks_like_root(image, volume) {
            Ok(true) => return Ok(volume),
            Ok(false) => {
                first.get_or_insert(volume);
            }
            Err(error) => {
                failed.get_or_insert(error);
            }
        }
    }
    match (failed, unread, first.or(boot)) {
        (Some(error), ..) | (None, Some(error), _) => Err(error),
        (None, None, Some(volume)) => Ok(volume),
        (None, None, None) => Err(InspectError::NoRoot { found: listed(image) }),
    }
}

fn listed(image: &Image) -> String {
    if image.volumes.is_empty() {
        return "neither a file system nor a partition table is there".to_owned();
    }
    let each = image.volumes.iter().enumerate().map(|(volume, found)| {
        let kind = match found.contents {
            Contents::Other(kind) => kind,
            Contents::Physical => contents::PHYSICAL,
            _ => "nothing that is known",
        };
        format!("{} holds {kind}", image.place(volume))
    });
    each.collect::<Vec<_>>().join(", ")
}

fn looks_like_root(image: &Image, volume: usize) -> Result<bool, InspectError> {
    if image.volumes[volume].is_alone() {
        return Ok(true);
    }
    let place = Place {
        at: Vec::new(),
        volume,
    };
    let view = load(image, &[place], &Scope::Some(BTreeSet::new()), Vec::new())?;
    let has = |name: &[u8]| view.child(view.root(), name).is_some();
    Ok(has(b"etc") && (has(b"usr") || has(b"bin")))
}

fn fstab_of(image: &Image, volume: usize) -> Result<Vec<fstab::Line>, InspectError> {
    let place = Place {
        at: Vec::new(),
        volume,
    };
    let scope = Scope::Some(BTreeSet::from([b"etc".to_vec()]));
    let view = load(image, &[place], &scope, Vec::new())?;
    let text = view.at(b"etc/fstab").and_then(|spot| view.read(spot, FSTAB_MAX));
    match text {
        Some(text) => Ok(fstab::lines(&text?)),
        None => Ok(Vec::new()),
    }
}

fn is_named(image: &Image, volume: usize, line: &fstab::Line) -> bool {
    let found = &image.volumes[volume];
    let partition = image.partition(volume);
    let is_meant = found.subvolume().is_none_or(|it| match &line.subvolume {
        Some(fstab::Subvolume::Path(path)) => it.path == *path,
        Some(fstab::Subvolume::Id(id)) => it.id == *id,
        None => it.is_default,
    });
    is_meant && is_called(found, partition, line)
}

fn is_called(found: &Volume, partition: Option<&Partition>, line: &fstab::Line) -> bool {
    match line.by {
        By::PartUuid => partition.is_some_and(|it| it.uuid == line.name),
        By::PartLabel => partition.is_some_and(|it| it.name == line.name),
        By::Logical => found.logical.as_deref().is_some_and(|it| it == line.name),
        By::Label | By::Uuid => filesystem::of(found).is_ok_and(|about| match line.by {
            By::Label => about.label.as_deref() == Some(&line.name),
            _ => about
                .uuid
                .is_some_and(|uuid| uuid.eq_ignore_ascii_case(&line.name)),
        }),
    }
}

/// Reads volumes at their places, in the scope; of `known` are taken those that were read wholly before.
pub fn load(image: &Image, places: &[Place], scope: &Scope, known: Vec<Mount>) -> Result<View, InspectError> {
    let mut known: Vec<Mount> = known.into_iter().filter(|mount| mount.whole).collect();
    let mut mounts = Vec::new();
    for place in places {
        if let Some(at) = known.iter().position(|mount| mount.at == place.at) {
            mounts.push(known.swap_remove(at));
            continue;
        }
        let contents = image.volumes[place.volume].contents;
        mounts.push(Mount {
            at: place.at.clone(),
            files: read(image, places, place, scope)?,
            whole: !contents.is_read_in_part() || matches!(scope, Scope::All),
        });
    }
    Ok(View::new(mounts))
}

/// Reads what is at one of the places, in the scope. What is at the others is not read with it.
pub fn read(image: &Image, places: &[Place], place: &Place, scope: &Scope) -> Result<Files, InspectError> {
    let volume = &image.volumes[place.volume];
    let placed = places.iter().map(|other| &image.volumes[other.volume]);
    let apart = subvolumes::beside(volume, placed);
    let wanted = |path: &[u8]| scope.has(&joined(&place.at, path));
    contents::read(volume, &image.place(place.volume), &apart, wanted)
}

/// A path below another, both without a leading `/`.
pub fn joined(above: &[u8], below: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if above.is_empty() || below.is_empty() {
        b""
    } else {
        b"/"
    };
    [above, slash, below].concat()
}
