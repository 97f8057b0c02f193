//! Extended attributes: sets of pairs, which inodes name by number. A value that several sets have stands once, and the
//! others say where.

use std::collections::HashMap;

use image_core::tree::{Builder, Xattr, XattrsId};
use zerocopy::byteorder::little_endian::{U32, U64};

use super::disk::{XATTR_VALUE_OOL, XattrEntry, XattrId};
use super::metadata::{Cursor, Reference};
use super::{Error, Image, Trouble};

/// The most bytes of names and values that all sets of an image may have: values that stand once can be had by every
/// set, so that the image's length does not bound them. Images have some kilobytes.
pub const XATTR_BYTES_MAX: usize = 256 << 20;
/// The longest value that the kernel knows.
const VALUE_MAX: u32 = 64 << 10;

/// The sets that were read, and what they hold.
#[derive(Debug, Default)]
pub(super) struct Xattrs {
    sets: HashMap<u32, XattrsId>,
    held: usize,
}

impl Xattrs {
    /// The set that inode `number` names.
    pub(super) fn set(
        &mut self,
        image: &Image,
        builder: &mut Builder,
        number: u32,
        index: u32,
    ) -> Result<XattrsId, Error> {
        if let Some(id) = self.sets.get(&index) {
            return Ok(*id);
        }
        let set = self.read(image, number, index)?;
        let id = if set.is_empty() {
            XattrsId::NONE
        } else {
            builder.xattrs(set)?
        };
        self.sets.insert(index, id);
        Ok(id)
    }

    fn read(&mut self, image: &Image, number: u32, index: u32) -> Result<Vec<Xattr>, Error> {
        let wrong = |trouble| Error::Inode { number, trouble };
        let count = image.xattrs.map_or(0, |(_, head)| head.xattr_ids.get());
        let Some((at, head)) = image.xattrs.filter(|_| index < count) else {
            return Err(wrong(Trouble::NoSuchXattrs { index, count }));
        };
        let table = head.xattr_table_start.get();
        let record: XattrId = image.indexed(at, index)?;
        let mut cursor = Cursor::new(image, table, Reference::new(record.xattr.get()))?;
        let mut set = Vec::new();
        for _ in 0..record.count.get() {
            let entry: XattrEntry = cursor.record()?;
            let kind = entry.r#type.get();
            let prefix: &[u8] = match kind & 0xff {
                0 => b"user.",
                1 => b"trusted.",
                2 => b"security.",
                other => return Err(wrong(Trouble::UnknownPrefix(other))),
            };
            let mut name = vec![0; usize::from(entry.size.get())];
            cursor.read(&mut name)?;
            let name = [prefix, &name].concat();
            let value = value(image, &mut cursor, kind & XATTR_VALUE_OOL != 0)?
                .filter(|_| name.len() <= 255)
                .ok_or_else(|| wrong(Trouble::BadXattrs(record.count.get())))?;
            self.held = self.held.saturating_add(name.len()).saturating_add(value.len());
            if self.held > XATTR_BYTES_MAX {
                return Err(wrong(Trouble::TooManyXattrs(XATTR_BYTES_MAX)));
            }
            set.extend(Xattr::portable(&name, &value));
        }
        set.sort_unstable();
        if set.windows(2).any(|pair| pair[0].name == pair[1].name) {
            return Err(wrong(Trouble::TwinXattrs));
        }
        Ok(set)
    }
}

/// Reads a value where the cursor is, or where what stands there says; `None` if it is too long.
fn value(image: &Image, cursor: &mut Cursor<'_>, elsewhere: bool) -> Result<Option<Vec<u8>>, Error> {
    let len: U32 = cursor.record()?;
    if !elsewhere {
        return bytes(cursor, len.get());
    }
    if len.get() != 8 {
        return Ok(None);
    }
    let reference: U64 = cursor.record()?;
    let table = image.xattrs.map_or(0, |(_, head)| head.xattr_table_start.get());
    let mut cursor = Cursor::new(image, table, Reference::new(reference.get()))?;
    let len: U32 = cursor.record()?;
    bytes(&mut cursor, len.get())
}

fn bytes(cursor: &mut Cursor<'_>, len: u32) -> Result<Option<Vec<u8>>, Error> {
    if len > VALUE_MAX {
        return Ok(None);
    }
    let mut value = vec![0; usize::try_from(len).expect("64 KiB fit a usize")];
    cursor.read(&mut value)?;
    Ok(Some(value))
}
