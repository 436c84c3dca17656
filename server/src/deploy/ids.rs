//! Making and checking actor ids: the format of Workers' Durable Object ids, so ids mean the same here and there.
//!
//! ```text
//! key    = SHA-256(unique key of the namespace)
//! first  = 16 random bytes, or HMAC(key, name)[..16]
//! last   = HMAC(key, first)[..16]             an id is first ++ last, 64 hex digits
//! ```
//!
//! The last half ties an id to its namespace: a typing error, or an id of another namespace, is refused before any
//! shard is asked. It is a check, not a secret: whoever knows the unique key can make ids.

use hmac::{Hmac, KeyInit, Mac};
use lethe_proto::{ActorId, InvalidActorId};
use sha2::{Digest, Sha256};

/// Longest name an id can be made from, in UTF-8 bytes.
pub const NAME_BYTES_MAX: usize = 1024;

const HALF: usize = 16;

/// Makes and checks the ids of one namespace.
#[derive(Clone)]
pub struct Ids {
    keyed: Hmac<Sha256>,
}

/// Why a text or name gave no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 64 hex digits.
    #[error(transparent)]
    Malformed(#[from] InvalidActorId),
    /// Well formed, but made for another namespace (or mistyped).
    #[error("actor id {0} does not belong to this namespace")]
    Foreign(ActorId),
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("an actor's name is at most {NAME_BYTES_MAX} bytes, this one has {0}")]
    NameTooLong(usize),
    /// The operating system gave no random bytes.
    #[error("no random bytes for a new actor id: {0}")]
    NoRandomness(String),
}

impl Ids {
    /// Ids of the namespace with this unique key.
    pub fn new(unique_key: &str) -> Self {
        let key = Sha256::digest(unique_key.as_bytes());
        let keyed = Hmac::new_from_slice(&key).expect("HMAC takes keys of any length");
        Self { keyed }
    }

    /// `idFromName(name)`: always the same id for the same name.
    pub fn from_name(&self, name: &str) -> Result<ActorId, IdError> {
        if name.len() > NAME_BYTES_MAX {
            return Err(IdError::NameTooLong(name.len()));
        }
        Ok(self.complete(self.mac_half(name.as_bytes())))
    }

    /// `newUniqueId()`: 128 random bits.
    pub fn unique(&self) -> Result<ActorId, IdError> {
        let mut first = [0; HALF];
        getrandom::fill(&mut first).map_err(|error| IdError::NoRandomness(error.to_string()))?;
        Ok(self.complete(first))
    }

    /// `idFromString(text)`: refuses what is not an id of this namespace.
    pub fn from_hex(&self, text: &str) -> Result<ActorId, IdError> {
        let id = text.parse()?;
        self.check(id)?;
        Ok(id)
    }

    /// Whether `id` is one of this namespace. The time it takes does not depend on how much of it is right.
    pub fn check(&self, id: ActorId) -> Result<(), IdError> {
        let (first, last) = id.0.split_at(HALF);
        let mut mac = self.keyed.clone();
        mac.update(first);
        mac.verify_truncated_left(last).map_err(|_| IdError::Foreign(id))
    }

    fn complete(&self, first: [u8; HALF]) -> ActorId {
        let mut id = [0; 2 * HALF];
        id[..HALF].copy_from_slice(&first);
        id[HALF..].copy_from_slice(&self.mac_half(&first));
        ActorId(id)
    }

    fn mac_half(&self, data: &[u8]) -> [u8; HALF] {
        let mut mac = self.keyed.clone();
        mac.update(data);
        let whole = mac.finalize().into_bytes();
        std::array::from_fn(|i| whole[i])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Ids {
        Ids::new("chat-Room")
    }

    #[test]
    fn a_name_gives_the_id_that_other_implementations_of_the_format_give() {
        // Computed with Python's `hmac` and `hashlib` from the format in this file's header.
        let id = ids().from_name("lobby").unwrap();
        assert_eq!(id.to_string(), "760d68f668df019193e4826d1aa3927398d54a3289861a21ac13a471ae4c203f");
    }

    #[test]
    fn ids_of_the_namespace_pass_their_own_check() {
        let ids = ids();
        for id in [ids.from_name("a").unwrap(), ids.from_name("").unwrap(), ids.unique().unwrap()] {
            assert_eq!(ids.from_hex(&id.to_string()), Ok(id));
        }
    }

    #[test]
    fn unique_ids_differ() {
        assert_ne!(ids().unique().unwrap(), ids().unique().unwrap());
    }

    #[test]
    fn an_id_of_another_namespace_is_refused() {
        let other = Ids::new("chat-Lobby").from_name("lobby").unwrap();
        assert_eq!(ids().from_hex(&other.to_string()), Err(IdError::Foreign(other)));
    }

    #[test]
    fn flipping_any_bit_of_an_id_makes_it_foreign() {
        let id = ids().from_name("lobby").unwrap();
        for bit in 0..256 {
            let mut forged = id;
            forged.0[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ids().check(forged), Err(IdError::Foreign(forged)), "bit {bit}");
        }
    }

    #[test]
    fn text_that_is_no_id_is_malformed() {
        assert!(matches!(ids().from_hex("lobby"), Err(IdError::Malformed(_))));
    }

    #[test]
    fn a_name_over_the_limit_is_refused_and_one_at_the_limit_is_taken() {
        assert!(ids().from_name(&"x".repeat(NAME_BYTES_MAX)).is_ok());
        assert_eq!(ids().from_name(&"x".repeat(NAME_BYTES_MAX + 1)), Err(IdError::NameTooLong(NAME_BYTES_MAX + 1)));
    }
}
