//! Features by their names: the list behind `-O`.

use super::{Error, refused};
use crate::features::{Compat, Feature, Features, Incompat, RoCompat};

/// Sets and clears features: `^name` clears, `none` clears all.
pub(super) fn apply(features: &mut Features, list: &str) -> Result<(), Error> {
    for word in list.split([',', ' ']).filter(|word| !word.is_empty()) {
        if word == "none" {
            *features = Features::default();
            continue;
        }
        let (name, on) = match word.strip_prefix(['^', '-']) {
            Some(name) => (name, false),
            None => (word.strip_prefix('+').unwrap_or(word), true),
        };
        match (Feature::named(name), refused::feature(name)) {
            (Some(feature), _) => {
                features.set(feature, on);
                exclude(features, feature, on);
            }
            // What this writer never makes is as good as cleared.
            (None, Some(_)) if !on => {}
            (None, Some(error)) => return Err(error),
            (None, None) => return Err(Error::UnknownFeature(name.to_owned())),
        }
    }
    Ok(())
}

/// As mke2fs does: asking for one kind of checksum drops the other, and no journal leaves nothing to be orphaned in.
fn exclude(features: &mut Features, feature: Feature, on: bool) {
    match feature {
        Feature::RoCompat(RoCompat::METADATA_CSUM) if on => features.ro_compat.remove(RoCompat::GDT_CSUM),
        Feature::RoCompat(RoCompat::METADATA_CSUM) => {
            features.incompat.remove(Incompat::CSUM_SEED);
        }
        Feature::RoCompat(RoCompat::GDT_CSUM) if on => {
            features.ro_compat.remove(RoCompat::METADATA_CSUM);
            features.incompat.remove(Incompat::CSUM_SEED);
        }
        Feature::Compat(Compat::HAS_JOURNAL) if !on => features.compat.remove(Compat::ORPHAN_FILE),
        _ => {}
    }
}
