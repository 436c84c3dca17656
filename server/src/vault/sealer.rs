//! `Sealer`: turns an actor's names and values into bytes that mean nothing without its data key, and back.
//!
//! ```text
//! sealed        version u8 | nonce (24) | XChaCha20-Poly1305 ciphertext | tag (16)
//! bound to it   version, actor id, incarnation, kind (name or value), record id
//! record id     first 16 bytes of HMAC-SHA256(id key, name)
//! ```
//!
//! Two keys are derived from the data key, one for sealing, one for record ids. Nonces are random: with 192 bits two of
//! them meet after about 2^96 records. What is not hidden: how long names and values are, how many there are, that two
//! writes were to the same record, and an older version of the same record put back in its place.

use std::fmt;

use bytes::Bytes;
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, AeadInOut, Payload},
};
use hmac::{Hmac, Mac};
use lethe_proto::ActorId;
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    DataKey, Error,
    key::KEY_BYTES,
    nonces::{NONCE_BYTES, Nonces},
};
use crate::store::RecordId;

/// Bytes that sealing adds.
pub const SEALED_OVERHEAD: usize = 1 + NONCE_BYTES + TAG_BYTES;
/// Longest name or value that is sealed in one piece.
pub const PLAIN_BYTES_MAX: usize = 64 << 20;

const VERSION: u8 = 1;
const TAG_BYTES: usize = 16;
const HMAC_BLOCK_BYTES: usize = 64;

#[derive(Clone, Copy)]
enum Kind {
    Name = 1,
    Value = 2,
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Value => "value",
        }
    }
}

/// Seals and opens the records of one incarnation of an actor. Its keys are zeroed when it is dropped.
pub struct Sealer {
    actor: ActorId,
    incarnation: Uuid,
    cipher: XChaCha20Poly1305,
    id_key: Zeroizing<[u8; KEY_BYTES]>,
}

impl Sealer {
    /// A sealer for one incarnation.
    pub fn new(key: &DataKey, actor: ActorId, incarnation: Uuid) -> Self {
        let seal_key = derive(key, b"lethe: seal records, v1");
        let cipher = XChaCha20Poly1305::new((&*seal_key).into());
        Self { actor, incarnation, cipher, id_key: derive(key, b"lethe: record ids, v1") }
    }

    /// The actor.
    pub fn actor(&self) -> ActorId {
        self.actor
    }

    /// Its incarnation.
    pub fn incarnation(&self) -> Uuid {
        self.incarnation
    }

    /// Where a name is stored. Always the same for one name and one incarnation; tells nothing about the name.
    pub fn record_id(&self, name: &[u8]) -> RecordId {
        let digest = mac(&self.id_key, name);
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        RecordId(id)
    }

    /// Seals the name of a record.
    pub fn seal_name(&self, id: RecordId, name: &[u8]) -> Result<Bytes, Error> {
        self.seal(&mut Nonces::new(1), Kind::Name, id, name)
    }

    /// Opens the name of a record.
    pub fn open_name(&self, id: RecordId, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        self.open(Kind::Name, id, sealed)
    }

    /// Seals the value of a record.
    pub fn seal_value(&self, id: RecordId, value: &[u8]) -> Result<Bytes, Error> {
        self.seal(&mut Nonces::new(1), Kind::Value, id, value)
    }

    /// Seals the name and the value of a record, with two of these nonces.
    pub fn seal_record(
        &self,
        nonces: &mut Nonces,
        id: RecordId,
        name: &[u8],
        value: &[u8],
    ) -> Result<(Bytes, Bytes), Error> {
        Ok((self.seal(nonces, Kind::Name, id, name)?, self.seal(nonces, Kind::Value, id, value)?))
    }

    /// Opens the value of a record.
    pub fn open_value(&self, id: RecordId, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        self.open(Kind::Value, id, sealed)
    }

    fn seal(&self, nonces: &mut Nonces, kind: Kind, id: RecordId, plain: &[u8]) -> Result<Bytes, Error> {
        let too_large = Error::TooLarge { bytes: plain.len(), max: PLAIN_BYTES_MAX };
        if plain.len() > PLAIN_BYTES_MAX {
            return Err(too_large);
        }
        let nonce = nonces.next()?;
        let mut sealed = Vec::with_capacity(SEALED_OVERHEAD + plain.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let text = (&mut sealed[1 + NONCE_BYTES..]).into();
        let tag = self.cipher.encrypt_inout_detached(&XNonce::from(nonce), &self.place(kind, id), text);
        sealed.extend_from_slice(&tag.map_err(|_| too_large)?);
        Ok(sealed.into())
    }

    fn open(&self, kind: Kind, id: RecordId, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let unsealable = || Error::Unsealable { what: kind.text(), actor: self.actor };
        let (version, rest) = sealed.split_first().ok_or_else(unsealable)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(unsealable)?;
        if *version != VERSION {
            return Err(unsealable());
        }
        let payload = Payload { msg: ciphertext, aad: &self.place(kind, id) };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| unsealable())
    }

    /// What a sealed record is bound to.
    fn place(&self, kind: Kind, id: RecordId) -> [u8; 66] {
        let mut place = [0; 66];
        place[0] = VERSION;
        place[1] = kind as u8;
        place[2..34].copy_from_slice(&self.actor.0);
        place[34..50].copy_from_slice(self.incarnation.as_bytes());
        place[50..66].copy_from_slice(&id.0);
        place
    }
}

fn derive(key: &DataKey, purpose: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
    mac(key.bytes(), purpose)
}

fn mac(key: &[u8; KEY_BYTES], message: &[u8]) -> Zeroizing<[u8; KEY_BYTES]> {
    // HMAC pads a short key with zeros to the block of its hash.
    let mut block = Zeroizing::new([0; HMAC_BLOCK_BYTES]);
    block[..KEY_BYTES].copy_from_slice(key);
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new((&*block).into());
    mac.update(message);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("actor", &self.actor)
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTOR: ActorId = ActorId([7; 32]);
    const LIFE: Uuid = Uuid::from_u128(42);

    fn key(byte: u8) -> DataKey {
        DataKey::from_bytes(&[byte; KEY_BYTES])
    }

    fn sealer() -> Sealer {
        Sealer::new(&key(1), ACTOR, LIFE)
    }

    #[test]
    fn what_was_sealed_opens_again() {
        let sealer = sealer();
        for plain in [&b""[..], b"x", b"a longer value", &[0; 70_000]] {
            let id = sealer.record_id(plain);
            assert_eq!(sealer.open_value(id, &sealer.seal_value(id, plain).unwrap()).unwrap(), plain);
            assert_eq!(sealer.open_name(id, &sealer.seal_name(id, plain).unwrap()).unwrap(), plain);
            let (name, value) = sealer.seal_record(&mut Nonces::new(2), id, b"name", plain).unwrap();
            assert_eq!(sealer.open_name(id, &name).unwrap(), b"name");
            assert_eq!(sealer.open_value(id, &value).unwrap(), plain);
        }
    }

    #[test]
    fn the_same_value_is_never_sealed_to_the_same_bytes() {
        let sealer = sealer();
        let id = sealer.record_id(b"k");
        assert_ne!(sealer.seal_value(id, b"v").unwrap(), sealer.seal_value(id, b"v").unwrap());
    }

    #[test]
    fn a_record_opens_only_in_its_own_place() {
        let sealer = sealer();
        let (id, other) = (sealer.record_id(b"k"), sealer.record_id(b"l"));
        let sealed = sealer.seal_value(id, b"v").unwrap();
        let strangers = [
            Sealer::new(&key(2), ACTOR, LIFE),
            Sealer::new(&key(1), ActorId([8; 32]), LIFE),
            Sealer::new(&key(1), ACTOR, Uuid::from_u128(43)),
        ];
        for stranger in strangers {
            assert!(matches!(stranger.open_value(id, &sealed), Err(Error::Unsealable { what: "value", .. })));
        }
        assert!(sealer.open_value(other, &sealed).is_err());
        assert!(matches!(sealer.open_name(id, &sealed), Err(Error::Unsealable { what: "name", .. })));
        assert_eq!(sealer.open_value(id, &sealed).unwrap(), b"v");
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let sealer = sealer();
        let id = sealer.record_id(b"k");
        let sealed = sealer.seal_value(id, b"value").unwrap();
        for at in 0..sealed.len() {
            let mut bad = sealed.to_vec();
            bad[at] ^= 1;
            assert!(sealer.open_value(id, &bad).is_err(), "byte {at}");
            assert!(sealer.open_value(id, &sealed[..at]).is_err(), "length {at}");
        }
    }

    #[test]
    fn neither_names_nor_values_appear_in_what_is_stored() {
        let sealer = sealer();
        let (name, value) = (b"secret-name-0123456789", b"secret-value-0123456789");
        let id = sealer.record_id(name);
        let stored = [&id.0[..], &sealer.seal_name(id, name).unwrap(), &sealer.seal_value(id, value).unwrap()].concat();
        for secret in [&name[..], value] {
            for part in secret.windows(6) {
                assert!(!stored.windows(6).any(|window| window == part));
            }
        }
    }

    #[test]
    fn record_ids_depend_on_the_key_and_on_the_whole_name() {
        let sealer = sealer();
        assert_eq!(sealer.record_id(b"name"), sealer.record_id(b"name"));
        assert_ne!(sealer.record_id(b"name"), sealer.record_id(b"name2"));
        assert_ne!(sealer.record_id(b"name"), Sealer::new(&key(2), ACTOR, LIFE).record_id(b"name"));
    }

    /// The numbers were computed with another implementation of HMAC, HChaCha20 and ChaCha20-Poly1305.
    #[test]
    fn the_derivation_of_keys_does_not_change_between_versions() {
        assert_eq!(hex::encode(sealer().record_id(b"name").0), "9e47983fc4488b1baa7b618c9a154a30");
        let sealed = hex::decode(
            "01af619f051012d5679ac0395a2bfd26c702cde4606bffaf793f25099350b1eae0158bab64147085b19afe016aff7a",
        )
        .unwrap();
        assert_eq!(sealer().open_value(RecordId([3; 16]), &sealed).unwrap(), b"golden");
    }
}
