//! Large bodies as files with fresh names.
//!
//! A file and its directory are synced before the row that names it commits, and it is removed after
//! the commit that replaced it. What a crash leaves is a file that no row names; it is swept when a
//! day old.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::file_error;
use crate::{ErrorKind, Result, StoreError};

/// Bodies up to this size stand in the row.
pub(super) const INLINE_BYTES: usize = 256 * 1024;
const ORPHAN_AGE: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Clone)]
pub(super) struct Bodies {
    directory: Arc<PathBuf>,
}

impl Bodies {
    pub(super) fn open(directory: &Path) -> Result<Self> {
        let directory = directory.join("bodies");
        fs::create_dir_all(&directory).map_err(|e| file_error("make the directory", &directory, &e))?;
        Ok(Self { directory: Arc::new(directory) })
    }

    /// Writes a body durably under a fresh name.
    pub(super) fn write(&self, body: &Bytes) -> Result<String> {
        let name = fresh_name()?;
        let path = self.directory.join(&name);
        let written = File::create_new(&path).and_then(|mut file| {
            file.write_all(body)?;
            file.sync_all()?;
            File::open(self.directory.as_path())?.sync_all()
        });
        if let Err(error) = written {
            self.remove(&name);
            return Err(file_error("write", &path, &error));
        }
        Ok(name)
    }

    pub(super) fn read(&self, name: &str) -> std::io::Result<Bytes> {
        fs::read(self.directory.join(name)).map(Bytes::from)
    }

    /// Removes a file that nothing names any more. If that fails the sweep does it later.
    pub(super) fn remove(&self, name: &str) {
        if let Err(error) = fs::remove_file(self.directory.join(name)) {
            tracing::debug!(name, %error, "a replaced body is left to the sweep");
        }
    }

    /// Files that are a day old, for the sweep to compare with the rows.
    pub(super) fn old_files(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.directory.as_path()) else { return Vec::new() };
        let old = |entry: &fs::DirEntry| {
            let modified = entry.metadata().and_then(|m| m.modified());
            modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > ORPHAN_AGE))
        };
        entries.flatten().filter(old).filter_map(|e| e.file_name().into_string().ok()).collect()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the name of a file is of no consequence to anything that is tested or replayed"
)]
fn fresh_name() -> Result<String> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|e| StoreError::new(ErrorKind::Unavailable, format!("no randomness: {e}")))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
