//! Backups in a folder, as plain files.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use s3db_store::clock::Clock;

use super::{Shelf, Stored, Tools};
use crate::entropy::{Entropy, make_id};
use crate::error::{Error, ErrorKind, Result};

/// A folder.
#[derive(Debug)]
pub(in super::super) struct Folder {
    root: PathBuf,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Folder {
    pub(in super::super) fn new(root: PathBuf, tools: &Tools) -> Self {
        Self { root, clock: Arc::clone(&tools.clock), entropy: Arc::clone(&tools.entropy) }
    }

    /// A name that no other process has: their numbers may be equal on two machines.
    fn mark(&self) -> String {
        make_id(&*self.entropy, 12)
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce(&Path) -> Result<T> + Send + 'static) -> Result<T> {
        let root = self.root.clone();
        let done = tokio::task::spawn_blocking(move || work(&root)).await;
        done.map_err(|e| Error::new(ErrorKind::Internal, format!("work on a folder ended: {e}")))?
    }
}

#[async_trait]
impl Shelf for Folder {
    async fn put(&self, path: &str, body: Bytes) -> Result<()> {
        let (path, mark) = (path.to_owned(), self.mark());
        self.work(move |root| {
            let target = root.join(&path);
            let written = write_beside(&target, &mark, &body)?;
            std::fs::rename(&written, &target).map_err(|e| failed("write", &target, &e))?;
            sync_folders(root, &target)
        })
        .await
    }

    async fn create(&self, path: &str, body: Bytes) -> Result<bool> {
        let (path, mark) = (path.to_owned(), self.mark());
        self.work(move |root| {
            let target = root.join(&path);
            let written = write_beside(&target, &mark, &body)?;
            // A link appears whole or not at all, and never in place of another.
            let linked = std::fs::hard_link(&written, &target);
            let removed = std::fs::remove_file(&written);
            let created = match linked {
                Ok(()) => true,
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                    std::fs::read(&target).map_err(|e| failed("read", &target, &e))? == body
                }
                Err(e) => create_whole(&target, &body, &e)?,
            };
            removed.map_err(|e| failed("write", &target, &e))?;
            sync_folders(root, &target).map(|()| created)
        })
        .await
    }

    async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        let path = path.to_owned();
        self.work(move |root| match std::fs::read(root.join(&path)) {
            Ok(bytes) => Ok(Some(Bytes::from(bytes))),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(failed("read", &root.join(&path), &e)),
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        let prefix = prefix.to_owned();
        self.work(move |root| {
            let mut found = Vec::new();
            let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
            walk(root, folder, &prefix, &mut found)?;
            Ok(found)
        })
        .await
    }

    async fn delete(&self, paths: &[String]) -> Result<()> {
        let paths = paths.to_vec();
        self.work(move |root| {
            for path in &paths {
                let target = root.join(path);
                match std::fs::remove_file(&target) {
                    Ok(()) => {}
                    Err(e) if is_absent(&e) => {}
                    Err(e) => return Err(failed("delete", &target, &e)),
                }
                remove_empty(root, path);
            }
            Ok(())
        })
        .await
    }

    async fn tidy(&self, folder: &str) -> Result<()> {
        let folder = folder.trim_end_matches('/').to_owned();
        self.work(move |root| {
            remove_empty_below(&root.join(&folder));
            remove_empty(root, &format!("{folder}/x"));
            Ok(())
        })
        .await
    }

    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn is_conditional(&self) -> bool {
        true
    }

    fn location(&self) -> String {
        self.root.display().to_string()
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// A file with these bytes, durable, next to where it is to be.
fn write_beside(target: &Path, mark: &str, body: &[u8]) -> Result<PathBuf> {
    let folder = target.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|e| failed("write", folder, &e))?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{mark}.part"));
    let write = || {
        let mut file = std::fs::File::create_new(&beside)?;
        file.write_all(body)?;
        file.sync_all()
    };
    write().map_err(|e| {
        // What is left of it is no file of a backup; the error that matters is the first one.
        let _gone = std::fs::remove_file(&beside);
        failed("write", target, &e)
    })?;
    Ok(beside)
}

/// For file systems without links. A crash in the middle leaves a file whose digest does not fit.
fn create_whole(target: &Path, body: &[u8], why: &std::io::Error) -> Result<bool> {
    tracing::debug!(%why, "the folder has no links, so {} is written in place", target.display());
    let mut file = match std::fs::File::create_new(target) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(false),
        Err(e) => return Err(failed("write", target, &e)),
    };
    file.write_all(body).and_then(|()| file.sync_all()).map_err(|e| failed("write", target, &e))?;
    Ok(true)
}

/// Makes the name of a file durable, and those of the folders above that may be new.
fn sync_folders(root: &Path, target: &Path) -> Result<()> {
    for folder in target.ancestors().skip(1) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let synced = std::fs::File::open(folder).and_then(|opened| opened.sync_all());
        if !folder.starts_with(root) {
            // The folder that holds the root: it need not be readable.
            break;
        }
        synced.map_err(|e| failed("write", folder, &e))?;
    }
    Ok(())
}

fn walk(root: &Path, folder: &str, prefix: &str, found: &mut Vec<Stored>) -> Result<()> {
    let whole = root.join(folder);
    let entries = match std::fs::read_dir(&whole) {
        Ok(entries) => entries,
        Err(e) if is_absent(&e) => return Ok(()),
        Err(e) => return Err(failed("read", &whole, &e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| failed("read", &whole, &e))?;
        // A name that is no UTF-8 is none of ours.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let about = match entry.metadata() {
            Ok(about) => about,
            Err(e) if is_absent(&e) => continue,
            Err(e) => return Err(failed("read", &entry.path(), &e)),
        };
        if about.is_dir() {
            let below = format!("{path}/");
            if below.starts_with(prefix) || prefix.starts_with(&below) {
                walk(root, &path, prefix, found)?;
            }
        } else if about.is_file() && path.starts_with(prefix) {
            found.push(Stored { path, size: about.len() });
        }
    }
    Ok(())
}

/// Removes the empty folders in a folder. What cannot be removed is not empty, or harms nobody.
fn remove_empty_below(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty_below(&entry.path());
            let _kept = std::fs::remove_dir(entry.path());
        }
    }
}

/// Removes folders that a delete left empty, up to the root.
fn remove_empty(root: &Path, path: &str) {
    let mut folder = path;
    while let Some((above, _)) = folder.rsplit_once('/') {
        if std::fs::remove_dir(root.join(above)).is_err() {
            return;
        }
        folder = above;
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Error {
    let guidance = match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            "check the permissions of the folder"
        }
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            "free some space, or name another folder"
        }
        _ => "check that the folder is there and its disk is healthy",
    };
    Error::new(ErrorKind::Unavailable, format!("cannot {what} {}: {error}", path.display())).guide(guidance)
}
