//! AES-GCM (NIST SP 800-38D) with what Web Cryptography allows beyond the `aes-gcm` crate: initialization vectors of any
//! length, 192-bit keys, and tags of 4 to 16 bytes. AES, counter mode and GHASH come from crates; only their
//! composition is here.

use aes::{
    Aes128, Aes192, Aes256,
    cipher::{BlockCipherEncrypt, KeyInit},
};
use ctr::{
    Ctr32BE,
    cipher::{KeyIvInit, StreamCipher},
};
use ghash::{GHash, universal_hash::UniversalHash};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

const TAG_BYTES_MAX: usize = 16;

/// A key, ready to seal and open.
pub(super) struct Gcm {
    key: Zeroizing<Vec<u8>>,
    ghash: GHash,
}

impl Gcm {
    /// `None` unless the key has 16, 24 or 32 bytes.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let mut block = ghash::Key::default();
        match key.len() {
            16 => Aes128::new_from_slice(key).ok()?.encrypt_block(&mut block),
            24 => Aes192::new_from_slice(key).ok()?.encrypt_block(&mut block),
            32 => Aes256::new_from_slice(key).ok()?.encrypt_block(&mut block),
            _ => return None,
        }
        Some(Self { key: Zeroizing::new(key.to_vec()), ghash: GHash::new(&block) })
    }

    /// The ciphertext followed by a tag of `tag_bytes`; `None` if the data is longer than GCM allows.
    pub(super) fn encrypt(&self, iv: &[u8], additional: &[u8], mut data: Vec<u8>, tag_bytes: usize) -> Option<Vec<u8>> {
        let mask = self.apply_keystream(iv, &mut data)?;
        let tag = self.tag(&mask, additional, &data);
        data.extend_from_slice(tag.get(..tag_bytes)?);
        Some(data)
    }

    /// The plaintext; `None` if the tag is not right.
    pub(super) fn decrypt(&self, iv: &[u8], additional: &[u8], mut data: Vec<u8>, tag_bytes: usize) -> Option<Vec<u8>> {
        let given = data.split_off(data.len().checked_sub(tag_bytes)?);
        let mask = self.apply_keystream(iv, &mut [])?;
        let tag = self.tag(&mask, additional, &data);
        let right: bool = tag.get(..tag_bytes)?.ct_eq(&given).into();
        if !right {
            return None;
        }
        self.apply_keystream(iv, &mut data)?;
        Some(data)
    }

    /// Encrypts or decrypts in place; the first block of the key stream masks the tag.
    fn apply_keystream(&self, iv: &[u8], data: &mut [u8]) -> Option<[u8; TAG_BYTES_MAX]> {
        let start = self.first_counter(iv);
        match self.key.len() {
            16 => run(Ctr32BE::<Aes128>::new_from_slices(&self.key, &start).ok()?, data),
            24 => run(Ctr32BE::<Aes192>::new_from_slices(&self.key, &start).ok()?, data),
            _ => run(Ctr32BE::<Aes256>::new_from_slices(&self.key, &start).ok()?, data),
        }
    }

    /// The block called J0.
    fn first_counter(&self, iv: &[u8]) -> [u8; 16] {
        let mut block = [0; 16];
        if iv.len() == 12 {
            block[..12].copy_from_slice(iv);
            block[15] = 1;
            return block;
        }
        let mut ghash = self.ghash.clone();
        ghash.update_padded(iv);
        block[8..].copy_from_slice(&bits(iv).to_be_bytes());
        ghash.update(&[block.into()]);
        ghash.finalize().into()
    }

    fn tag(&self, mask: &[u8; TAG_BYTES_MAX], additional: &[u8], ciphertext: &[u8]) -> [u8; TAG_BYTES_MAX] {
        let mut ghash = self.ghash.clone();
        ghash.update_padded(additional);
        ghash.update_padded(ciphertext);
        let mut lengths = [0; 16];
        lengths[..8].copy_from_slice(&bits(additional).to_be_bytes());
        lengths[8..].copy_from_slice(&bits(ciphertext).to_be_bytes());
        ghash.update(&[lengths.into()]);
        let mut tag: [u8; TAG_BYTES_MAX] = ghash.finalize().into();
        tag.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        tag
    }
}

fn run(mut stream: impl StreamCipher, data: &mut [u8]) -> Option<[u8; TAG_BYTES_MAX]> {
    let mut mask = [0; TAG_BYTES_MAX];
    stream.try_apply_keystream(&mut mask).ok()?;
    stream.try_apply_keystream(data).ok()?;
    Some(mask)
}

fn bits(data: &[u8]) -> u64 {
    data.len() as u64 * 8
}

#[cfg(test)]
mod tests {
    use aes_gcm::{
        AesGcm,
        aead::{Aead, Payload},
        aes::cipher::consts::{U12, U16},
    };

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex digits")).collect()
    }

    // Test cases 4, 5 and 6 of the GCM specification: one message, three lengths of the initialization vector.
    const KEY: &str = "feffe9928665731c6d6a8f9467308308";
    const TEXT: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525\
                        b16aedf5aa0de657ba637b39";
    const ADDITIONAL: &str = "feedfacedeadbeeffeedfacedeadbeefabaddad2";

    #[test]
    fn vectors_of_the_specification_with_short_and_long_ivs_hold() {
        let gcm = Gcm::new(&bytes(KEY)).expect("a key of 16 bytes");
        let cases = [
            ("cafebabefacedbaddecaf888", "5bc94fbc3221a5db94fae95ae7121a47"),
            ("cafebabefacedbad", "3612d2e79e3b0785561be14aaca2fccb"),
            (
                "9313225df88406e555909c5aff5269aa6a7a9538534f7da1e4c303d2a318a728c3c0c95156809539fcf0e2429a6b5254\
                 16aedbf5a0de6a57a637b39b",
                "619cc5aefffe0bfa462af43c1699d050",
            ),
        ];
        for (iv, tag) in cases {
            let sealed = gcm.encrypt(&bytes(iv), &bytes(ADDITIONAL), bytes(TEXT), 16).expect("short data");
            assert_eq!(sealed[sealed.len() - 16..], bytes(tag));
            assert_eq!(gcm.decrypt(&bytes(iv), &bytes(ADDITIONAL), sealed, 16), Some(bytes(TEXT)));
        }
    }

    #[test]
    fn result_equals_that_of_the_aes_gcm_crate() {
        let payload = || Payload { msg: b"message", aad: b"additional" };
        let key = [7; 32];
        let ours = |iv: &[u8]| Gcm::new(&key).expect("a key").encrypt(iv, b"additional", b"message".to_vec(), 16);
        let short = AesGcm::<Aes256, U12>::new(&key.into()).encrypt(&[9; 12].into(), payload());
        assert_eq!(ours(&[9; 12]), short.ok());
        let long = AesGcm::<Aes256, U16>::new(&key.into()).encrypt(&[9; 16].into(), payload());
        assert_eq!(ours(&[9; 16]), long.ok());
    }

    #[test]
    fn changed_bytes_and_short_data_are_refused() {
        let gcm = Gcm::new(&[1; 24]).expect("a key of 24 bytes");
        let sealed = gcm.encrypt(b"iv", b"", b"secret".to_vec(), 4).expect("short data");
        assert_eq!(gcm.decrypt(b"iv", b"", sealed.clone(), 4), Some(b"secret".to_vec()));
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert_eq!(gcm.decrypt(b"iv", b"", changed, 4), None);
        }
        assert_eq!(gcm.decrypt(b"iv", b"", vec![0; 3], 4), None);
        assert!(Gcm::new(&[1; 15]).is_none());
    }
}
