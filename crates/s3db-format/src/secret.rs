//! Secrets at rest: `base64( salt[16] ‖ iv[12] ‖ ciphertext ‖ tag[16] )`, key by
//! PBKDF2-HMAC-SHA-256 with 100,000 rounds, AES-256-GCM without additional data.
//!
//! Deriving a key costs tens of milliseconds and depends on the salt alone, so callers keep
//! [`SecretKey`]s by [`Salt`] and derive off their async threads.

use aes_gcm::aead::{Aead, KeyInit, Nonce};
use aes_gcm::{Aes256Gcm, Key};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// The salt that a key is derived with.
pub type Salt = [u8; SALT_LEN];
/// The initialisation vector of one value; must never repeat under one key.
pub type Iv = [u8; IV_LEN];

const SALT_LEN: usize = 16;
const IV_LEN: usize = 12;
const TAG_LEN: usize = 16;
const ROUNDS: u32 = 100_000;

/// Why a stored secret could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The text is not a secret as the format writes it.
    #[error("the stored value is not an encrypted secret")]
    NotEncrypted,
    /// The passphrase is another one, or the bytes were changed.
    #[error("the passphrase does not open the stored secret, or the secret is damaged")]
    Refused,
}

/// A derived AES-256 key. Wiped from memory when dropped, never printed.
#[derive(Clone)]
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl SecretKey {
    /// Derives the key of a passphrase and a salt. Slow on purpose (about 40 ms).
    pub fn derive(passphrase: &str, salt: &Salt) -> Self {
        let mut key = Zeroizing::new([0u8; 32]);
        pbkdf2::pbkdf2_hmac::<sha2::Sha256>(passphrase.as_bytes(), salt, ROUNDS, key.as_mut());
        Self(key)
    }

    /// Encrypts a text under this key. `salt` must be the one that the key was derived with.
    pub fn seal(&self, salt: &Salt, iv: &Iv, plaintext: &str) -> Result<String, SecretError> {
        let nonce = Nonce::<Aes256Gcm>::from(*iv);
        let sealed = self.cipher().encrypt(&nonce, plaintext.as_bytes()).map_err(|_| SecretError::Refused)?;
        let mut bytes = Vec::with_capacity(SALT_LEN + IV_LEN + sealed.len());
        bytes.extend_from_slice(salt);
        bytes.extend_from_slice(iv);
        bytes.extend_from_slice(&sealed);
        Ok(STANDARD.encode(bytes))
    }

    /// Decrypts a stored secret.
    pub fn open(&self, stored: &str) -> Result<String, SecretError> {
        let parts = Sealed::parse(stored)?;
        let nonce = Nonce::<Aes256Gcm>::from(parts.iv);
        let plain = self.cipher().decrypt(&nonce, parts.ciphertext.as_slice()).map_err(|_| SecretError::Refused)?;
        String::from_utf8(plain).map_err(|_| SecretError::Refused)
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&Key::<Aes256Gcm>::from(*self.0))
    }
}

/// The salt of a stored secret, by which the key to open it is found.
pub fn salt_of(stored: &str) -> Result<Salt, SecretError> {
    Sealed::parse(stored).map(|s| s.salt)
}

struct Sealed {
    salt: Salt,
    iv: Iv,
    ciphertext: Vec<u8>,
}

impl Sealed {
    fn parse(stored: &str) -> Result<Self, SecretError> {
        let bytes = STANDARD.decode(stored).map_err(|_| SecretError::NotEncrypted)?;
        let (salt, rest) = bytes.split_first_chunk().ok_or(SecretError::NotEncrypted)?;
        let (iv, ciphertext) = rest.split_first_chunk().ok_or(SecretError::NotEncrypted)?;
        if ciphertext.len() < TAG_LEN {
            return Err(SecretError::NotEncrypted);
        }
        Ok(Self { salt: *salt, iv: *iv, ciphertext: ciphertext.to_vec() })
    }
}
