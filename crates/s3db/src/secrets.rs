//! Keys of secrets, derived once and kept for the life of the process.
//!
//! Writes use one random salt per process and passphrase with a random initialisation vector per
//! value, and take a new salt before vectors could repeat. Readers keep derived keys by salt.
//! Derivation takes tens of milliseconds and runs off the async threads.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use s3db_format::record::{Decoded, SecretField};
use s3db_format::secret::{Salt, SecretError, SecretKey, salt_of};
use tokio::sync::OnceCell;

use crate::entropy::Entropy;
use crate::error::{Error, ErrorKind, Result};

/// s3db.js's passphrase where none is given.
const DEFAULT_PASSPHRASE: &str = "secret";
/// Keys that are kept.
const KEPT_KEYS: usize = 4096;
/// Values under one salt before a new one is taken.
const VALUES_PER_SALT: u64 = 1 << 31;

pub(crate) struct Secrets {
    passphrase: Option<String>,
    entropy: Arc<dyn Entropy>,
    keys: Mutex<Keys>,
    writing: tokio::sync::Mutex<Option<Writing>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(..)")
    }
}

#[derive(Default)]
struct Keys {
    by_salt: HashMap<Salt, Arc<OnceCell<SecretKey>>>,
    order: VecDeque<Salt>,
}

struct Writing {
    salt: Salt,
    key: SecretKey,
    sealed: u64,
}

impl Secrets {
    pub(crate) fn new(passphrase: Option<String>, entropy: Arc<dyn Entropy>) -> Self {
        Self { passphrase, entropy, keys: Mutex::default(), writing: tokio::sync::Mutex::new(None) }
    }

    pub(crate) fn has_passphrase(&self) -> bool {
        self.passphrase.is_some()
    }

    async fn derive(&self, salt: Salt) -> Result<SecretKey> {
        if self.passphrase.is_none() {
            tracing::warn!("no passphrase was given; trying s3db.js's default passphrase to read secrets");
        }
        let passphrase = self.passphrase.clone().unwrap_or_else(|| DEFAULT_PASSPHRASE.to_owned());
        let derived = tokio::task::spawn_blocking(move || SecretKey::derive(&passphrase, &salt)).await;
        derived.map_err(|e| Error::new(ErrorKind::Internal, format!("the derivation of a key ended: {e}")))
    }

    async fn key(&self, salt: Salt) -> Result<SecretKey> {
        // Of several readers that need one key at once only one derives it.
        self.cell(salt).get_or_try_init(|| self.derive(salt)).await.cloned()
    }

    fn keep(&self, salt: Salt, key: SecretKey) {
        // Who was faster has derived the same key.
        let _there = self.cell(salt).set(key);
    }

    /// The place of a key that is derived, or will be.
    fn cell(&self, salt: Salt) -> Arc<OnceCell<SecretKey>> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = keys.by_salt.get(&salt) {
            return Arc::clone(cell);
        }
        let cell = Arc::new(OnceCell::new());
        keys.by_salt.insert(salt, Arc::clone(&cell));
        keys.order.push_back(salt);
        while keys.order.len() > KEPT_KEYS
            && let Some(oldest) = keys.order.pop_front()
        {
            keys.by_salt.remove(&oldest);
        }
        cell
    }

    /// Puts the plaintexts of the wanted secret fields in their place and takes the others out.
    pub(crate) async fn reveal(&self, decoded: &mut Decoded, wanted: &(dyn Fn(&str) -> bool + Sync)) -> Result<()> {
        for field in std::mem::take(&mut decoded.secrets) {
            if wanted(&field.path) {
                let plain = self.open(&field).await?;
                decoded.reveal(&field, plain);
            } else {
                decoded.forget(&field);
            }
            decoded.secrets.push(field);
        }
        Ok(())
    }

    pub(crate) async fn open(&self, field: &SecretField) -> Result<String> {
        let refused = |reason: SecretError| {
            let error =
                Error::new(ErrorKind::Integrity, format!("secret field '{}' cannot be read: {reason}", field.path));
            match (reason, self.has_passphrase()) {
                (SecretError::Refused, true) => error.guide("give the passphrase that the record was written with"),
                (SecretError::Refused, false) => {
                    error.guide("no passphrase was given; set S3DB_PASSPHRASE, or passphrase() in Rust")
                }
                (SecretError::NotEncrypted, _) => error.guide("write the field again to have it encrypted"),
            }
        };
        let salt = salt_of(&field.ciphertext).map_err(refused)?;
        self.key(salt).await?.open(&field.ciphertext).map_err(refused)
    }

    /// Encrypts one value.
    pub(crate) async fn seal(&self, path: &str, plaintext: &str) -> Result<String> {
        if !self.has_passphrase() {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("field '{path}' is a secret, and no passphrase was given"),
            )
            .guide("set S3DB_PASSPHRASE, passphraseFile in s3db.toml, or passphrase() in Rust; nothing was written"));
        }
        let mut writing = self.writing.lock().await;
        let current = match writing.take().filter(|w| w.sealed < VALUES_PER_SALT) {
            Some(current) => current,
            None => {
                let mut salt = Salt::default();
                self.entropy.fill(&mut salt);
                let key = self.derive(salt).await?;
                self.keep(salt, key.clone());
                Writing { salt, key, sealed: 0 }
            }
        };
        let mut iv = [0u8; 12];
        self.entropy.fill(&mut iv);
        let sealed = current.key.seal(&current.salt, &iv, plaintext);
        *writing = Some(Writing { sealed: current.sealed + 1, ..current });
        sealed.map_err(|reason| {
            Error::new(ErrorKind::Internal, format!("secret field '{path}' cannot be encrypted: {reason}"))
        })
    }
}
