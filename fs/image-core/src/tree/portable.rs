//! Portable attributes: what of a file's extended attributes an image can have, whichever way its tree is read.
//!
//! - `security.capability` of version 3 becomes version 2. A builder in a user namespace leaves version 3, which holds
//!   for that namespace alone; the image has none, and its root is the one for whom the capabilities are. So the id of
//!   the namespace's root is dropped, as the ids of owners are when a tree is read from inside that namespace.
//! - Attributes outside `user.`, `trusted.`, `security.` and `system.` are properties of the host's file system, such
//!   as `btrfs.compression`, and stay behind. So do `trusted.SGI_ACL_FILE` and `trusted.SGI_ACL_DEFAULT`: how XFS stores
//!   access control lists, which it shows by that name, too.
//!
//! Spec: `struct vfs_ns_cap_data` in `linux/capability.h`. Version 3 is version 2 with that id behind it.

use super::Xattr;

impl Xattr {
    /// An attribute as an image has it, or `None` for a property of the host.
    pub fn portable(name: &[u8], value: &[u8]) -> Option<Self> {
        const NAMESPACES: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system."];
        let kept = NAMESPACES.iter().any(|prefix| name.starts_with(prefix))
            && !name.starts_with(b"trusted.SGI_ACL_");
        kept.then(|| Self {
            name: name.to_vec(),
            value: if name == b"security.capability" {
                capability(value)
            } else {
                value.to_vec()
            },
        })
    }
}

fn capability(value: &[u8]) -> Vec<u8> {
    const LEN_V2: usize = 20;
    const LEN_V3: usize = 24;
    let mut value = value.to_vec();
    if value.len() == LEN_V3 && value[3] == 3 {
        value.truncate(LEN_V2);
        value[3] = 2;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_lose_their_namespace() {
        let portable = |name: &[u8], value: &[u8]| Xattr::portable(name, value).unwrap().value;
        let mut v3 = vec![1, 0, 0, 3];
        v3.extend([0x55; 16]);
        let mut v2 = v3.clone();
        v2[3] = 2;
        for root in [0_u32, 100_000] {
            let v3 = [&v3[..], &root.to_le_bytes()].concat();
            assert_eq!(portable(b"security.capability", &v3), v2);
            assert_eq!(portable(b"user.other", &v3), v3);
        }
        assert_eq!(portable(b"security.capability", &v2), v2);
        assert_eq!(portable(b"security.capability", b"odd"), b"odd");
    }

    #[test]
    fn properties_of_the_host_stay_behind() {
        assert!(Xattr::portable(b"system.posix_acl_access", b"").is_some());
        assert_eq!(Xattr::portable(b"btrfs.compression", b"zstd"), None);
        assert_eq!(Xattr::portable(b"trusted.SGI_ACL_FILE", &[0; 4]), None);
    }
}
