//! VHD, VMDK and VDI, judged by `qemu-img`, by `OpenStack`'s gatekeeper and by our own readers; and the images of
//! `qemu-img`, read.

use std::fs::File;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use image_core::read_at::ImageFile;
use image_core::sink::{FileSink, MemorySink};
use image_core::store::MemoryStore;
use image_core::tree::Time;
use image_core::{Map, ReadAt, Store, copy};
use image_formats::guest::{self, Guest, GuestStore};
use image_formats::vmdk::StreamSink;
use image_formats::{qcow2, vdi, vhd, vmdk};

/// Bytes without any order.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let bytes = std::iter::repeat_with(&mut next).take(len / 8 + 1).flatten();
    bytes.take(len).collect()
}

/// Data at odd places of a guest whose last block is not whole, in every format; over several tables of a VMDK.
fn sample() -> (Map, MemoryStore) {
    let mut store = MemoryStore::default();
    let len = (150 << 20) + 64 * 1024 + 512;
    let mut map = Map::builder(len);
    map.bytes(0, vec![0x5a; 512], "boot sector");
    for (at, bytes) in [
        (1024, noise(100_000, 1)),
        ((2 << 20) - 700, noise(3 << 20, 2)),
        (12 << 20, b"words, and words again; ".repeat(60_000)),
        (40 << 20, vec![0; 300_000]),
        ((100 << 20) + 3, noise(70_000, 4)),
        (len - 700, noise(700, 6)),
    ] {
        let len = u64::try_from(bytes.len()).unwrap();
        map.file(at, store.push(bytes), 0, len, "file data");
    }
    (map.build().unwrap(), store)
}

fn write(map: &Map, store: &impl Store, path: &Path) {
    let mut sink = FileSink::new(File::create(path).unwrap());
    copy(map, store, &mut sink).unwrap();
}

fn opened(path: &Path) -> ImageFile {
    ImageFile::new(File::open(path).unwrap(), path).unwrap()
}

fn uuid(seed: u8) -> [u8; 16] {
    [seed; 16]
}

fn vhd_options(profile: vhd::Profile) -> vhd::Options {
    let time = Time {
        secs: 1_700_000_000,
        nanos: 0,
    };
    vhd::Options::new(profile, uuid(7), time)
}

/// Panics unless a guest has the bytes of a map, and its own map finds them again.
fn read_back(guest: impl Guest + 'static, map: &Map, store: &MemoryStore) {
    let mut wanted = MemorySink::default();
    copy(map, store, &mut wanted).unwrap();
    let wanted = wanted.into_bytes();
    assert_eq!(guest.len(), map.len());
    let mut found = vec![0xff; wanted.len()];
    guest.read_exact_at(&mut found, 0).unwrap();
    assert!(found == wanted, "the guest differs");
    let guest: Arc<dyn Guest> = Arc::new(guest);
    let again = guest::map(&*guest, NonZero::new(2).unwrap()).unwrap();
    assert!(again.data_len() <= map.data_len() + 12 * 65536, "holes are lost");
    let mut sink = MemorySink::default();
    copy(&again, &GuestStore::new(guest, b"image".to_vec()), &mut sink).unwrap();
    assert!(sink.into_bytes() == wanted, "the guest's map differs");
}

/// Bytes of the file at a place.
fn at(image: &Path, offset: u64, len: usize) -> Vec<u8> {
    let mut buf = vec![0; len];
    opened(image).read_exact_at(&mut buf, offset).unwrap();
    buf
}

#[test]
fn vhd_of_every_profile() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, image) = (dir.path().join("raw"), dir.path().join("vhd"));
    let (map, store) = sample();
    write(&map, &store, &raw);
    for word in vhd::Profile::WORDS
        .into_iter()
        .chain(vhd::options::Creator::WORDS)
    {
        let options = vhd_options(vhd::Profile::of(word).unwrap());
        let planned = vhd::plan(&map, &options).unwrap();
        write(&planned, &store, &image);
        read_back(vhd::Guest::open(opened(&image)).unwrap(), &map, &store);
        assert_eq!(
            vhd::Guest::is_fixed(&opened(&image)).unwrap(),
            !options.dynamic,
            "{word}"
        );
        if oracle::require(&["qemu-img"]) {
            oracle::containers::compare(&raw, "vpc", &image);
            let info = oracle::containers::info("vpc", &image);
            assert!(
                info.contains(&format!("\"virtual-size\": {}", map.len())),
                "{info}"
            );
        }
        if oracle::containers::require_inspector() {
            // Who looks at the first bytes only sees a fixed disk as what is on it.
            let seen = if options.dynamic { "vhd" } else { "raw" };
            oracle::containers::inspect(seen, &image);
        }
    }
}

/// Every field of the footer and of the header, by what the specification says of it.
#[test]
fn vhd_field_by_field() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("vhd");
    let (map, store) = sample();
    let len = map.len();
    let mut file = len;
    for (word, creator, kind, data_at) in [
        ("xen", b"tap\0\x00\x00\x00\x01Wi2k", 3_u32, 512_u64),
        ("azure", b"win \x00\x0a\x00\x00Wi2k", 2, u64::MAX),
        ("hyperv", b"win \x00\x0a\x00\x00Wi2k", 3, 512),
    ] {
        let options = vhd_options(vhd::Profile::of(word).unwrap());
        let planned = vhd::plan(&map, &options).unwrap();
        write(&planned, &store, &image);
        let mut footer = at(&image, planned.len() - 512, 512);
        let sum = footer[64..68].to_vec();
        footer[64..68].fill(0);
        let added: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
        assert_eq!(sum, (!added).to_be_bytes(), "checksum");
        let mut expected = b"conectix\0\0\0\x02\0\x01\0\0".to_vec();
        expected.extend(data_at.to_be_bytes());
        expected.extend((1_700_000_000_u32 - 946_684_800).to_be_bytes());
        expected.extend(creator);
        expected.extend([len.to_be_bytes(), len.to_be_bytes()].concat());
        // 307,329 sectors: 18,078 tracks of 17, which need 16 heads only past 16,384 tracks, so tracks of 31.
        expected.extend([619_u16.to_be_bytes(), [16, 31]].concat());
        expected.extend(kind.to_be_bytes());
        expected.extend([0; 4]);
        expected.extend(uuid(7));
        expected.resize(512, 0);
        assert_eq!(footer, expected, "{word}");
        if kind == 2 {
            assert_eq!(planned.len(), len + 512);
            continue;
        }
        footer[64..68].copy_from_slice(&sum);
        assert_eq!(at(&image, 0, 512), footer, "the copy");
        let header = at(&image, 512, 1024);
        let blocks: u32 = 76;
        let mut expected = b"cxsparse".to_vec();
        expected.extend([u64::MAX.to_be_bytes(), 1536_u64.to_be_bytes()].concat());
        expected.extend([0x1_0000_u32, blocks, 2 << 20].map(u32::to_be_bytes).concat());
        assert_eq!(header[..36], expected);
        assert!(header[40..].iter().all(|byte| *byte == 0));
        let table = at(&image, 1536, 512);
        let entries: Vec<u32> = table
            .chunks(4)
            .map(|entry| u32::from_be_bytes(entry.try_into().unwrap()))
            .collect();
        let used: Vec<usize> = (0..128).filter(|i| entries[*i] != u32::MAX).collect();
        assert_eq!(used, [0, 1, 2, 6, 20, 50, 75]);
        let places: Vec<u32> = used.iter().map(|i| entries[*i]).collect();
        let expected: Vec<u32> = (0..7).map(|rank| 4 + rank * 4097).collect();
        assert_eq!(places, expected);
        assert!(at(&image, 2048, 512).iter().all(|byte| *byte == 0xff), "bitmap");
        file = planned.len();
    }
    assert_eq!(file, 2048 + 7 * (512 + (2 << 20)) + 512);
}

#[test]
fn vdi_dynamic_and_static() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, image) = (dir.path().join("raw"), dir.path().join("vdi"));
    let (map, store) = sample();
    write(&map, &store, &raw);
    for is_static in ["off", "on"] {
        let mut options = vdi::Options::new(uuid(1), uuid(2));
        options.set("static", is_static).unwrap();
        let planned = vdi::plan(&map, &options).unwrap();
        write(&planned, &store, &image);
        read_back(vdi::Guest::open(opened(&image)).unwrap(), &map, &store);
        assert_eq!(planned.len() > 150 << 20, is_static == "on");
        if oracle::require(&["qemu-img"]) {
            oracle::containers::check("vdi", &image);
            oracle::containers::compare(&raw, "vdi", &image);
        }
        if oracle::containers::require_inspector() {
            oracle::containers::inspect("vdi", &image);
        }
    }
}

#[test]
fn vmdk_sparse() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, image) = (dir.path().join("raw"), dir.path().join("image.vmdk"));
    let (map, store) = sample();
    write(&map, &store, &raw);
    let mut options = vmdk::Options::new(0xfeed, "image.vmdk");
    options.set("adapter_type", "ide").unwrap();
    write(&vmdk::plan(&map, &options).unwrap(), &store, &image);
    read_back(vmdk::Guest::open(opened(&image)).unwrap(), &map, &store);
    if oracle::require(&["qemu-img"]) {
        oracle::containers::check("vmdk", &image);
        oracle::containers::compare(&raw, "vmdk", &image);
        let info = oracle::containers::info("vmdk", &image);
        assert!(
            info.contains("monolithicSparse") && info.contains("65261"),
            "{info}"
        );
    }
    if oracle::containers::require_inspector() {
        oracle::containers::inspect("vmdk", &image);
    }
}

fn streamed(map: &Map, store: &MemoryStore, threads: usize) -> Vec<u8> {
    let mut options = vmdk::Options::new(0xfeed, "image.vmdk");
    options.set("subformat", "streamOptimized").unwrap();
    options.threads = NonZero::new(threads).unwrap();
    let mut sink = StreamSink::new(Vec::new(), map.len(), &options).unwrap();
    copy(map, store, &mut sink).unwrap();
    sink.into_inner()
}

#[test]
fn vmdk_stream_optimized() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, image) = (dir.path().join("raw"), dir.path().join("image.vmdk"));
    let (map, store) = sample();
    let bytes = streamed(&map, &store, 1);
    for threads in 2..=4 {
        assert!(streamed(&map, &store, threads) == bytes, "{threads} threads");
    }
    std::fs::write(&image, &bytes).unwrap();
    read_back(vmdk::Guest::open(opened(&image)).unwrap(), &map, &store);
    // Version, flags, where the directory is not, and the line ends that tell a transfer as text.
    assert_eq!(bytes[4..12], [3, 0, 0, 0, 1, 0, 3, 0]);
    assert_eq!(bytes[56..64], [0xff; 8]);
    assert_eq!(bytes[73..79], *b"\n \r\n\x01\0");
    // Markers of the end: footer, its copy of the header, end of stream.
    let end = bytes.len() - 1536;
    assert_eq!(
        bytes[end..end + 16],
        [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0]
    );
    assert_eq!(bytes[end + 512..end + 516], *b"KDMV");
    assert_eq!(bytes[end + 1024..], [0; 512]);
    let text = String::from_utf8_lossy(&bytes[512..1024]).into_owned();
    assert!(
        text.contains("createType=\"streamOptimized\"") && text.contains("\"lsilogic\""),
        "{text}"
    );
    if oracle::require(&["qemu-img"]) {
        write(&map, &store, &raw);
        oracle::containers::check("vmdk", &image);
        oracle::containers::compare(&raw, "vmdk", &image);
    }
    if oracle::containers::require_inspector() {
        oracle::containers::inspect("vmdk", &image);
    }
}

#[test]
fn an_empty_guest_has_an_image_in_every_format() {
    let store = MemoryStore::default();
    for len in [0, 512, 1 << 30] {
        let map = Map::builder(len).build().unwrap();
        let read = |planned: Map| {
            let mut sink = MemorySink::default();
            copy(&planned, &store, &mut sink).unwrap();
            sink.into_bytes()
        };
        let vhd = read(vhd::plan(&map, &vhd_options(vhd::Profile::Xen)).unwrap());
        assert_eq!(vhd::Guest::open(vhd).unwrap().len(), len);
        let vdi = read(vdi::plan(&map, &vdi::Options::new(uuid(1), uuid(2))).unwrap());
        assert_eq!(vdi::Guest::open(vdi).unwrap().len(), len);
        let vmdk = read(vmdk::plan(&map, &vmdk::Options::new(1, "n.vmdk")).unwrap());
        assert_eq!(vmdk::Guest::open(vmdk).unwrap().len(), len);
        let stream = vmdk::Guest::open(streamed(&map, &store, 1)).unwrap();
        assert_eq!(stream.len(), len);
    }
}

#[test]
fn lengths_are_judged_before_anything_is_written() {
    let odd = Map::builder(513).build().unwrap();
    let large = Map::builder(1 << 51).build().unwrap();
    let vhd = |map| {
        vhd::plan(map, &vhd_options(vhd::Profile::Xen))
            .unwrap_err()
            .to_string()
    };
    let vdi = |map| {
        vdi::plan(map, &vdi::Options::new(uuid(1), uuid(2)))
            .unwrap_err()
            .to_string()
    };
    let vmdk = |map| {
        vmdk::plan(map, &vmdk::Options::new(1, "n"))
            .unwrap_err()
            .to_string()
    };
    for message in [vhd(&odd), vdi(&odd), vmdk(&odd)] {
        assert_eq!(message, "513 bytes are no whole number of sectors of 512 bytes");
    }
    for message in [vhd(&large), vdi(&large), vmdk(&large)] {
        assert!(
            message.contains("2251799813685248 bytes are too many"),
            "{message}"
        );
    }
}

#[test]
fn images_of_qemu_are_read() {
    if !oracle::require(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (raw, image) = (dir.path().join("raw"), dir.path().join("image"));
    let (map, store) = sample();
    write(&map, &store, &raw);
    let convert = |words: &[&str]| oracle::containers::convert(words, &raw, &image);
    for subformat in ["dynamic", "fixed"] {
        convert(&["-O", "vpc", "-o", &format!("subformat={subformat},force_size=on")]);
        read_back(vhd::Guest::open(opened(&image)).unwrap(), &map, &store);
    }
    for subformat in ["monolithicSparse", "streamOptimized"] {
        convert(&["-O", "vmdk", "-o", &format!("subformat={subformat}")]);
        read_back(vmdk::Guest::open(opened(&image)).unwrap(), &map, &store);
    }
    convert(&["-O", "vdi"]);
    read_back(vdi::Guest::open(opened(&image)).unwrap(), &map, &store);
    for words in [&["-O", "qcow2"][..], &["-O", "qcow2", "-c"]] {
        convert(words);
        read_back(qcow2::Guest::open(opened(&image)).unwrap(), &map, &store);
    }
}

#[test]
fn what_needs_other_files_is_refused_by_name() {
    if !oracle::require(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (raw, image) = (dir.path().join("raw"), dir.path().join("image.vmdk"));
    std::fs::write(&raw, noise(1 << 20, 1)).unwrap();
    oracle::containers::convert(
        &["-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"],
        &raw,
        &image,
    );
    let extent = dir.path().join("image-s001.vmdk");
    assert!(
        vmdk::Guest::open(opened(&image))
            .unwrap_err()
            .to_string()
            .contains("not a VMDK")
    );
    // An extent alone has no text, and all that it has can be read.
    assert!(vmdk::Guest::open(opened(&extent)).is_ok());
    let (map, store) = sample();
    let mut sink = MemorySink::default();
    let options = vhd_options(vhd::Profile::Xen);
    copy(&vhd::plan(&map, &options).unwrap(), &store, &mut sink).unwrap();
    let mut child = sink.into_bytes();
    child[63] = 4;
    child[67] = child[67].wrapping_sub(1);
    let error = vhd::Guest::open(child.clone()).unwrap_err().to_string();
    assert!(error.contains("a differencing disk needs its parent"), "{error}");
    child[67] ^= 1;
    let error = vhd::Guest::open(child).unwrap_err().to_string();
    assert!(error.contains("its checksum is wrong"), "{error}");
    let sparse = vmdk::plan(&map, &vmdk::Options::new(1, "n.vmdk")).unwrap();
    let mut sink = MemorySink::default();
    copy(&sparse, &store, &mut sink).unwrap();
    let text = sink.into_bytes();
    let start = text.windows(8).position(|bytes| bytes == b"ffffffff").unwrap();
    let mut child = text;
    child[start] = b'0';
    let error = vmdk::Guest::open(child).unwrap_err().to_string();
    assert!(error.contains("a disk with a parent"), "{error}");
}

#[test]
fn each_refusal_of_an_option_names_it() {
    let mut vhd = vhd_options(vhd::Profile::Xen);
    let mut vdi = vdi::Options::new(uuid(1), uuid(2));
    let mut vmdk = vmdk::Options::new(1, "n");
    for (error, message) in [
        (vhd.set("compat", "1.1"), "vhd has no option 'compat'"),
        (
            vhd.set("subformat", "flat"),
            "'flat' is no value of subformat, which is dynamic or fixed",
        ),
        (
            vhd.set("force_size", "off"),
            "force_size=off is not supported: readers would take the length from the geometry, which cannot say every \
             length",
        ),
        (
            vhd.set("creator", "vpc"),
            "'vpc' is no value of creator, which is tap, win or qem2",
        ),
        (
            vdi.set("static", "2"),
            "'2' is no value of static, which is on or off",
        ),
        (vdi.set("x", ""), "vdi has no option 'x'"),
        (
            vmdk.set("subformat", "monolithicFlat"),
            "subformat=monolithicFlat is not supported: the image is one file: use monolithicSparse or streamOptimized",
        ),
        (
            vmdk.set("adapter_type", "scsi"),
            "'scsi' is no value of adapter_type, which is lsilogic, buslogic, ide or legacyESX",
        ),
        (
            vmdk.set("zeroed_grain", "on"),
            "zeroed_grain=on is not supported: grains of zeros are left out",
        ),
    ] {
        assert_eq!(error.unwrap_err().to_string(), message);
    }
}

#[test]
fn the_longest_vdi_is_one_that_is_read_and_no_longer_one_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("vdi");
    let options = vdi::Options::new(uuid(1), uuid(2));
    let longest = 16_u64 << 40;
    let mut map = Map::builder(longest);
    map.bytes(longest - 512, vec![7; 512], "the last sector");
    let planned = vdi::plan(&map.build().unwrap(), &options).unwrap();
    write(&planned, &MemoryStore::default(), &image);
    let guest = vdi::Guest::open(opened(&image)).unwrap();
    let mut last = [0; 512];
    guest.read_exact_at(&mut last, longest - 512).unwrap();
    assert_eq!((guest.len(), last), (longest, [7; 512]));
    // From 1073479553 MiB on the place of the blocks has no room in its field.
    for len in [longest + 512, 1_073_479_553 << 20, 1_073_741_823 << 20] {
        let map = Map::builder(len).build().unwrap();
        let error = vdi::plan(&map, &options).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("{len} bytes are too many for a VDI: at most {longest}")
        );
    }
}
