//! A data key, sealed to the public key of one node's key epoch: only who has that epoch's private key opens it.
//!
//! ```text
//! sealed        version u8 | ephemeral public key (32) | XChaCha20-Poly1305 ciphertext (32) | tag (16)
//! its key       HKDF-SHA256(salt = ephemeral public | recipient's public, secret = X25519(ephemeral, recipient))
//! bound to it   version, actor id, incarnation, node, key epoch
//! ```
//!
//! The ephemeral key is made for one sealing and forgotten, so the cipher's key is used once and its nonce is zero.

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hmac::{Hmac, Mac};
use lethe_proto::NodeId;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use super::{DataKey, Error, key::KEY_BYTES, slot::Owner};

/// Bytes of a sealed data key.
pub const SEALED_KEY_BYTES: usize = 1 + PUBLIC_BYTES + KEY_BYTES + 16;

/// Bytes of a public key.
pub(super) const PUBLIC_BYTES: usize = 32;

const VERSION: u8 = 1;
const PURPOSE: &[u8] = b"lethe: a data key for one node, v1";

/// The public half of a node's key epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey(pub [u8; PUBLIC_BYTES]);

/// Whom a data key can be sealed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The node.
    pub node: NodeId,
    /// Its key epoch.
    pub epoch: u32,
    /// The epoch's public key.
    pub public: PublicKey,
}

/// Seals `key` so that only `to` can open it.
pub(super) fn seal(owner: Owner, key: &DataKey, to: &Recipient) -> Result<Vec<u8>, Error> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|error| Error::Random(error.to_string()))?;
    seal_with(StaticSecret::from(*seed), owner, key, to)
}

fn seal_with(ephemeral: StaticSecret, owner: Owner, key: &DataKey, to: &Recipient) -> Result<Vec<u8>, Error> {
    let weak = || Error::WeakKey { node: to.node, epoch: to.epoch };
    let public = x25519_dalek::PublicKey::from(&ephemeral).to_bytes();
    let cipher = cipher(&ephemeral, &to.public, &public, &to.public).ok_or_else(weak)?;
    let place = place(owner, to.node, to.epoch);
    let payload = Payload { msg: key.bytes(), aad: &place };
    let ciphertext = cipher.encrypt(&XNonce::default(), payload).map_err(|_| weak())?;
    let mut sealed = Vec::with_capacity(SEALED_KEY_BYTES);
    sealed.push(VERSION);
    sealed.extend_from_slice(&public);
    sealed.extend_from_slice(&ciphertext);
    Ok(sealed)
}

/// Opens what was sealed to `me`, whose private key is `secret`. `None` when it was not, or is damaged.
pub(super) fn open(owner: Owner, sealed: &[u8], me: &Recipient, secret: &StaticSecret) -> Option<DataKey> {
    let (version, rest) = sealed.split_first()?;
    let (ephemeral, ciphertext) = rest.split_first_chunk::<PUBLIC_BYTES>()?;
    if *version != VERSION {
        return None;
    }
    let cipher = cipher(secret, &PublicKey(*ephemeral), ephemeral, &me.public)?;
    let place = place(owner, me.node, me.epoch);
    let payload = Payload { msg: ciphertext, aad: &place };
    let plain = Zeroizing::new(cipher.decrypt(&XNonce::default(), payload).ok()?);
    plain.first_chunk().filter(|_| plain.len() == KEY_BYTES).map(DataKey::from_bytes)
}

/// The cipher both sides come to. `None` when the other's key is one of the few that give everybody the same secret.
fn cipher(
    mine: &StaticSecret,
    theirs: &PublicKey,
    ephemeral: &[u8; PUBLIC_BYTES],
    recipient: &PublicKey,
) -> Option<XChaCha20Poly1305> {
    let shared = mine.diffie_hellman(&x25519_dalek::PublicKey::from(theirs.0));
    if !shared.was_contributory() {
        return None;
    }
    let mut salt = [0; 2 * PUBLIC_BYTES];
    salt[..PUBLIC_BYTES].copy_from_slice(ephemeral);
    salt[PUBLIC_BYTES..].copy_from_slice(&recipient.0);
    let extracted = mac(&salt, &[shared.as_bytes()]);
    let mut block = Zeroizing::new([0; 2 * PUBLIC_BYTES]);
    block[..KEY_BYTES].copy_from_slice(&*extracted);
    let key = mac(&block, &[PURPOSE, &[1]]);
    Some(XChaCha20Poly1305::new((&*key).into()))
}

/// HMAC-SHA256 with a key of a whole block; shorter ones are padded with zeros.
fn mac(key: &[u8; 2 * PUBLIC_BYTES], parts: &[&[u8]]) -> Zeroizing<[u8; KEY_BYTES]> {
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new(key.into());
    parts.iter().for_each(|part| mac.update(part));
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// What a sealed key is bound to.
fn place(owner: Owner, node: NodeId, epoch: u32) -> [u8; 69] {
    let mut place = [0; 69];
    place[0] = VERSION;
    place[1..33].copy_from_slice(&owner.actor.0);
    place[33..49].copy_from_slice(owner.incarnation.as_bytes());
    place[49..65].copy_from_slice(node.0.as_bytes());
    place[65..69].copy_from_slice(&epoch.to_le_bytes());
    place
}

#[cfg(test)]
mod tests {
    use lethe_proto::ActorId;
    use uuid::Uuid;

    use super::*;

    const OWNER: Owner = Owner { actor: ActorId([7; 32]), incarnation: Uuid::from_u128(42) };

    fn secret(byte: u8) -> StaticSecret {
        StaticSecret::from([byte; 32])
    }

    fn recipient(node: u64, epoch: u32, secret: &StaticSecret) -> Recipient {
        let public = PublicKey(x25519_dalek::PublicKey::from(secret).to_bytes());
        Recipient { node: NodeId::from(node), epoch, public }
    }

    fn key() -> DataKey {
        DataKey::from_bytes(&[5; KEY_BYTES])
    }

    #[test]
    fn only_the_recipient_opens_it_and_only_for_this_actor_node_and_epoch() {
        let (mine, others) = (secret(1), secret(2));
        let me = recipient(1, 3, &mine);
        let sealed = seal(OWNER, &key(), &me).unwrap();
        assert_eq!(sealed.len(), SEALED_KEY_BYTES);
        assert_eq!(open(OWNER, &sealed, &me, &mine), Some(key()));
        assert_eq!(open(OWNER, &sealed, &recipient(1, 3, &others), &others), None);
        for other in [Owner { actor: ActorId([8; 32]), ..OWNER }, Owner { incarnation: Uuid::nil(), ..OWNER }] {
            assert_eq!(open(other, &sealed, &me, &mine), None);
        }
        assert_eq!(open(OWNER, &sealed, &recipient(2, 3, &mine), &mine), None);
        assert_eq!(open(OWNER, &sealed, &recipient(1, 4, &mine), &mine), None);
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let mine = secret(1);
        let me = recipient(1, 3, &mine);
        let sealed = seal(OWNER, &key(), &me).unwrap();
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert_eq!(open(OWNER, &bad, &me, &mine), None, "byte {at}");
            assert_eq!(open(OWNER, &sealed[..at], &me, &mine), None, "length {at}");
        }
        assert_eq!(open(OWNER, &[&sealed[..], &[0]].concat(), &me, &mine), None);
    }

    #[test]
    fn a_public_key_that_gives_everybody_the_same_secret_is_refused() {
        for point in [[0; 32], std::array::from_fn(|at| u8::from(at == 0))] {
            let to = Recipient { node: NodeId::from(1), epoch: 1, public: PublicKey(point) };
            assert!(matches!(seal(OWNER, &key(), &to), Err(Error::WeakKey { .. })));
        }
    }

    /// The bytes were computed with another implementation of X25519, HKDF and XChaCha20-Poly1305.
    #[test]
    fn the_sealed_bytes_do_not_change_between_versions() {
        let mine = secret(1);
        let me = recipient(1, 300, &mine);
        let golden = concat!(
            "0157db4b359f23ae5e146e4e2512056704722506348c150c14753d0c933d04d4213c3a516c7a3430c5642ed390",
            "777b5820507aa5a0932a97e72a70cb703cf92163ec0c346dcc60c2449a8a94d0b64945fd",
        );
        assert_eq!(hex::encode(seal_with(secret(9), OWNER, &key(), &me).unwrap()), golden);
        assert_eq!(open(OWNER, &hex::decode(golden).unwrap(), &me, &mine), Some(key()));
    }
}
