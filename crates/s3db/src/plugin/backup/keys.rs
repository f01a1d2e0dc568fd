//! Keys of encrypted backups.
//!
//! Every backup is encrypted to a key of its own. That key stands in `keys/<n>.age`, one file for the
//! recipients and one for the passphrase, so that several keys open a backup and rotation touches `keys/`
//! only. `keys/keys.json` lists these files with their digests.

use std::path::Path;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};

use age::secrecy::{ExposeSecret as _, SecretString};
use age::{scrypt, x25519};
use serde::{Deserialize, Serialize};

use super::codec::{decrypt, encrypt};
use super::sealed::sha256;
use super::settings::EncryptionSettings;
use crate::config::read_passphrase;
use crate::error::{Error, ErrorKind, Result};

/// The environment variable of the passphrase by which backups are read.
pub(super) const PASSPHRASE_ENV: &str = "S3DB_BACKUP_PASSPHRASE";
/// The most work that opening a key by a passphrase may take: 2^22 rounds of scrypt are several seconds.
const MOST_WORK: u8 = 22;

/// The file that lists the files of keys.
pub(super) const KEY_LIST: &str = "keys/keys.json";

/// The files of keys of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct KeyList {
    pub(super) files: Vec<KeyFile>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct KeyFile {
    pub(super) path: String,
    /// `recipients` or `passphrase`.
    pub(super) kind: String,
    pub(super) size: u64,
    pub(super) sha256: String,
}

/// To whom new backups are encrypted.
#[derive(Clone, Default)]
pub(super) struct Recipients {
    keys: Vec<x25519::Recipient>,
    passphrase: Option<SecretString>,
    /// The work of scrypt, where it is not measured.
    work: Option<u8>,
}

impl std::fmt::Debug for Recipients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recipients({}, passphrase: {})", self.keys.len(), self.passphrase.is_some())
    }
}

/// With what backups are read.
#[derive(Clone, Default)]
pub(super) struct Identities {
    keys: Vec<x25519::Identity>,
    passphrases: Vec<SecretString>,
    /// Keys of backups that were opened, by the public key in their manifests.
    opened: Arc<Mutex<Vec<x25519::Identity>>>,
}

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identities({}, {})", self.keys.len(), self.passphrases.len())
    }
}

impl Recipients {
    /// Reads what the settings name; `None` where nothing is encrypted.
    pub(super) fn read(settings: &EncryptionSettings, folder: &Path) -> Result<Self> {
        let mut recipients = Self::default();
        for text in &settings.recipients {
            recipients.keys.push(recipient(text, "encryption.recipients")?);
        }
        for file in &settings.recipient_files {
            let path = folder.join(file);
            let place = format!("recipient file {}", path.display());
            let before = recipients.keys.len();
            for line in read_lines(&path, &place)? {
                recipients.keys.push(recipient(&line, &place)?);
            }
            if recipients.keys.len() == before {
                return Err(Error::new(ErrorKind::Invalid, format!("{place} holds no public key"))
                    .guide("write one a line, as `age-keygen -y` prints it"));
            }
        }
        recipients.passphrase = passphrase(settings, folder)?;
        if recipients.keys.is_empty() && recipients.passphrase.is_none() {
            return Err(Error::new(ErrorKind::Invalid, "encryption names neither a recipient nor a passphrase")
                .guide("set recipients, recipientFiles, passphraseFile or passphraseEnv, or leave encryption out"));
        }
        Ok(recipients)
    }

    /// How much work opening by the passphrase takes, as a power of two. Without it, about a second.
    pub(super) fn work(mut self, log_n: Option<u8>) -> Self {
        self.work = log_n;
        self
    }

    /// The files that hold a backup's key: paths in the backup, kinds and bytes.
    pub(super) fn wrap(&self, key: &x25519::Identity, first: usize) -> Result<Vec<(KeyFile, Vec<u8>)>> {
        let plain = format!("{}\n", key.to_string().expose_secret());
        let mut files = Vec::new();
        let mut add = |kind: &str, bytes: Vec<u8>| {
            let path = format!("keys/{}.age", first + files.len());
            let file = KeyFile { path, kind: kind.to_owned(), size: bytes.len() as u64, sha256: sha256(&bytes) };
            files.push((file, bytes));
        };
        if !self.keys.is_empty() {
            add("recipients", encrypt(plain.as_bytes(), self.keys.iter().map(|k| k as &dyn age::Recipient))?);
        }
        if let Some(passphrase) = &self.passphrase {
            let mut recipient = scrypt::Recipient::new(passphrase.clone());
            if let Some(work) = self.work {
                recipient.set_work_factor(work);
            }
            add("passphrase", encrypt(plain.as_bytes(), std::iter::once(&recipient as &dyn age::Recipient))?);
        }
        Ok(files)
    }
}

impl Identities {
    /// Reads what the settings name, and the environment.
    pub(super) fn read(settings: Option<&EncryptionSettings>, folder: &Path) -> Result<Self> {
        let mut identities = Self::default();
        if let Some(settings) = settings {
            for file in &settings.identity_files {
                identities.add_file(&folder.join(file))?;
            }
            identities.passphrases.extend(passphrase(settings, folder).ok().flatten());
        }
        identities.passphrases.extend(environment(PASSPHRASE_ENV));
        Ok(identities)
    }

    /// Adds the secret keys of a file.
    ///
    /// # Errors
    /// `Invalid`: it cannot be read, or holds none.
    pub(super) fn add_file(&mut self, path: &Path) -> Result<()> {
        let place = format!("identity file {}", path.display());
        let before = self.keys.len();
        for line in read_lines(path, &place)? {
            self.keys.push(identity(&line, &place)?);
        }
        if self.keys.len() > before {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Invalid, format!("{place} holds no secret key")).guide("make one with `age-keygen`"))
    }

    pub(super) fn add_passphrase(&mut self, passphrase: &str) {
        self.passphrases.push(SecretString::from(passphrase.to_owned()));
    }

    /// The key of a backup that was opened before.
    pub(super) fn known(&self, public: &str) -> Option<x25519::Identity> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.iter().find(|key| key.to_public().to_string() == public).cloned()
    }

    /// Opens a file of keys; `None` if none of these fits. Takes a second where it is a passphrase.
    pub(super) fn open(&self, kind: &str, stored: &[u8], public: &str) -> Option<x25519::Identity> {
        let plain = match kind {
            "passphrase" => self.passphrases.iter().find_map(|passphrase| {
                let mut identity = scrypt::Identity::new(passphrase.clone());
                identity.set_max_work_factor(MOST_WORK);
                decrypt(stored, std::iter::once(&identity as &dyn age::Identity)).ok()
            }),
            _ => decrypt(stored, self.keys.iter().map(|key| key as &dyn age::Identity)).ok(),
        }?;
        let key = x25519::Identity::from_str(std::str::from_utf8(&plain).ok()?.trim()).ok()?;
        (key.to_public().to_string() == public).then(|| {
            self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(key.clone());
            key
        })
    }
}

fn passphrase(settings: &EncryptionSettings, folder: &Path) -> Result<Option<SecretString>> {
    match (&settings.passphrase_file, &settings.passphrase_env) {
        (Some(_), Some(_)) => {
            Err(Error::new(ErrorKind::Invalid, "encryption names both passphraseFile and passphraseEnv")
                .guide("leave one of them out"))
        }
        (Some(file), None) => read_passphrase(&folder.join(file)).map(|text| Some(SecretString::from(text))),
        (None, Some(name)) => environment(name).map(Some).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, format!("encryption.passphraseEnv: the variable {name} is not set"))
                .guide(format!("set {name}, or name a file by passphraseFile"))
        }),
        (None, None) => Ok(None),
    }
}

fn environment(name: &str) -> Option<SecretString> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map(SecretString::from)
}

fn recipient(text: &str, place: &str) -> Result<x25519::Recipient> {
    if text.starts_with("AGE-SECRET-KEY") {
        return Err(Error::new(ErrorKind::Invalid, format!("{place}: a secret key stands where a public one belongs"))
            .guide("write what `age-keygen -y` prints of it; keep the secret key away from here"));
    }
    x25519::Recipient::from_str(text).map_err(|why| {
        Error::new(ErrorKind::Invalid, format!("{place}: '{text}' is no public key: {why}"))
            .guide("write keys that begin with age1, as `age-keygen` prints them")
    })
}

fn identity(text: &str, place: &str) -> Result<x25519::Identity> {
    // The text is a secret, so it is not repeated.
    x25519::Identity::from_str(text).map_err(|why| {
        Error::new(ErrorKind::Invalid, format!("{place}: a line is no secret key: {why}"))
            .guide("secret keys begin with AGE-SECRET-KEY-1; make one with `age-keygen`")
    })
}

fn read_lines(path: &Path, place: &str) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Error::new(ErrorKind::Invalid, format!("{place} cannot be read: {e}")))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}
