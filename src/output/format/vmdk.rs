//! `VMware`'s disk, sparse or stream-optimized.

use std::io::BufWriter;
use std::path::Path;

use image_formats::vmdk::options::Subformat;
use image_formats::vmdk::{self, Options, StreamSink};

use super::Writer;
use crate::error::{Context, Error, Result};
use crate::output::digest::{DigestingFile, Digits};
use crate::output::options::known_to;
use crate::output::writing::{Image, TRIED, Target, ascending, copy, in_order, planned, refused, too_long};
use crate::output::{Rules, stdout};

pub(super) struct Vmdk;

/// Bytes gathered before they are written: grains are small.
const GATHER: usize = 256 * 1024;

fn options(rules: &Rules) -> Result<Options> {
    let stem = Path::new(&rules.name).file_name().unwrap_or_default();
    let name = format!("{}.vmdk", stem.to_string_lossy());
    let content = rules.identity.uuid("vmdk").as_fields().0;
    let mut options = Options::new(content, &name);
    options.threads = rules.threads();
    for (key, value) in known_to(&Options::KEYS, &rules.options) {
        options.set(key, value).map_err(refused)?;
    }
    options.check().map_err(refused)?;
    Ok(options)
}

impl Writer for Vmdk {
    fn word(&self) -> &'static str {
        "vmdk"
    }

    fn keys(&self) -> &'static [&'static str] {
        &Options::KEYS
    }

    fn check(&self, rules: &Rules) -> Result<()> {
        let options = options(rules)?;
        if options.returns_to_front() && rules.name == stdout::NAME {
            return Err(Error::usage(
                "-o -: what vmdk_layout=front writes last stands in front, which standard output has passed by then",
            ));
        }
        Ok(())
    }

    fn check_len(&self, len: u64, _: &Rules) -> Result<()> {
        vmdk::check_len(len).map_err(too_long)
    }

    fn write(&self, image: &Image<'_>, rules: &Rules, to: &Target<'_>) -> Result<Vec<Digits>> {
        let options = options(rules)?;
        match options.subformat {
            Subformat::MonolithicSparse => {
                let disk = planned(vmdk::plan(image.map, &options))?;
                ascending(&image.with(&disk), rules, to)
            }
            Subformat::StreamOptimized => {
                let tried = || TRIED.to_owned();
                let len = image.map.len();
                if options.returns_to_front() {
                    let out = BufWriter::with_capacity(GATHER, to.writer()?);
                    let sink = StreamSink::new(out, len, &options).image(tried)?;
                    return in_order(image, rules, to, sink.with_directory_in_front());
                }
                let out = DigestingFile::new(to.writer()?, rules.checksums).image(tried)?;
                let out = BufWriter::with_capacity(GATHER, out);
                let sink = StreamSink::new(out, len, &options).image(tried)?;
                let out = copy(image, sink)?.into_inner().into_inner();
                let out = out.map_err(std::io::IntoInnerError::into_error).image(tried)?;
                out.into_digests().image(tried)
            }
        }
    }
}
