//! Bytes of files: compressed, then encrypted. Every file is small enough to be held in memory.

use std::io::{Read, Write};
use std::iter;

use age::x25519;

use super::settings::Compression;
use crate::error::{Error, ErrorKind, Result};

const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;
const BROTLI_QUALITY: u32 = 5;
const BROTLI_WINDOW: u32 = 22;
const BROTLI_BUFFER: usize = 1 << 16;

impl Compression {
    /// What the names of compressed files end in.
    pub(super) fn ending(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::None => "",
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::None => "none",
            Self::Brotli => "brotli",
            Self::Zstd => "zstd",
        }
    }
}

/// How the files of a backup are made.
#[derive(Clone)]
pub(super) struct Codec {
    pub(super) compression: Compression,
    /// The backup's own key; `None` leaves files as they are.
    pub(super) key: Option<x25519::Identity>,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let encrypted = if self.key.is_some() { ", encrypted" } else { "" };
        write!(f, "Codec({}{encrypted})", self.compression.as_str())
    }
}

impl Codec {
    /// What the names of files end in.
    pub(super) fn ending(&self) -> String {
        format!("{}{}", self.compression.ending(), if self.key.is_some() { ".age" } else { "" })
    }

    /// Makes the bytes of a file.
    pub(super) fn encode(&self, plain: &[u8]) -> Result<Vec<u8>> {
        let failed = |e: std::io::Error| Error::new(ErrorKind::Internal, format!("compression failed: {e}"));
        let packed = compress(self.compression, plain).map_err(failed)?;
        match &self.key {
            None => Ok(packed),
            Some(key) => encrypt(&packed, iter::once(&key.to_public() as &dyn age::Recipient)),
        }
    }

    /// Reads the bytes of a file that holds `size` bytes when unpacked, and not one more.
    ///
    /// # Errors
    /// `Integrity`: they are no such file.
    pub(super) fn decode(&self, stored: &[u8], size: u64) -> Result<Vec<u8>> {
        let packed = match &self.key {
            None => stored.to_vec(),
            Some(key) => decrypt(stored, iter::once(key as &dyn age::Identity))?,
        };
        let mut plain = Vec::with_capacity(usize::try_from(size).unwrap_or_default().min(32 << 20));
        let read = unpack(self.compression, &packed, size.saturating_add(1), &mut plain);
        read.map_err(|e| Error::new(ErrorKind::Integrity, format!("it cannot be unpacked: {e}")))?;
        if plain.len() as u64 != size {
            return Err(Error::new(ErrorKind::Integrity, format!("it does not hold {size} bytes when unpacked")));
        }
        Ok(plain)
    }
}

fn compress(compression: Compression, plain: &[u8]) -> std::io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(plain.to_vec()),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP_LEVEL));
            encoder.write_all(plain)?;
            encoder.finish()
        }
        Compression::Zstd => zstd::bulk::compress(plain, ZSTD_LEVEL),
        Compression::Brotli => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), BROTLI_BUFFER, BROTLI_QUALITY, BROTLI_WINDOW);
            encoder.write_all(plain)?;
            Ok(encoder.into_inner())
        }
    }
}

fn unpack(compression: Compression, packed: &[u8], most: u64, plain: &mut Vec<u8>) -> std::io::Result<usize> {
    match compression {
        Compression::None => packed.take(most).read_to_end(plain),
        Compression::Gzip => flate2::read::MultiGzDecoder::new(packed).take(most).read_to_end(plain),
        Compression::Zstd => zstd::stream::read::Decoder::new(packed)?.take(most).read_to_end(plain),
        Compression::Brotli => brotli::Decompressor::new(packed, BROTLI_BUFFER).take(most).read_to_end(plain),
    }
}

/// Encrypts in the `age` format.
pub(super) fn encrypt<'a>(plain: &[u8], to: impl Iterator<Item = &'a dyn age::Recipient>) -> Result<Vec<u8>> {
    let failed = |what: String| Error::new(ErrorKind::Invalid, format!("encryption failed: {what}"));
    let encryptor = age::Encryptor::with_recipients(to).map_err(|e| failed(e.to_string()))?;
    let mut stored = Vec::with_capacity(plain.len() + 1024);
    let mut writer = encryptor.wrap_output(&mut stored).map_err(|e| failed(e.to_string()))?;
    writer.write_all(plain).map_err(|e| failed(e.to_string()))?;
    writer.finish().map_err(|e| failed(e.to_string()))?;
    Ok(stored)
}

/// Decrypts the `age` format.
pub(super) fn decrypt<'a>(stored: &[u8], with: impl Iterator<Item = &'a dyn age::Identity>) -> Result<Vec<u8>> {
    let failed = |why: String| Error::new(ErrorKind::Integrity, format!("it cannot be decrypted: {why}"));
    let decryptor = age::Decryptor::new(stored).map_err(|e| failed(e.to_string()))?;
    let mut reader = decryptor.decrypt(with).map_err(|e| failed(e.to_string()))?;
    let mut plain = Vec::with_capacity(stored.len());
    reader.read_to_end(&mut plain).map_err(|e| failed(e.to_string()))?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compression; 4] = [Compression::None, Compression::Gzip, Compression::Brotli, Compression::Zstd];

    #[test]
    fn what_was_encoded_is_decoded_and_nothing_else_is() {
        let plain = b"{\"key\":\"a\"}\n".repeat(1000);
        for compression in ALL {
            for key in [None, Some(x25519::Identity::generate())] {
                let codec = Codec { compression, key };
                let stored = codec.encode(&plain).unwrap();
                assert_eq!(codec.decode(&stored, plain.len() as u64).unwrap(), plain, "{codec:?}");
                assert!(codec.decode(&stored, plain.len() as u64 - 1).is_err(), "{codec:?}: too long");
                assert!(codec.decode(&stored, plain.len() as u64 + 1).is_err(), "{codec:?}: too short");
                assert!(codec.decode(&stored[..stored.len() - 1], plain.len() as u64).is_err(), "{codec:?}: cut");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_are_errors_and_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400), size in 0u64..2000) {
            for compression in ALL {
                for key in [None, Some(x25519::Identity::generate())] {
                    let _any = Codec { compression, key }.decode(&bytes, size);
                }
            }
        }
    }
}
