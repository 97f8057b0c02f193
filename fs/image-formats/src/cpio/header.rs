//! A member's header: six digits that say newc, and thirteen numbers of eight hexadecimal digits each.

/// The name that ends an archive.
pub(crate) const TRAILER: &[u8] = b"TRAILER!!!";

const MAGIC: &[u8] = b"070701";

/// What a header says besides the name. The device that the member was on, and the checksum, which newc has not, are 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) inode: u32,
    /// The kind of file and its permissions.
    pub(super) mode: u32,
    pub(super) owner: u32,
    pub(super) group: u32,
    /// From two on the kernel looks for the inode's other names.
    pub(super) links: u32,
    pub(super) time: u32,
    /// Bytes of data.
    pub(super) len: u32,
    /// Of a device node: major and minor.
    pub(super) device: (u32, u32),
}

impl Header {
    /// That of the member that ends an archive.
    pub(super) fn trailer() -> Self {
        Self {
            links: 1,
            ..Self::default()
        }
    }

    /// Appends header and name, with the zeros up to the next multiple of four, where data begin. What is there already
    /// must be a multiple of four.
    pub(super) fn write(&self, name: &[u8], bytes: &mut Vec<u8>) {
        let name_len = u32::try_from(name.len()).expect("a path of a few thousand bytes");
        bytes.extend_from_slice(MAGIC);
        for number in [
            self.inode,
            self.mode,
            self.owner,
            self.group,
            self.links,
            self.time,
            self.len,
            0,
            0,
            self.device.0,
            self.device.1,
            name_len.saturating_add(1),
            0,
        ] {
            bytes.extend_from_slice(format!("{number:08x}").as_bytes());
        }
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_name_stand_where_everybody_looks() {
        let mut bytes = Vec::new();
        let header = Header {
            inode: 0x1234_5678,
            mode: 0o100_644,
            owner: 1,
            group: 2,
            links: 3,
            time: 4,
            len: 5,
            device: (6, 7),
        };
        header.write(b"name", &mut bytes);
        let text = "070701\
                    12345678000081a40000000100000002000000030000000400000005\
                    0000000000000000000000060000000700000005\
                    00000000name\0";
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), format!("{text}\0"));
        assert_eq!(bytes.len(), 116);
    }
}
