//! Unified kernel images: a program of UEFI that carries a kernel, its initial ramdisk and its command line.
//!
//! Specs: <https://uapi-group.org/specifications/specs/unified_kernel_image/>,
//! <https://learn.microsoft.com/windows/win32/debug/pe-format>. The stub of systemd is such a program without cargo; each
//! piece of it becomes one more section behind those that the stub has. Bytes in, bytes out.

/// What ends the offsets of a PE file that we read and write: all from the start of a header.
mod at {
    /// Where the offset of the PE header stands.
    pub(super) const HEADER: usize = 0x3c;
    /// Of the COFF header: how many sections there are.
    pub(super) const SECTIONS: usize = 6;
    /// How long the optional header is.
    pub(super) const OPTIONAL_LEN: usize = 20;
    /// The optional header.
    pub(super) const OPTIONAL: usize = 24;
    /// Of the optional header: alignments in memory and in the file.
    pub(super) const ALIGNMENT: usize = 32;
    pub(super) const FILE_ALIGNMENT: usize = 36;
    /// Bytes of the program in memory, and of its headers.
    pub(super) const IMAGE_LEN: usize = 56;
    pub(super) const HEADERS_LEN: usize = 60;
    /// The entry of its signatures.
    pub(super) const CERTIFICATES: usize = 144;
}

/// Bytes of a section's header.
const SECTION_LEN: usize = 40;

/// PE32+, as 64-bit programs are.
const MAGIC: u16 = 0x20b;

/// A section of data that is only read.
const READ_DATA: u32 = 0x4000_0040;

/// Pages of processors: a kernel is started where it lies.
const PAGE: u32 = 4096;

/// Why a stub cannot take cargo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is something else.
    #[error("it is no 64-bit program of UEFI")]
    NoProgram,
    /// It was made with cargo already.
    #[error("it has a section {0} already")]
    Taken(&'static str),
    /// The table of sections cannot grow.
    #[error("its headers have no room for {0} more sections")]
    NoRoom(usize),
    /// The result would be longer than such a program can be.
    #[error("the image would be longer than 4 GiB")]
    TooLong,
}

/// The stub with these sections behind its own.
pub fn assemble(stub: &[u8], cargo: &[(&'static str, &[u8])]) -> Result<Vec<u8>, Error> {
    let mut image = stub.to_vec();
    let header = usize::try_from(u32_at(stub, at::HEADER)?).map_err(|_| Error::NoProgram)?;
    let start = |offset: usize| header.checked_add(offset).ok_or(Error::NoProgram);
    if !stub.starts_with(b"MZ") || stub.get(header..start(4)?) != Some(b"PE\0\0") {
        return Err(Error::NoProgram);
    }
    let count = usize::from(u16_at(stub, start(at::SECTIONS)?)?);
    let optional = start(at::OPTIONAL)?;
    let optional_len = usize::from(u16_at(stub, start(at::OPTIONAL_LEN)?)?);
    if u16_at(stub, optional)? != MAGIC || optional_len < at::CERTIFICATES + 8 {
        return Err(Error::NoProgram);
    }
    let (table, end) = (
        optional + optional_len,
        optional + optional_len + (count + cargo.len()) * SECTION_LEN,
    );
    let headers_len =
        usize::try_from(u32_at(stub, optional + at::HEADERS_LEN)?).map_err(|_| Error::NoProgram)?;
    if end > headers_len.min(stub.len()) {
        return Err(Error::NoRoom(cargo.len()));
    }
    let alignment = u32_at(stub, optional + at::ALIGNMENT)?.max(PAGE);
    let file_alignment = u32_at(stub, optional + at::FILE_ALIGNMENT)?.max(1);
    let mut memory = 0_u32;
    for section in stub[table..table + count * SECTION_LEN].chunks_exact(SECTION_LEN) {
        if let Some((name, _)) = cargo.iter().find(|(name, _)| section[..8] == padded(name)) {
            return Err(Error::Taken(name));
        }
        let last = u32_at(section, 12)?.checked_add(u32_at(section, 8)?);
        memory = memory.max(last.ok_or(Error::NoProgram)?);
    }
    for (index, (name, bytes)) in cargo.iter().enumerate() {
        memory = memory.checked_next_multiple_of(alignment).ok_or(Error::TooLong)?;
        align(&mut image, file_alignment)?;
        let offset = length(image.len())?;
        image.extend_from_slice(bytes);
        align(&mut image, file_alignment)?;
        let len = length(bytes.len())?;
        let stored = length(image.len())?.saturating_sub(offset);
        let mut section = padded(name).to_vec();
        for number in [len, memory, stored, offset, 0, 0, 0, READ_DATA] {
            section.extend_from_slice(&number.to_le_bytes());
        }
        let place = table + (count + index) * SECTION_LEN;
        image[place..place + SECTION_LEN].copy_from_slice(&section);
        memory = memory.checked_add(len).ok_or(Error::TooLong)?;
    }
    let sections = u16::try_from(count + cargo.len()).map_err(|_| Error::NoRoom(cargo.len()))?;
    image[start(at::SECTIONS)?..][..2].copy_from_slice(&sections.to_le_bytes());
    let memory = memory.checked_next_multiple_of(alignment).ok_or(Error::TooLong)?;
    image[optional + at::IMAGE_LEN..][..4].copy_from_slice(&memory.to_le_bytes());
    // Who signed the stub did not sign this.
    image[optional + at::CERTIFICATES..][..8].fill(0);
    Ok(image)
}

/// A name of a section, of at most eight letters.
fn padded(name: &str) -> [u8; 8] {
    let mut padded = [0; 8];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    padded
}

fn align(image: &mut Vec<u8>, alignment: u32) -> Result<(), Error> {
    let len = length(image.len())?.checked_next_multiple_of(alignment);
    let len = usize::try_from(len.ok_or(Error::TooLong)?).map_err(|_| Error::TooLong)?;
    image.resize(len, 0);
    Ok(())
}

fn length(len: usize) -> Result<u32, Error> {
    u32::try_from(len).map_err(|_| Error::TooLong)
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Error> {
    let part = bytes.get(at..).and_then(|rest| rest.first_chunk());
    part.copied().map(u16::from_le_bytes).ok_or(Error::NoProgram)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Error> {
    let part = bytes.get(at..).and_then(|rest| rest.first_chunk());
    part.copied().map(u32::from_le_bytes).ok_or(Error::NoProgram)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stub with one section, and room for more.
    fn stub(headers_len: u32) -> Vec<u8> {
        let mut stub = vec![0; 0x600];
        stub[..2].copy_from_slice(b"MZ");
        stub[0x3c] = 0x80;
        stub[0x80..0x84].copy_from_slice(b"PE\0\0");
        stub[0x86] = 1;
        stub[0x94] = 240;
        let optional = 0x98;
        stub[optional..optional + 2].copy_from_slice(&MAGIC.to_le_bytes());
        for (at, number) in [
            (at::ALIGNMENT, 0x200),
            (at::FILE_ALIGNMENT, 0x200),
            (at::HEADERS_LEN, headers_len),
            (at::CERTIFICATES, 77),
        ] {
            stub[optional + at..optional + at + 4].copy_from_slice(&u32::to_le_bytes(number));
        }
        let section = optional + 240;
        stub[section..section + 5].copy_from_slice(b".text");
        stub[section + 8..section + 12].copy_from_slice(&0x1f0_u32.to_le_bytes());
        stub[section + 12..section + 16].copy_from_slice(&0x4000_u32.to_le_bytes());
        stub
    }

    #[test]
    fn cargo_becomes_sections() {
        let made = assemble(&stub(0x400), &[(".cmdline", b"quiet"), (".linux", &[7; 5000])]).unwrap();
        assert_eq!(u16_at(&made, 0x86).unwrap(), 3);
        let table = 0x98 + 240;
        let number = |section: usize, at: usize| u32_at(&made, table + section * SECTION_LEN + at).unwrap();
        assert_eq!(
            [number(1, 8), number(1, 12), number(1, 16), number(1, 20)],
            [5, 0x5000, 0x200, 0x600]
        );
        assert_eq!(
            [number(2, 8), number(2, 12), number(2, 16), number(2, 20)],
            [5000, 0x6000, 0x1400, 0x800]
        );
        assert_eq!(&made[table + SECTION_LEN..][..8], b".cmdline");
        assert_eq!(&made[0x600..0x606], b"quiet\0");
        assert_eq!(made[0x800..0x800 + 5000], [7; 5000]);
        assert_eq!(u32_at(&made, 0x98 + at::IMAGE_LEN).unwrap(), 0x8000);
        assert_eq!(u32_at(&made, 0x98 + at::CERTIFICATES).unwrap(), 0);
        assert_eq!(assemble(&made, &[(".linux", b"")]), Err(Error::Taken(".linux")));
    }

    #[test]
    fn what_is_no_stub_is_refused() {
        let cargo: &[(&str, &[u8])] = &[(".linux", b"x")];
        assert_eq!(assemble(&stub(0x1b0), cargo), Err(Error::NoRoom(1)));
        let whole = stub(0x400);
        for len in 0..0x1b0 {
            assert!(assemble(&whole[..len], cargo).is_err(), "{len}");
        }
        let mut elsewhere = whole.clone();
        elsewhere[0x3c..0x40].fill(0xff);
        assert_eq!(assemble(&elsewhere, cargo), Err(Error::NoProgram));
        let mut of_32_bits = whole;
        of_32_bits[0x98] = 0x0b;
        of_32_bits[0x99] = 0x01;
        assert_eq!(assemble(&of_32_bits, cargo), Err(Error::NoProgram));
    }
}
