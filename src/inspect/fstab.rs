//! What a root's `/etc/fstab` says about where its other partitions belong.
//!
//! Only what names a file system by itself counts: `LABEL=`, `UUID=`, `PARTLABEL=`, `PARTUUID=`, the links below
//! `/dev/disk/by-*`, and logical volumes, `/dev/GROUP/NAME` and `/dev/mapper/GROUP-NAME`. The name of another device depends
//! on the machine.

/// A file system of which a table says where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What names it.
    pub by: By,
    /// Its name, in lower case if it is an id.
    pub name: String,
    /// Where it is mounted, without a leading `/`: never the root itself.
    pub at: Vec<u8>,
    /// Which of its subvolumes, if it says.
    pub subvolume: Option<Subvolume>,
}

/// A subvolume of Btrfs, as options of `mount` name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subvolume {
    /// By its path from the one at the top, without a leading `/`.
    Path(Vec<u8>),
    /// By its number.
    Id(u64),
}

/// By what a file system is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Its own label.
    Label,
    /// Its own UUID.
    Uuid,
    /// The name of its partition.
    PartLabel,
    /// The UUID of its partition.
    PartUuid,
    /// A logical volume's name: `GROUP/NAME`.
    Logical,
}

const NAMINGS: [(&str, &str, By); 4] = [
    ("LABEL=", "/dev/disk/by-label/", By::Label),
    ("UUID=", "/dev/disk/by-uuid/", By::Uuid),
    ("PARTLABEL=", "/dev/disk/by-partlabel/", By::PartLabel),
    ("PARTUUID=", "/dev/disk/by-partuuid/", By::PartUuid),
];

/// The lines that count.
pub fn lines(text: &[u8]) -> Vec<Line> {
    let text = String::from_utf8_lossy(text);
    let lines = text
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with('#'));
    let found = lines.filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (device, at) = (words.next()?, words.next()?);
        let device = device.replace('"', "");
        let tagged = NAMINGS.iter().find_map(|(tag, link, by)| {
            let name = device.strip_prefix(tag).or_else(|| device.strip_prefix(link))?;
            Some((unescaped(name), *by))
        });
        let (name, by) = tagged.or_else(|| Some((logical(&device)?, By::Logical)))?;
        let name = match by {
            By::Uuid | By::PartUuid => name.to_ascii_lowercase(),
            By::Label | By::PartLabel | By::Logical => name,
        };
        let at = mount_point(&unescaped(at))?;
        let subvolume = words.nth(1).and_then(subvolume);
        Some(Line {
            by,
            name,
            at,
            subvolume,
        })
    });
    found.collect()
}

/// A device of a logical volume as `GROUP/NAME`. The device mapper joins both by the one hyphen that it does not double.
fn logical(device: &str) -> Option<String> {
    let name = device.strip_prefix("/dev/")?;
    let Some(mapped) = name.strip_prefix("mapper/") else {
        let one = name.matches('/').count() == 1;
        return one.then(|| name.to_owned());
    };
    let undoubled = mapped.replace("--", "\0");
    let (group, volume) = undoubled.split_once('-')?;
    let whole = format!("{group}/{volume}");
    (!volume.contains('-')).then(|| whole.replace('\0', "-"))
}

/// What options say of a subvolume.
fn subvolume(options: &str) -> Option<Subvolume> {
    options.split(',').find_map(|option| {
        if let Some(id) = option.strip_prefix("subvolid=") {
            return id.parse().ok().map(Subvolume::Id);
        }
        let path = unescaped(option.strip_prefix("subvol=")?);
        Some(Subvolume::Path(path.trim_matches('/').as_bytes().to_vec()))
    })
}

/// A path as parts that lead down, or `None` if it is the root or none.
fn mount_point(path: &str) -> Option<Vec<u8>> {
    let parts: Vec<&str> = path
        .strip_prefix('/')?
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    let plain = !parts.is_empty() && !parts.iter().any(|part| matches!(*part, "." | ".."));
    plain.then(|| parts.join("/").into_bytes())
}

/// Blanks stand as `\040`, as do other bytes that would end a word.
fn unescaped(word: &str) -> String {
    let mut text = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let code = rest
            .get(at + 1..at + 4)
            .and_then(|code| u8::from_str_radix(code, 8).ok());
        let (char, len) = match code.filter(u8::is_ascii) {
            Some(code) => (char::from(code), 4),
            None => ('\\', 1),
        };
        text.push(char);
        rest = &rest[at + len..];
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_name_a_file_system_by_itself_count() {
        let text = b"# a comment\nLABEL=cloudimg-rootfs / ext4 defaults 0 1\nUUID=\"AB-CD\" /boot/efi vfat defaults 0 0\n\
            LABEL=my\\040data /srv//data/ ext4\n/dev/vda2 /boot ext4 defaults\nPARTUUID=0A /a/../b ext4\nUUID=x swap swap\n\
            \t/dev/disk/by-partlabel/boot\t/boot\text4\nLABEL=lone\n/dev/mapper/my--vg-var /var ext4\n/dev/vg/a-b /b ext4\n\
            UUID=5 /home btrfs compress=zstd:1,subvol=/a\\040home 0 0\nLABEL=l /srv btrfs subvolid=257\n\
            /dev/mapper/luks /c ext4\n/dev/mapper/a-b-c /d ext4\n";
        let line = |by, name: &str, at: &[u8]| Line {
            by,
            name: name.to_owned(),
            at: at.to_vec(),
            subvolume: None,
        };
        let of = |line: Line, subvolume| Line {
            subvolume: Some(subvolume),
            ..line
        };
        assert_eq!(
            lines(text),
            [
                line(By::Uuid, "ab-cd", b"boot/efi"),
                line(By::Label, "my data", b"srv/data"),
                line(By::PartLabel, "boot", b"boot"),
                line(By::Logical, "my-vg/var", b"var"),
                line(By::Logical, "vg/a-b", b"b"),
                of(line(By::Uuid, "5", b"home"), Subvolume::Path(b"a home".to_vec())),
                of(line(By::Label, "l", b"srv"), Subvolume::Id(257)),
            ]
        );
    }
}
