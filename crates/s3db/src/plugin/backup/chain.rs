//! A backup with its parents, and the objects that they hold together.
//!
//! The lines of each backup lie in the order of keys, so those of a chain are merged as streams: of several
//! lines for one key the newest counts. One file of each backup is in memory at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::archive::Archive;
use super::line::{IndexLine, Line};
use super::manifest::{FileEntry, FileKind};
use crate::error::Result;

/// Backups that build on each other at most; the next one is a full one.
pub(super) const LONGEST: usize = 64;

/// A backup and its parents, the oldest first.
#[derive(Debug, Clone)]
pub(super) struct Chain(pub(super) Vec<Arc<Archive>>);

/// A line of one of the two kinds.
pub(super) trait Keyed: DeserializeOwned + Send {
    const KIND: FileKind;
    fn key(&self) -> &str;
    fn is_deleted(&self) -> bool;
}

impl Keyed for Line {
    const KIND: FileKind = FileKind::Segment;
    fn key(&self) -> &str {
        &self.key
    }
    fn is_deleted(&self) -> bool {
        self.deleted
    }
}

impl Keyed for IndexLine {
    const KIND: FileKind = FileKind::Index;
    fn key(&self) -> &str {
        &self.key
    }
    fn is_deleted(&self) -> bool {
        self.deleted
    }
}

/// The lines of one backup, in the order of keys.
#[derive(Debug)]
pub(super) struct Lines<T> {
    archive: Arc<Archive>,
    files: VecDeque<FileEntry>,
    file: String,
    text: Bytes,
    next: Option<T>,
    last: Option<String>,
    /// Lines of the open file that were read.
    read: u64,
    expected: u64,
}

impl<T: Keyed> Lines<T> {
    pub(super) fn of(archive: &Arc<Archive>) -> Self {
        Self::of_files(archive, |_| true)
    }

    /// The lines of one file.
    pub(super) fn of_segment(archive: &Arc<Archive>, number: usize) -> Self {
        Self::of_files(archive, |file| file.number == number)
    }

    fn of_files(archive: &Arc<Archive>, wanted: impl Fn(&FileEntry) -> bool) -> Self {
        let files = archive.manifest.of_kind(T::KIND).filter(|file| wanted(file)).cloned().collect();
        Self {
            archive: Arc::clone(archive),
            files,
            file: String::new(),
            text: Bytes::new(),
            next: None,
            last: None,
            read: 0,
            expected: 0,
        }
    }

    /// Has the next line at hand, if there is one.
    async fn fill(&mut self) -> Result<()> {
        while self.next.is_none() {
            if self.text.is_empty() {
                if self.read != self.expected {
                    let why = format!("it has {} lines instead of {}", self.read, self.expected);
                    return Err(self.archive.damaged(&self.file, &why));
                }
                let Some(file) = self.files.pop_front() else { return Ok(()) };
                self.text = self.archive.read(&file).await?;
                (self.read, self.expected) = (0, file.lines);
                self.file = file.path;
                continue;
            }
            let end = self.text.iter().position(|byte| *byte == b'\n').map_or(self.text.len(), |at| at + 1);
            let line = self.text.split_to(end);
            let parsed: T =
                serde_json::from_slice(&line).map_err(|e| self.archive.damaged(&self.file, &e.to_string()))?;
            if self.last.as_deref().is_some_and(|last| last >= parsed.key()) {
                return Err(self.archive.damaged(&self.file, &format!("'{}' is out of order", parsed.key())));
            }
            self.last = Some(parsed.key().to_owned());
            self.read += 1;
            self.next = Some(parsed);
        }
        Ok(())
    }

    /// The next line.
    pub(super) async fn take(&mut self) -> Result<Option<T>> {
        self.fill().await?;
        Ok(self.next.take())
    }
}

/// The lines of a chain, merged.
#[derive(Debug)]
pub(super) struct Merged<T> {
    /// The oldest first.
    backups: Vec<Lines<T>>,
}

impl<T: Keyed> Merged<T> {
    pub(super) fn of(chain: &Chain) -> Self {
        Self { backups: chain.0.iter().map(Lines::of).collect() }
    }

    /// The next object that is there, with the number of the backup that holds it.
    pub(super) async fn next(&mut self) -> Result<Option<(usize, T)>> {
        loop {
            for lines in &mut self.backups {
                lines.fill().await?;
            }
            let keys = self.backups.iter().filter_map(|lines| lines.next.as_ref().map(T::key));
            let Some(key) = keys.min().map(str::to_owned) else { return Ok(None) };
            let mut newest = None;
            for (number, lines) in self.backups.iter_mut().enumerate() {
                if lines.next.as_ref().is_some_and(|line| line.key() == key) {
                    newest = lines.next.take().map(|line| (number, line));
                }
            }
            if let Some((number, line)) = newest.filter(|(_, line)| !line.is_deleted()) {
                return Ok(Some((number, line)));
            }
        }
    }
}
