//! Ids that cross process boundaries: of actors, of nodes, of clusters.
//!
//! `ActorId`: 32 bytes, written as 64 lower-case hex digits, the format Workers use for Durable Object ids. The first 16 bytes are random or made from a name; the last 16 authenticate them for one namespace. Making and
//! checking them needs the namespace's key and lives in the server; here is only the shape.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Identity of an actor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ActorId(pub [u8; 32]);

/// The text is not 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an actor id is 64 hex digits, got {0:?}")]
pub struct InvalidActorId(String);

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActorId({self})")
    }
}

impl FromStr for ActorId {
    type Err = InvalidActorId;

    fn from_str(text: &str) -> Result<Self, InvalidActorId> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidActorId(text.chars().take(80).collect()))?;
        Ok(Self(bytes))
    }
}

/// Identity of a node. Made once with its data directory, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub Uuid);

/// Small numbers, as openraft's storage tests use them.
impl From<u64> for NodeId {
    fn from(number: u64) -> Self {
        Self(Uuid::from_u128(number.into()))
    }
}

/// Identity of a cluster. Made once with its first node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub Uuid);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let id = ActorId(std::array::from_fn(|i| i as u8));
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn text_that_is_not_64_hex_digits_is_refused() {
        for text in ["", "00", &"0".repeat(63), &"g".repeat(64), &"0".repeat(66)] {
            assert!(text.parse::<ActorId>().is_err(), "{text:?} was taken");
        }
    }
}
