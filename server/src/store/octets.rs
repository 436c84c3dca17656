//! Serde for `Bytes` as one length-prefixed byte string, for `#[serde(with = "...")]`.
//!
//! The formats of log entries and stored records rest on this shape: a length, then the bytes.

use std::fmt;

use bytes::Bytes;
use serde::{Deserializer, Serializer, de};

/// Writes the bytes as one byte string.
pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// Reads one byte string.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    deserializer.deserialize_byte_buf(Octets)
}

struct Octets;

impl de::Visitor<'_> for Octets {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a byte string")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes::copy_from_slice(bytes))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(Bytes::from(bytes))
    }
}

/// The same for `Option<Bytes>`.
pub mod option {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct One(#[serde(with = "super")] Bytes);

    /// Writes an optional byte string.
    pub fn serialize<S: Serializer>(bytes: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes.clone().map(One).serialize(serializer)
    }

    /// Reads an optional byte string.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
        Ok(Option::<One>::deserialize(deserializer)?.map(|One(bytes)| bytes))
    }
}
