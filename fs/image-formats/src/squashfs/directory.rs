//! Directories: runs of entries whose inodes stand in one block.

use super::disk::{DirEntry, DirHeader};
use super::inode::Listing;
use super::metadata::{Cursor, Ledger, Reference};
use super::{Error, Image, Trouble};

/// The most entries of a run.
const RUN_MAX: u64 = 256;

/// Reads the entries of the directory with inode `number`, and gives each to `entry`: its name and its inode.
pub(super) fn read(
    image: &Image,
    ledger: &mut Ledger,
    listing: Listing,
    number: u32,
    mut entry: impl FnMut(&[u8], Reference) -> Result<(), Error>,
) -> Result<(), Error> {
    let table = image.superblock.directory_table_start.get();
    let mut left = listing.len;
    if left == 0 {
        return Ok(());
    }
    let wrong = |trouble| Error::Inode { number, trouble };
    let mut take = |bytes: usize| {
        let bytes = u32::try_from(bytes).ok();
        let rest = bytes.and_then(|bytes| left.checked_sub(bytes));
        left = rest.ok_or_else(|| wrong(Trouble::BadListing(listing.len)))?;
        Ok::<bool, Error>(left == 0)
    };
    let mut cursor = Cursor::new(image, table, listing.at)?.noted(ledger);
    let mut done = false;
    while !done {
        take(size_of::<DirHeader>())?;
        let header: DirHeader = cursor.record()?;
        let count = u64::from(header.count.get()).saturating_add(1);
        if count > RUN_MAX {
            return Err(wrong(Trouble::LongRun(count)));
        }
        for _ in 0..count {
            take(size_of::<DirEntry>())?;
            let record: DirEntry = cursor.record()?;
            let mut name = vec![0; usize::from(record.size.get()).saturating_add(1)];
            done = take(name.len())?;
            cursor.read(&mut name)?;
            entry(
                &name,
                Reference {
                    block: header.start_block.get().into(),
                    offset: record.offset.get(),
                },
            )?;
        }
    }
    Ok(())
}
