//! Directories: every name, from the root on.

use image_core::ReadAt;
use zerocopy::FromBytes;

use super::{Check, Checked, Fault};
use crate::directory::block::Head;
use crate::features::Incompat;
use crate::inode::{INDEX_FL, mode};
use crate::reader::volume::Loaded;
use crate::reader::{mapping, names};
use crate::units::{Block, Ino, to_u64};

/// A name in a directory.
pub(super) struct Named {
    pub(super) name: Vec<u8>,
    ino: u32,
    file_type: u8,
}

/// The type in a name of a kind of file.
fn file_type(kind: u16) -> u8 {
    match kind {
        mode::FILE => 1,
        mode::DIRECTORY => 2,
        mode::CHAR_DEVICE => 3,
        mode::BLOCK_DEVICE => 4,
        mode::FIFO => 5,
        mode::SOCKET => 6,
        mode::SYMLINK => 7,
        _ => 0,
    }
}

impl<R: ReadAt> Check<'_, R> {
    pub(super) fn directories(&mut self) -> Checked {
        let mut open = vec![(Ino::ROOT.0, Ino::ROOT.0)];
        while let Some((ino, parent)) = open.pop() {
            match self.inodes.get_mut(&ino) {
                Some(seen) if !seen.walked => seen.walked = true,
                Some(_) => {
                    self.fault(Fault::NamedTwice { ino })?;
                    continue;
                }
                None => continue,
            }
            let loaded = self.volume.inode(Ino(ino));
            if let Some(loaded) = self.or_fault(loaded)? {
                self.directory(&loaded, parent, &mut open)?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, directory: &Loaded, parent: u32, open: &mut Vec<(u32, u32)>) -> Checked {
        if directory.kind() != mode::DIRECTORY {
            let value = directory.inode.i_mode.get().into();
            return self.fault(directory.corrupt("the mode", value).into());
        }
        let mapped = mapping::of(directory, &self.volume, self.volume.blocks);
        let Some((mapped, _)) = self.or_fault(mapped)? else {
            return Ok(());
        };
        let blocks = directory.size().div_ceil(self.volume.block_size.bytes());
        let places: Vec<Block> = mapped.blocks_below(blocks).collect();
        let mut first = true;
        for at in &places {
            let block = self.block(at.0)?;
            let sum = names::check(&block, directory, &self.volume);
            self.or_fault(sum)?;
            let names = self.names(&block, directory)?;
            if first {
                let dots = names.get(..2).unwrap_or_default();
                let are = |at: usize, name: &[u8], ino: u32| {
                    dots.get(at)
                        .is_some_and(|found| found.name == name && found.ino == ino)
                };
                if !are(0, b".", directory.ino.0) || !are(1, b"..", parent) {
                    let directory = directory.ino.0;
                    self.fault(Fault::Dots { directory, parent })?;
                }
            }
            first = false;
            for name in names {
                self.name(&name, directory.ino.0, open)?;
            }
        }
        if directory.inode.i_flags.get() & INDEX_FL != 0 && !places.is_empty() {
            self.index(directory, &places)?;
        }
        Ok(())
    }

    fn name(&mut self, name: &Named, directory: u32, open: &mut Vec<(u32, u32)>) -> Checked {
        let filetype = self.volume.has(Incompat::FILETYPE);
        let ino = name.ino;
        let Some(seen) = self.inodes.get_mut(&ino) else {
            return self.fault(Fault::NotInUse { directory, ino });
        };
        seen.named = seen.named.saturating_add(1);
        let (kind, is) = (seen.kind, file_type(seen.kind));
        if kind == mode::DIRECTORY && name.name != b"." && name.name != b".." {
            open.push((ino, directory));
        }
        if filetype && name.file_type != is {
            let says = name.file_type;
            self.fault(Fault::Kind {
                directory,
                ino,
                says,
                is,
            })?;
        }
        Ok(())
    }

    /// The names in a block; where one is none, the rest cannot be read.
    pub(super) fn names(&mut self, block: &[u8], directory: &Loaded) -> Checked<Vec<Named>> {
        let mut names = Vec::new();
        let mut rest = block;
        while let Ok((head, after)) = Head::read_from_prefix(rest) {
            let len = usize::from(head.rec_len.get());
            let least = size_of::<Head>().saturating_add(head.name_len.into());
            if least > len || len > rest.len() || !len.is_multiple_of(4) {
                let at = to_u64(block.len().saturating_sub(rest.len()));
                let what = "an entry in a block of the directory, at byte";
                self.fault(directory.corrupt(what, at).into())?;
                break;
            }
            if head.inode.get() != 0 {
                let name = after.get(..head.name_len.into()).unwrap_or_default();
                names.push(Named {
                    name: name.to_vec(),
                    ino: head.inode.get(),
                    file_type: head.file_type,
                });
            }
            rest = &rest[len..];
        }
        Ok(names)
    }
}
