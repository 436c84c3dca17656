//! What nodes say to each other about keys: a version byte, then postcard.

use lethe_proto::ActorId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{store::KeyShare, vault::Recipient};

const VERSION: u8 = 1;

/// Keys that may be asked for at once.
pub(super) const PAGE: usize = 256;
/// Longest message; a page of keys fits.
pub(super) const BYTES_MAX: usize = 64 << 10;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ask {
    /// What to seal keys to that are meant for the node that is asked.
    Epoch,
    /// Keys of actors of the group that the message is about.
    Keys {
        /// Whom to seal them to: the node that asks.
        to: Recipient,
        /// Which ones.
        wanted: Vec<(ActorId, Uuid)>,
    },
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// To `Epoch`.
    Epoch(Recipient),
    /// To `Keys`: one for each that was asked for.
    Keys(Vec<Found>),
}

/// What a node has of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Found {
    /// It, sealed to whoever asked.
    Share(KeyShare),
    /// Nothing, or nothing it knows to belong to an actor that lives.
    Missing,
    /// Nothing: the incarnation has ended.
    Gone,
}

pub(super) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    // postcard fails to write only into a buffer that is too small.
    postcard::to_extend(message, vec![VERSION]).expect("a vector takes any message")
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, &'static str> {
    match bytes.split_first() {
        _ if bytes.len() > BYTES_MAX => Err("it is too long"),
        Some((&VERSION, rest)) => match postcard::take_from_bytes(rest) {
            Ok((message, [])) => Ok(message),
            Ok(_) => Err("something follows it"),
            Err(_) => Err("it is damaged"),
        },
        _ => Err("it is of another version"),
    }
}
