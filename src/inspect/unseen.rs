//! Which volumes of an image nobody looks into who looks at its files: what they hold is not read, or they have no place
//! in its root. Whoever compares or checks an image says so, lest silence be taken for a verdict.

use image_core::ReadAt as _;

use super::compose::Place;
use super::contents::{Contents, SWAP};
use super::ids::type_name;
use super::image::Image;

/// Bytes at the start of a volume that is empty.
const EMPTY: usize = 64 << 10;

/// A volume that is not looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// What names it.
    pub place: String,
    /// Why.
    pub why: String,
}

/// Those that are not read.
pub fn unread(image: &Image) -> Vec<Unseen> {
    let volumes = (0..image.volumes.len()).filter_map(|volume| {
        let why = format!("it holds {}, which is not read", not_read(image, volume)?);
        let place = image.place(volume);
        Some(Unseen { place, why })
    });
    volumes.collect()
}

/// Those that are not read, and those that stand at none of these places.
pub fn of(image: &Image, places: &[Place]) -> Vec<Unseen> {
    let mut unseen = unread(image);
    let read = |volume: &usize| image.volumes[*volume].contents.is_read();
    let placed = |volume: &usize| places.iter().any(|place| place.volume == *volume);
    let lost = (0..image.volumes.len())
        .filter(read)
        .filter(|volume| !placed(volume) && !is_seen_elsewhere(image, *volume, places));
    unseen.extend(lost.map(|volume| Unseen {
        place: image.place(volume),
        why: "its file system has no place in the root".to_owned(),
    }));
    unseen
}

/// Whether the files of a subvolume are seen in another's tree, or, of the one at the top, are those of the others.
fn is_seen_elsewhere(image: &Image, volume: usize, places: &[Place]) -> bool {
    let Some(subvolume) = image.volumes[volume].subvolume() else {
        return false;
    };
    let mut placed = places
        .iter()
        .filter_map(|place| image.volumes[place.volume].subvolume());
    placed.any(|it| subvolume.is_within(it) || (subvolume.path.is_empty() && subvolume.is_beside(it)))
}

/// What a volume holds, if that is not read. Swap space, the place of a boot loader and what is empty have no files.
fn not_read(image: &Image, volume: usize) -> Option<&'static str> {
    match image.volumes[volume].contents {
        Contents::Other(SWAP) | Contents::Physical => None,
        contents if contents.is_read() => None,
        Contents::Other(kind) => Some(kind),
        Contents::Tar => Some("a tar archive"),
        _ => {
            let purpose = image.partition(volume).and_then(|it| type_name(it.purpose));
            let boots = matches!(purpose, Some("BIOS boot" | "PReP boot"));
            (!boots && !is_empty(image, volume)).then_some("something that is not known")
        }
    }
}

fn is_empty(image: &Image, volume: usize) -> bool {
    let bytes = &image.volumes[volume].bytes;
    let mut start = vec![0; usize::try_from(bytes.len()).map_or(EMPTY, |len| len.min(EMPTY))];
    bytes.read_exact_at(&mut start, 0).is_ok() && start.iter().all(|byte| *byte == 0)
}
