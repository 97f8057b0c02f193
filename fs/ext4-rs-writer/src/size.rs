//! Sizes: how many blocks an image gets, and whether a tree fits them.
//!
//! A computed size is the least that both the rule and the tree ask for. The search for it only goes upwards: one
//! block more brings at most one free block more, so that a size which lacks `n` blocks is followed by none that fits
//! before `n` blocks later. Only where a tail becomes worth a group of its own does free space jump, by a few blocks;
//! the search for the smallest image looks back over these.

use crate::census::Census;
use crate::error::Error;
use crate::features::Compat;
use crate::file_map::Logical;
use crate::geometry::{Geometry, blocks_per_group, inodes_per_group_cap, promised_groups};
use crate::group::{self, Places};
use crate::journal;
use crate::options::{Inodes, Journal, Options, Size};
use crate::placement::Placement;
use crate::space::Run;
use crate::units::{Blocks, Bytes, Group};

/// Computed sizes are multiples of this: what is compressed in clusters wants whole ones.
const GRAIN: Bytes = Bytes(64 * 1024);
/// More than any file system has: where sizes that are asked for end, so that what is added to them does not wrap.
const IMPOSSIBLE: u64 = 1 << 62;
/// How far free space may jump when a tail becomes a group.
const JUMP: u64 = 64;

/// A size that fits, and everything in its place.
#[derive(Debug)]
pub(crate) struct Fit {
    /// How the blocks divide.
    pub(crate) geometry: Geometry,
    /// Each group's bitmaps and table.
    pub(crate) places: Vec<Places>,
    /// Everything else.
    pub(crate) placement: Placement,
    /// Blocks of the journal.
    pub(crate) journal: Blocks,
    /// Bytes in the image, of which the file system may leave the last few unused.
    pub(crate) image: Bytes,
}

/// What an image lacks.
enum Shortage {
    Blocks { needed: Blocks, available: Blocks },
    Inodes { needed: u64, available: u64 },
}

/// Groups with free space, before anything is placed.
struct Ground {
    geometry: Geometry,
    places: Vec<Places>,
    free: Vec<Run>,
}

/// Finds the size, and places everything.
pub(crate) fn fit(census: &Census, options: &Options) -> Result<Fit, Error> {
    let block = options.block_size;
    let image = match options.size {
        Size::Fixed(bytes) => {
            let blocks = Blocks((Bytes(bytes) / block.bytes()).0);
            return match attempt(census, options, blocks)? {
                Ok(fit) => Ok(Fit {
                    image: Bytes(bytes),
                    ..fit
                }),
                Err(shortage) => Err(refuse(census, options, blocks, &shortage)?),
            };
        }
        Size::Minimal => return smallest(census, options),
        Size::Headroom | Size::Extra(_) => wanted(census, options),
    };
    let mut image = image.round_up(GRAIN.0);
    loop {
        let blocks = Blocks((image / block.bytes()).0);
        match attempt(census, options, blocks) {
            Ok(Ok(fit)) => return Ok(Fit { image, ..fit }),
            Ok(Err(shortage)) => {
                let more = step(options, blocks, &shortage)?;
                image = (image + more.bytes(block)).round_up(GRAIN.0);
            }
            Err(Error::ImpossibleSize { bytes, min_bytes, .. }) if bytes < min_bytes => image += GRAIN,
            Err(error) => return Err(error),
        }
    }
}

/// The size that the rule asks for, in bytes.
///
/// diskimage-builder adds the journal for ext4 alone, always as large as its own option says. Its reason, that small
/// images no longer fitted a journal which the tree's size says nothing of, holds for any journal and for none that is
/// not made. So the journal counts that there will be: ext3's like ext4's, as large as `-J size=` makes it, and none
/// without `has_journal`. For what diskimage-builder makes unasked the sums are the same.
fn wanted(census: &Census, options: &Options) -> Bytes {
    let used = census.used.div_ceil(1024);
    let room = match options.size {
        // The quotient by 0.6, without the rounding of floating point.
        Size::Headroom => (used.saturating_mul(5) / 3).saturating_mul(1024),
        Size::Extra(extra) => used.saturating_mul(1024).saturating_add(extra),
        Size::Fixed(_) | Size::Minimal => used.saturating_mul(1024),
    };
    let journal = match options.journal {
        _ if !options.features.compat.contains(Compat::HAS_JOURNAL) => 0,
        Journal::Auto => journal::USUAL.0,
        Journal::Fixed(bytes) => bytes,
    };
    Bytes(room.saturating_add(journal).min(IMPOSSIBLE))
}

/// The smallest image that holds the tree.
fn smallest(census: &Census, options: &Options) -> Result<Fit, Error> {
    let mut blocks = census.blocks + Blocks(1);
    loop {
        let step = match ground(census, options, blocks) {
            Ok(ground) => match shortage(census, options, &ground)? {
                None => break,
                Some(shortage) => step(options, blocks, &shortage)?,
            },
            Err(Error::ImpossibleSize { bytes, min_bytes, .. }) if bytes < min_bytes => Blocks(1),
            Err(error) => return Err(error),
        };
        blocks += step;
    }
    blocks = blocks.saturating_sub(Blocks(JUMP)).max(Blocks(1));
    loop {
        match attempt(census, options, blocks) {
            Ok(Ok(fit)) => {
                let image = fit.geometry.blocks.bytes(options.block_size);
                return Ok(Fit { image, ..fit });
            }
            Ok(Err(_)) | Err(Error::ImpossibleSize { .. }) => blocks += Blocks(1),
            Err(error) => return Err(error),
        }
    }
}

/// How many blocks to add to an image that lacks something.
fn step(options: &Options, blocks: Blocks, shortage: &Shortage) -> Result<Blocks, Error> {
    match *shortage {
        Shortage::Blocks { needed, available } => Ok(needed.saturating_sub(available).max(Blocks(1))),
        Shortage::Inodes { needed, available } => {
            let target = blocks_for_inodes(options, blocks, needed)?;
            if target <= blocks {
                return Err(Error::DoesNotFit {
                    needed_bytes: target.bytes(options.block_size).0,
                    available_bytes: blocks.bytes(options.block_size).0,
                    needed_inodes: needed,
                    available_inodes: available,
                });
            }
            Ok(target - blocks)
        }
    }
}

/// The blocks of an image that can have so many inodes, with as many in each group as can be.
fn blocks_for_inodes(options: &Options, blocks: Blocks, needed: u64) -> Result<Blocks, Error> {
    let per_group = u64::from(blocks_per_group(options));
    let groups = promised_groups(options).unwrap_or_else(|| blocks.div_ceil(per_group));
    let cap = inodes_per_group_cap(options, groups.max(1));
    if cap == 0 {
        return Err(Error::GrowthImpossible {
            max_bytes: options.max_size.unwrap_or(0),
            ceiling_bytes: 0,
        });
    }
    let target = Blocks(needed.div_ceil(cap)) * per_group;
    Ok(target + options.block_size.first_data_block().0)
}

/// Divides an image of so many blocks into groups.
fn ground(census: &Census, options: &Options, blocks: Blocks) -> Result<Ground, Error> {
    let geometry = Geometry::new(options, blocks, census.numbers.used())?;
    let (places, free) = group::place(&geometry).ok_or_else(|| Error::GroupsTooSmall {
        group_blocks: geometry.blocks_per_group,
        metadata_blocks: geometry.group_cost(Group(0)),
    })?;
    Ok(Ground {
        geometry,
        places,
        free,
    })
}

/// What a tree needs in an image, with the journal and the block of inode 7.
fn needed(census: &Census, ground: &Ground, journal: Blocks) -> Blocks {
    let journal_map = census.mapper.nodes_in_one_piece(&Logical::Dense(journal));
    census.blocks + journal + journal_map + Blocks(u64::from(has_reserve(ground)))
}

fn has_reserve(ground: &Ground) -> bool {
    ground.geometry.reserved_gdt_blocks > Blocks::ZERO
}

fn available(ground: &Ground) -> Blocks {
    ground.free.iter().map(|run| run.len).sum()
}

/// What an image lacks by count, with the least journal that may be.
fn shortage(census: &Census, options: &Options, ground: &Ground) -> Result<Option<Shortage>, Error> {
    let inodes = match options.inodes {
        Some(Inodes::Count(count)) if census.numbers.used() > count.into() => {
            return Err(Error::DoesNotFit {
                needed_bytes: census.blocks.bytes(options.block_size).0,
                available_bytes: available(ground).bytes(options.block_size).0,
                needed_inodes: census.numbers.used(),
                available_inodes: count.into(),
            });
        }
        Some(Inodes::Count(count)) => count.into(),
        _ => census.numbers.used(),
    };
    if inodes > ground.geometry.inodes() {
        return Ok(Some(Shortage::Inodes {
            needed: inodes,
            available: ground.geometry.inodes(),
        }));
    }
    let journals = journal::candidates(options, ground.geometry.blocks)?;
    let least = journals.last().copied().unwrap_or(Blocks::ZERO);
    let (needed, available) = (needed(census, ground, least), available(ground));
    Ok((needed > available).then_some(Shortage::Blocks { needed, available }))
}

/// Tries an image of so many blocks.
fn attempt(census: &Census, options: &Options, blocks: Blocks) -> Result<Result<Fit, Shortage>, Error> {
    let ground = ground(census, options, blocks)?;
    if let Some(shortage) = shortage(census, options, &ground)? {
        return Ok(Err(shortage));
    }
    let available = available(&ground);
    for journal in journal::candidates(options, ground.geometry.blocks)? {
        if needed(census, &ground, journal) > available {
            continue;
        }
        let placement = Placement::new(census, ground.free.clone(), journal, has_reserve(&ground));
        if let Some(placement) = placement {
            return Ok(Ok(Fit {
                image: ground.geometry.blocks.bytes(options.block_size),
                geometry: ground.geometry,
                places: ground.places,
                placement,
                journal,
            }));
        }
    }
    Ok(Err(Shortage::Blocks {
        needed: available + Blocks(1),
        available,
    }))
}

/// The refusal of a size that was asked for.
fn refuse(census: &Census, options: &Options, blocks: Blocks, shortage: &Shortage) -> Result<Error, Error> {
    let ground = ground(census, options, blocks)?;
    let (needed_inodes, available_inodes) = match *shortage {
        Shortage::Inodes { needed, available } => (needed, available),
        Shortage::Blocks { .. } => (census.numbers.used(), ground.geometry.inodes()),
    };
    if let (Some(max_bytes), Shortage::Inodes { .. }) = (options.max_size, shortage) {
        let target = blocks_for_inodes(options, blocks, needed_inodes)?;
        return Ok(Error::GrowthConflict {
            max_bytes,
            image_bytes: blocks.bytes(options.block_size).0,
            needed_inodes,
            available_inodes,
            needed_image_bytes: target.bytes(options.block_size).0,
        });
    }
    let journals = journal::candidates(options, ground.geometry.blocks)?;
    let least = journals.last().copied().unwrap_or(Blocks::ZERO);
    let counted = needed(census, &ground, least);
    let needed_blocks = match *shortage {
        Shortage::Blocks { needed, .. } => needed.max(counted),
        Shortage::Inodes { .. } => counted,
    };
    Ok(Error::DoesNotFit {
        needed_bytes: needed_blocks.bytes(options.block_size).0,
        available_bytes: available(&ground).bytes(options.block_size).0,
        needed_inodes,
        available_inodes,
    })
}
