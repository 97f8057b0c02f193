//! Extended attributes: from what stands on disk to what the system's calls show.

use std::collections::HashMap;
use std::sync::Arc;

use image_core::ReadAt;
use image_core::tree::Xattr;
use zerocopy::FromBytes;

use super::volume::{Loaded, Volume};
use super::{ReadError, mapping};
use crate::inode::EA_INODE_FL;
use crate::units::{Block, Ino, to_u64, to_usize as index};
use crate::xattr::acl;
use crate::xattr::layout::{Entry, Header, MAGIC};

/// The longest value that the system's calls know.
const VALUE_MAX: u64 = 64 << 10;

/// Sets that several files share, read once.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    blocks: HashMap<u64, Arc<[Xattr]>>,
    values: HashMap<Ino, Arc<[u8]>>,
    /// Bytes of values that were handed out from inodes of their own, whose sharing could multiply them.
    multiplied: u64,
}

impl Attributes {
    /// An inode's attributes, as a tree has them.
    pub(super) fn of<R: ReadAt>(
        &mut self,
        loaded: &Loaded,
        volume: &Volume<'_, R>,
    ) -> Result<Vec<Xattr>, ReadError> {
        let mut set = Vec::new();
        if let Some((magic, area)) = loaded.behind.split_first_chunk::<4>()
            && u32::from_le_bytes(*magic) == MAGIC
        {
            self.area(area, 0, loaded, volume, &mut set)?;
        }
        let at = loaded.xattr_block();
        if at != 0 {
            let shared = match self.blocks.get(&at) {
                Some(known) => Arc::clone(known),
                None => self.block(at, loaded, volume)?,
            };
            set.extend(shared.iter().cloned());
        }
        let mut names: Vec<&[u8]> = set.iter().map(|xattr| &xattr.name[..]).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(loaded.corrupt("the number of attributes of one name", 2));
        }
        let portable = set
            .iter()
            .filter_map(|xattr| Xattr::portable(&xattr.name, &xattr.value));
        Ok(portable.collect())
    }

    fn block<R: ReadAt>(
        &mut self,
        at: u64,
        loaded: &Loaded,
        volume: &Volume<'_, R>,
    ) -> Result<Arc<[Xattr]>, ReadError> {
        if !volume.holds(at, 1) {
            return Err(loaded.corrupt("the place of the block of attributes", at));
        }
        let mut block = vec![0; volume.block_size.buffer()];
        volume.read_block(Block(at), &mut block)?;
        let (header, _) = Header::read_from_prefix(&block).expect("a block has more bytes than its header");
        if header.magic.get() != MAGIC || header.blocks.get() != 1 {
            return Err(loaded.corrupt("the head of the block of attributes", header.magic.get().into()));
        }
        if let Some(seed) = volume.seed
            && seed.xattr_block(Block(at), &block) != header.checksum.get()
        {
            return Err(loaded.checksum("the block of attributes"));
        }
        let mut set = Vec::new();
        self.area(&block, size_of::<Header>(), loaded, volume, &mut set)?;
        let set: Arc<[Xattr]> = set.into();
        self.blocks.insert(at, Arc::clone(&set));
        Ok(set)
    }

    /// The attributes whose entries begin at `start` of an area; values are counted from its first byte.
    fn area<R: ReadAt>(
        &mut self,
        area: &[u8],
        start: usize,
        loaded: &Loaded,
        volume: &Volume<'_, R>,
        set: &mut Vec<Xattr>,
    ) -> Result<(), ReadError> {
        let mut at = start;
        loop {
            let rest = area.get(at..).unwrap_or_default();
            // A word of zeros ends the entries; so does the end of the area.
            if rest.len() < 4 || rest[..4] == [0; 4] {
                return Ok(());
            }
            let corrupt = |what, value| loaded.corrupt(what, value);
            let (entry, after) = Entry::read_from_prefix(rest)
                .map_err(|_| corrupt("the place of an attribute", to_u64(at)))?;
            let name = after.get(..entry.name_len.into());
            let name =
                name.ok_or_else(|| corrupt("the length of an attribute's name", entry.name_len.into()))?;
            let value: Arc<[u8]> = if entry.value_inum.get() == 0 {
                let from: usize = entry.value_offs.get().into();
                let end = from.saturating_add(index(entry.value_size.get()));
                let value = area.get(from..end);
                value
                    .ok_or_else(|| corrupt("the place of an attribute's value", to_u64(from)))?
                    .into()
            } else {
                self.apart(&entry, loaded, volume)?
            };
            if let Some(xattr) = xattr(entry.name_index, name, &value, loaded)? {
                set.push(xattr);
            }
            let len = size_of::<Entry>().saturating_add(name.len()).next_multiple_of(4);
            at = at.saturating_add(len);
        }
    }

    /// A value in an inode of its own.
    fn apart<R: ReadAt>(
        &mut self,
        entry: &Entry,
        loaded: &Loaded,
        volume: &Volume<'_, R>,
    ) -> Result<Arc<[u8]>, ReadError> {
        let ino = Ino(entry.value_inum.get());
        let value = match self.values.get(&ino) {
            Some(known) => Arc::clone(known),
            None => read_value(ino, loaded, volume)?,
        };
        self.values.insert(ino, Arc::clone(&value));
        if to_u64(value.len()) != u64::from(entry.value_size.get()) {
            return Err(loaded.corrupt(
                "the length of an attribute's value",
                entry.value_size.get().into(),
            ));
        }
        self.multiplied = self.multiplied.saturating_add(to_u64(value.len()));
        let bytes = volume.blocks.saturating_mul(volume.block_size.bytes());
        if self.multiplied > bytes {
            return Err(ReadError::SharedBlocks(volume.blocks));
        }
        Ok(value)
    }
}

fn read_value<R: ReadAt>(ino: Ino, of: &Loaded, volume: &Volume<'_, R>) -> Result<Arc<[u8]>, ReadError> {
    let inode = volume.inode(ino)?;
    let len = inode.size();
    if inode.inode.i_flags.get() & EA_INODE_FL == 0 || len > VALUE_MAX {
        return Err(of.corrupt("the inode of an attribute's value", ino.0.into()));
    }
    let (mapped, _) = mapping::of(&inode, volume, volume.blocks)?;
    let mut value = vec![0; usize::try_from(len).expect("64 KiB at most")];
    mapped.in_bytes().read(volume.source(), &mut value, 0)?;
    Ok(value.into())
}

/// An attribute as the system's calls show it; `None` for what they do not show.
fn xattr(prefix: u8, name: &[u8], value: &[u8], loaded: &Loaded) -> Result<Option<Xattr>, ReadError> {
    let (prefix, acl): (&[u8], bool) = match prefix {
        1 => (b"user.", false),
        2 => (b"system.posix_acl_access", true),
        3 => (b"system.posix_acl_default", true),
        4 => (b"trusted.", false),
        6 => (b"security.", false),
        // Data of a file that lies in its inode, and what Linux never had.
        7 | 8 => return Ok(None),
        other => return Err(loaded.corrupt("the prefix of an attribute", other.into())),
    };
    let name = [prefix, name].concat();
    let value = if acl {
        let value = acl::from_disk(value);
        value.ok_or_else(|| loaded.corrupt("the length of an access control list", to_u64(name.len())))?
    } else {
        value.to_vec()
    };
    Ok(Some(Xattr { name, value }))
}
