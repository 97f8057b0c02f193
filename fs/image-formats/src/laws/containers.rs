//! Laws of VHD, VMDK, VDI and qcow2.

use std::io::Cursor;
use std::num::NonZero;
use std::sync::Arc;

use image_core::laws::{Draw, Model, copied};
use image_core::tree::Time;
use image_core::{ReadAt, copy};

use crate::guest::{self, Guest, GuestStore};
use crate::{qcow2, vdi, vhd, vmdk};

/// A guest read through the tables of its image is the guest, and so is what its map copies; and whatever bytes of the
/// image are changed, reading it ends, with bytes or an error.
pub fn containers(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let format = draw.below(8);
    let changes: Vec<(u64, u8)> = (0..draw.below(6))
        .map(|_| (draw.below(1 << 16), draw.byte()))
        .collect();
    let len = draw.below(400) * 512;
    let model = Model::draw(&mut draw, len);
    let mut image = image(format, &model);
    for (at, byte) in &changes {
        // Most of them hit headers and tables.
        let end = if at % 4 == 0 {
            image.len()
        } else {
            image.len().min(4096)
        };
        let at = usize::try_from(*at).unwrap() / 4 % end;
        let from_end = format < 2 && at < 512 && byte % 2 == 0;
        let at = if from_end { image.len() - 1 - at } else { at };
        image[at] = *byte;
    }
    let faults = check(format, image.clone());
    assert!(
        !changes.is_empty() || faults == Some(0),
        "{faults:?} faults of what nothing changed"
    );
    let Ok(guest) = open(format, image) else {
        assert!(!changes.is_empty(), "an image that nothing changed can be opened");
        return;
    };
    if changes.is_empty() {
        assert_eq!(guest.len(), len);
        let mut found = vec![0xff; model.bytes.len()];
        guest.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(found, model.bytes);
        let map = guest::map(&*guest, NonZero::<usize>::MIN).unwrap();
        assert_eq!(copied(&map, &GuestStore::new(guest, Vec::new())), model.bytes);
        return;
    }
    let len = guest.len();
    let mut part = vec![0; usize::try_from(len.min(1 << 17)).unwrap()];
    for offset in [0, len - len.min(1 << 17)] {
        let _ = guest.read_exact_at(&mut part, offset);
    }
    assert!(guest.read_exact_at(&mut [0], len).is_err());
    if len < 1 << 32 {
        let mut end = 0;
        let _ = guest.stretches(&mut |stretch| {
            assert!(end <= stretch.range.start && stretch.range.end <= len);
            end = stretch.range.end;
            Ok(())
        });
        let _ = guest::map(&*guest, NonZero::<usize>::MIN);
    }
}

/// How many faults a check finds, if it can be made.
fn check(format: u64, image: Vec<u8>) -> Option<usize> {
    match format {
        0 | 1 => vhd::check(&image).ok().map(|faults| faults.len()),
        2 | 3 => vdi::check(image).ok().map(|faults| faults.len()),
        4 | 5 => vmdk::check(image).ok().map(|faults| faults.len()),
        _ => qcow2::check(&image).ok().map(|faults| faults.len()),
    }
}

fn image(format: u64, model: &Model) -> Vec<u8> {
    let (map, store) = (&model.map, &model.store);
    let vhd = |profile| vhd::plan(map, &vhd::Options::new(profile, [1; 16], Time::default())).unwrap();
    let vdi = |is_static| {
        let options = vdi::Options {
            is_static,
            ..vdi::Options::new([1; 16], [2; 16])
        };
        vdi::plan(map, &options).unwrap()
    };
    let mut options = vmdk::Options::new(1, "n.vmdk");
    match format {
        0 => copied(&vhd(vhd::Profile::Xen), store),
        1 => copied(&vhd(vhd::Profile::Azure), store),
        2 => copied(&vdi(false), store),
        3 => copied(&vdi(true), store),
        4 => copied(&vmdk::plan(map, &options).unwrap(), store),
        6 => copied(&qcow2::plan(map, &qcow2::Options::default()).unwrap(), store),
        7 => {
            let options = qcow2::Options {
                threads: NonZero::<usize>::MIN,
                ..qcow2::Options::default()
            };
            let output = Cursor::new(Vec::new());
            let mut sink = qcow2::CompressedSink::new(output, map.len(), &options).unwrap();
            copy(map, store, &mut sink).unwrap();
            sink.into_inner().into_inner()
        }
        _ => {
            options.threads = NonZero::<usize>::MIN;
            let mut sink = vmdk::StreamSink::new(Vec::new(), map.len(), &options).unwrap();
            copy(map, store, &mut sink).unwrap();
            sink.into_inner()
        }
    }
}

fn open(format: u64, image: Vec<u8>) -> Result<Arc<dyn Guest>, String> {
    fn shown(error: impl std::error::Error) -> String {
        let text = error.to_string();
        assert!(!text.is_empty());
        text
    }
    Ok(match format {
        0 | 1 => Arc::new(vhd::Guest::open(image).map_err(shown)?),
        2 | 3 => Arc::new(vdi::Guest::open(image).map_err(shown)?),
        4 | 5 => Arc::new(vmdk::Guest::open(image).map_err(shown)?),
        _ => Arc::new(qcow2::Guest::open(image).map_err(shown)?),
    })
}
