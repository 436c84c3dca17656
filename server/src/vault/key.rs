//! `DataKey`: the secret of one incarnation of an actor. Whoever has it can read what the actor stored; nobody else can.

use std::fmt;

use zeroize::Zeroizing;

use super::Error;

/// Length of a data key.
pub const KEY_BYTES: usize = 32;

/// A data key. Zeroed when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct DataKey(Zeroizing<[u8; KEY_BYTES]>);

impl DataKey {
    /// A new random key.
    pub fn generate() -> Result<Self, Error> {
        let mut key = Self(Zeroizing::new([0; KEY_BYTES]));
        getrandom::fill(&mut *key.0).map_err(|error| Error::Random(error.to_string()))?;
        Ok(key)
    }

    pub(super) fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(..)")
    }
}
