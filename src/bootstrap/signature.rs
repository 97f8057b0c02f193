//! Who signed a `Release`, judged by key rings of archives.
//!
//! Spec: RFC 9580, as far as archives use it: `OpenPGP` keys, detached signatures, and the cleartext framework of
//! `InRelease`. The crate `pgp` does the arithmetic and the parsing; here stands what a signature must be to count:
//! by a key of the ring that may sign, is bound to its primary key, and is neither revoked nor expired; over a digest
//! that nobody can forge; and in force.
//!
//! What is read afterwards is the text that was signed, and nothing around it.

use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use pgp::armor::Dearmor;
use pgp::composed::{
    CleartextSignedMessage, Deserializable as _, DetachedSignature, SignedPublicKey, SignedPublicSubKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Packet, PacketParser, Signature, SignatureType};
use pgp::types::{KeyDetails as _, Tag, VerifyingKey};

use crate::error::{Context as _, Error, Kind, Result};

/// The archive keys of Debian, from its package `debian-archive-keyring`.
const DEBIAN: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/elements/debootstrap/keyrings/debian-archive-keyring.gpg"
));

/// The archive keys of Ubuntu, from its package `ubuntu-keyring`.
const UBUNTU: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/elements/debootstrap/keyrings/ubuntu-archive-keyring.gpg"
));

/// Keys that are believed.
#[derive(Debug)]
pub struct Keyring {
    name: String,
    /// Whose suites they sign; `None`: anybody's.
    origin: Option<&'static str>,
    keys: Vec<SignedPublicKey>,
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It is no signed text.
    #[error("it is not signed as an archive signs: {0}")]
    Form(String),
    /// None of the keys made it.
    #[error("no key of {rings} signed it (it is signed by {signers})")]
    Unknown {
        /// The key rings.
        rings: String,
        /// The key ids that the signatures name.
        signers: String,
    },
    /// It is not what was signed.
    #[error("the signature by key {0} is bad: this is not what was signed")]
    Bad(String),
    /// The key is too old.
    #[error("key {0}, which signed it, has expired")]
    Expired(String),
    /// The key was taken back.
    #[error("key {0}, which signed it, was revoked")]
    Revoked(String),
    /// The key may not sign, or its owner never said that it is his.
    #[error("key {0}, which signed it, is not allowed to sign")]
    NotForSigning(String),
    /// The digest can be forged.
    #[error("the signature by key {0} is over a digest that is too weak")]
    Weak(String),
    /// The signature itself is past its time.
    #[error("the signature by key {0} is no longer, or not yet, in force")]
    NotInForce(String),
}

impl Keyring {
    /// The key rings that come with this program.
    pub fn shipped() -> Result<Vec<Self>> {
        [("Debian", DEBIAN), ("Ubuntu", UBUNTU)]
            .into_iter()
            .map(|(origin, bytes)| {
                let mut ring = Self::read(bytes, &format!("the archive keys of {origin}"))?;
                ring.origin = Some(origin);
                Ok(ring)
            })
            .collect()
    }

    /// The key ring in a file, in binary form or in ASCII.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).host(|| format!("cannot read the key ring {}", path.display()))?;
        Self::read(&bytes, &path.display().to_string())
    }

    /// Reads keys.
    pub fn read(bytes: &[u8], name: &str) -> Result<Self> {
        let wrong = |told: &str| Error::new(Kind::Host, format!("{name} is no key ring: {told}"));
        let mut keys = Vec::new();
        if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
            for block in blocks(bytes) {
                let mut inside = Vec::new();
                let mut reader = Dearmor::new(block);
                let read = reader.read_to_end(&mut inside);
                read.map_err(|error| wrong(&error.to_string()))?;
                keys.extend(keys_of(&inside).map_err(|error| wrong(&error.to_string()))?);
            }
        } else {
            keys = keys_of(bytes).map_err(|error| wrong(&error.to_string()))?;
        }
        if keys.is_empty() {
            return Err(wrong("it holds no key"));
        }
        Ok(Self {
            name: name.to_owned(),
            origin: None,
            keys,
        })
    }

    /// Whether a suite of this origin may be signed by these keys.
    pub fn may_sign(&self, origin: &str) -> bool {
        self.origin.is_none_or(|own| own == origin)
    }
}

impl fmt::Display for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The keys in a row of packets. What `GnuPG` notes of its trust stands between a name and its signatures, and parts them.
fn keys_of(bytes: &[u8]) -> pgp::errors::Result<Vec<SignedPublicKey>> {
    let packets = PacketParser::new(bytes).filter(|packet| !matches!(packet, Ok(Packet::Trust(_))));
    SignedPublicKey::from_packets(packets.peekable()).collect()
}

/// The armored blocks of a text: key rings are made of several by `cat`.
fn blocks(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    const END: &[u8] = b"-----END PGP PUBLIC KEY BLOCK-----";
    let mut rest = bytes;
    std::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        let end = rest.windows(END.len()).position(|window| window == END);
        let end = end.map_or(rest.len(), |at| at + END.len());
        let (block, after) = rest.split_at(end);
        rest = after;
        (!block.is_empty()).then_some(block)
    })
}

/// The text of an `InRelease` that one of the rings vouches for, and which.
pub fn verify_inline<'a>(
    bytes: &[u8],
    rings: &'a [Keyring],
    now: SystemTime,
) -> std::result::Result<(String, &'a Keyring), SignatureError> {
    let (message, _) =
        CleartextSignedMessage::from_armor(bytes).map_err(|error| SignatureError::Form(error.to_string()))?;
    let text = message.signed_text();
    let ring = judge(message.signatures(), text.as_bytes(), rings, now)?;
    Ok((text.replace("\r\n", "\n"), ring))
}

/// The ring that vouches for a `Release` by its `Release.gpg`.
pub fn verify_detached<'a>(
    text: &[u8],
    signature: &[u8],
    rings: &'a [Keyring],
    now: SystemTime,
) -> std::result::Result<&'a Keyring, SignatureError> {
    let form = |error: pgp::errors::Error| SignatureError::Form(error.to_string());
    let (signatures, _) = DetachedSignature::from_reader_many(signature).map_err(form)?;
    let signatures: Vec<_> = signatures
        .map(|signature| signature.map(|signature| signature.signature))
        .collect::<std::result::Result<_, _>>()
        .map_err(form)?;
    judge(&signatures, text, rings, now)
}

/// The ring of the first signature that counts, else why none does.
fn judge<'a>(
    signatures: &[Signature],
    text: &[u8],
    rings: &'a [Keyring],
    now: SystemTime,
) -> std::result::Result<&'a Keyring, SignatureError> {
    let mut refused = None;
    for signature in signatures {
        for ring in rings {
            match ring.keys.iter().find_map(|key| by_key(signature, key, text, now)) {
                Some(Ok(())) => return Ok(ring),
                Some(Err(error)) => refused = refused.or(Some(error)),
                None => {}
            }
        }
    }
    Err(refused.unwrap_or_else(|| SignatureError::Unknown {
        rings: rings
            .iter()
            .map(|ring| ring.name.as_str())
            .collect::<Vec<_>>()
            .join(" or "),
        signers: match signers(signatures) {
            words if words.is_empty() => "nobody".to_owned(),
            words => words,
        },
    }))
}

fn signers(signatures: &[Signature]) -> String {
    let ids = signatures.iter().filter_map(|signature| {
        let long = signature
            .issuer_fingerprint()
            .into_iter()
            .map(|id| format!("{id:X}"));
        long.chain(
            signature
                .issuer_key_id()
                .into_iter()
                .map(|id| format!("{id}").to_uppercase()),
        )
        .next()
    });
    ids.collect::<Vec<_>>().join(", ")
}

/// Whether a key, or a subkey of it, made a signature that counts; `None`: it did not make it.
fn by_key(
    signature: &Signature,
    key: &SignedPublicKey,
    text: &[u8],
    now: SystemTime,
) -> Option<std::result::Result<(), SignatureError>> {
    let primary = &key.primary_key;
    if names(signature, primary) {
        let id = format!("{:X}", primary.fingerprint());
        return Some(own_right(key, &id, now).and_then(|()| over(signature, primary, text, &id, now)));
    }
    let subkey = key
        .public_subkeys
        .iter()
        .find(|subkey| names(signature, &subkey.key))?;
    let id = format!("{:X}", subkey.key.fingerprint());
    Some(
        own_right(key, &id, now)
            .and_then(|()| lent_right(subkey, key, &id, now))
            .and_then(|()| over(signature, &subkey.key, text, &id, now)),
    )
}

/// Whether a signature says to be by a key.
fn names(signature: &Signature, key: &impl VerifyingKey) -> bool {
    let prints = signature.issuer_fingerprint();
    if prints.is_empty() {
        return signature.issuer_key_id().contains(&&key.legacy_key_id());
    }
    prints.contains(&&key.fingerprint())
}

/// Whether a signature is over a text, by a digest that holds, now.
fn over(
    signature: &Signature,
    key: &impl VerifyingKey,
    text: &[u8],
    id: &str,
    now: SystemTime,
) -> std::result::Result<(), SignatureError> {
    let id = || id.to_owned();
    if !matches!(
        signature.hash_alg(),
        Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512)
    ) {
        return Err(SignatureError::Weak(id()));
    }
    if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return Err(SignatureError::Bad(id()));
    }
    signature
        .verify(key, text)
        .map_err(|_| SignatureError::Bad(id()))?;
    let made = signature.created().map(SystemTime::from);
    let lasts = signature.signature_expiration_time().map(Duration::from);
    // The clock of a machine may be a little behind that of the archive.
    let begun = made.is_none_or(|made| made <= now + Duration::from_hours(24));
    if !begun || is_over(made, lasts, now) {
        return Err(SignatureError::NotInForce(id()));
    }
    Ok(())
}

/// Whether what lasts so long from then on is over. What lasts for no time lasts for ever.
fn is_over(from: Option<SystemTime>, lasts: Option<Duration>, now: SystemTime) -> bool {
    let end = from
        .zip(lasts.filter(|lasts| !lasts.is_zero()))
        .map(|(from, lasts)| from + lasts);
    end.is_some_and(|end| end <= now)
}

/// Whether a primary key is neither revoked nor expired.
fn own_right(key: &SignedPublicKey, id: &str, now: SystemTime) -> std::result::Result<(), SignatureError> {
    let primary = &key.primary_key;
    let revoked = |signature: &Signature| {
        signature.typ() == Some(SignatureType::KeyRevocation) && signature.verify_key(primary).is_ok()
    };
    if key.details.revocation_signatures.iter().any(revoked) {
        return Err(SignatureError::Revoked(id.to_owned()));
    }
    let direct = key.details.direct_signatures.iter();
    let direct = direct.filter(|signature| signature.verify_key(primary).is_ok());
    let users = key.details.users.iter().flat_map(|user| {
        let own = |signature: &&Signature| {
            names(signature, primary)
                && signature.is_certification()
                && signature
                    .verify_certification(primary, Tag::UserId, &user.id)
                    .is_ok()
        };
        user.signatures.iter().filter(own)
    });
    let newest = direct
        .chain(users)
        .max_by_key(|signature| signature.created().map(SystemTime::from));
    let newest = newest.ok_or_else(|| SignatureError::NotForSigning(id.to_owned()))?;
    let made = SystemTime::from(primary.created_at());
    if is_over(Some(made), newest.key_expiration_time().map(Duration::from), now) {
        return Err(SignatureError::Expired(id.to_owned()));
    }
    Ok(())
}

/// Whether the primary key says that a subkey may sign, and the subkey that it belongs to it.
fn lent_right(
    subkey: &SignedPublicSubKey,
    key: &SignedPublicKey,
    id: &str,
    now: SystemTime,
) -> std::result::Result<(), SignatureError> {
    let primary = &key.primary_key;
    let valid = |signature: &&Signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok();
    let valid: Vec<&Signature> = subkey.signatures.iter().filter(valid).collect();
    if valid
        .iter()
        .any(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation))
    {
        return Err(SignatureError::Revoked(id.to_owned()));
    }
    let bindings = valid
        .into_iter()
        .filter(|signature| signature.typ() == Some(SignatureType::SubkeyBinding));
    let newest = bindings.max_by_key(|signature| signature.created().map(SystemTime::from));
    let allowed = newest.filter(|binding| {
        let back = binding.embedded_signature();
        binding.key_flags().sign()
            && back.is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok())
    });
    let binding = allowed.ok_or_else(|| SignatureError::NotForSigning(id.to_owned()))?;
    let made = SystemTime::from(subkey.key.created_at());
    if is_over(Some(made), binding.key_expiration_time().map(Duration::from), now) {
        return Err(SignatureError::Expired(id.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_key_vouches_for_itself() {
        // When the newest of them was made, all were in force.
        let then = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365 * 55);
        for ring in Keyring::shipped().unwrap() {
            for key in &ring.keys {
                let id = format!("{:X}", key.primary_key.fingerprint());
                assert_eq!(own_right(key, &id, then), Ok(()), "{ring}");
            }
        }
    }
}
