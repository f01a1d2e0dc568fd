//! Writing the objects of a backup.
//!
//! Requests per record: a PUT per index key; a PUT of the record, conditional where it must not be there; a GET or
//! HEAD before it where records may be there. In every reachable state the index key of a record exists, as with
//! any other writer.

use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use s3db_format::keys;
use s3db_format::record::StoredObject;
use s3db_store::{Object, Put};
use serde_json::Value;

use super::super::archive::Archive;
use super::super::chain::{Chain, Merged};
use super::super::line::{Fingerprint, Line};
use super::super::progress::Tracker;
use super::super::verify::file_of;
use super::plan::{Fate, Plan};
use super::target::{Put as Absent, Target};
use super::{Mode, RestoreOptions, RestoreReport, catalog};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of bodies that are written at once, and objects.
const BATCH_BYTES: u64 = 32 << 20;
const BATCH: usize = 2_000;
/// Objects that could not be indexed and are named.
const NAMED: usize = 10;

/// A restore that is under way.
pub(super) struct Restore<'a> {
    pub(super) chain: &'a Chain,
    pub(super) plan: &'a Plan,
    pub(super) into: &'a Target<'a>,
    pub(super) options: &'a RestoreOptions,
    pub(super) tracker: &'a Tracker<'a>,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    New,
    Unchanged,
    Kept,
    /// It refers to a record that is not there.
    Dangling,
}

/// Objects that are written side by side. Their order makes no difference.
#[derive(Default)]
struct Batch {
    /// References come after the records that they name.
    references: bool,
    bytes: u64,
    lines: Vec<(usize, Line, Fate)>,
}

impl Restore<'_> {
    pub(super) async fn run(&self, report: &mut RestoreReport) -> Result<()> {
        if !self.into.is_empty {
            catalog::merge_first(self.into, self.plan).await?;
        }
        self.tracker.phase("writing");
        self.tracker.expect(self.plan.objects);
        let unreadable = Mutex::new(Vec::new());
        let mut merged: Merged<Line> = Merged::of(self.chain);
        let mut batch = Batch::default();
        let mut dangling = 0;
        while let Some((number, line)) = merged.next().await? {
            let fate = self.plan.fate(&line.key);
            if fate == Fate::Left {
                continue;
            }
            let reference = matches!(fate, Fate::Reference { .. });
            let full = batch.bytes >= BATCH_BYTES || batch.lines.len() >= BATCH;
            if full || reference != batch.references {
                dangling += self.write_batch(std::mem::take(&mut batch), report, &unreadable).await?;
            }
            batch.references = reference;
            batch.bytes += line.size;
            batch.lines.push((number, line, fate));
        }
        dangling += self.write_batch(batch, report, &unreadable).await?;
        if dangling > 0 {
            report.warnings.push(format!("{dangling} references to records that are not there were left out"));
        }
        warn_of_unreadable(report, unreadable.into_inner().unwrap_or_else(PoisonError::into_inner));
        if self.into.is_empty {
            catalog::write_last(self.into, self.plan).await?;
        }
        self.finish(report).await
    }

    async fn write_batch(
        &self,
        batch: Batch,
        report: &mut RestoreReport,
        unreadable: &Mutex<Vec<String>>,
    ) -> Result<u64> {
        let mut dangling = 0;
        let writes = stream::iter(batch.lines).map(|(number, line, fate)| async move {
            let size = line.size;
            let written = self.write(number, line, fate, unreadable).await?;
            self.tracker.add(1, size);
            Ok::<_, Error>((written, size))
        });
        let mut writes = std::pin::pin!(writes.buffer_unordered(self.into.db.inner.parallel()));
        while let Some(done) = writes.next().await {
            match done? {
                (Written::New, size) => {
                    report.written += 1;
                    report.bytes += size;
                }
                (Written::Unchanged, _) => report.unchanged += 1,
                (Written::Kept, _) => report.kept += 1,
                (Written::Dangling, _) => dangling += 1,
            }
        }
        Ok(dangling)
    }

    async fn write(&self, number: usize, line: Line, fate: Fate, unreadable: &Mutex<Vec<String>>) -> Result<Written> {
        match fate {
            Fate::Left => Ok(Written::Kept),
            Fate::Record { resource, id, key } => self.record(number, &line, &resource, &id, &key, unreadable).await,
            Fate::Reference { record, key } => self.reference(number, &line, &record, &key).await,
            Fate::Plain { key } => self.plain(number, &line, &key).await,
            Fate::Current { key } if self.options.mode == Mode::Overwrite || self.options.mode == Mode::Replace => {
                self.plain(number, &line, &key).await
            }
            Fate::Current { key } | Fate::Immutable { key, rename: None } => {
                let put = self.put_of(number, &line).await?;
                Ok(written(self.into.put_absent(&key, put).await?))
            }
            Fate::Immutable { key, rename: Some((_, to)) } => {
                let mut put = self.put_of(number, &line).await?;
                put.body = renamed_copy(&put.body, &to).unwrap_or(put.body);
                Ok(written(self.into.put_absent(&key, put).await?))
            }
            Fate::DatabaseId => self.database_id(number, &line).await,
        }
    }

    /// A copy of a database is another one: only what is restored in its own place keeps its id.
    async fn database_id(&self, number: usize, line: &Line) -> Result<Written> {
        if self.into.elsewhere {
            return Ok(Written::Kept);
        }
        let put = self.put_of(number, line).await?;
        Ok(written(self.into.put_absent(keys::DATABASE_ID, put).await?))
    }

    async fn record(
        &self,
        number: usize,
        line: &Line,
        resource: &str,
        id: &str,
        key: &str,
        unreadable: &Mutex<Vec<String>>,
    ) -> Result<Written> {
        let inner = &self.into.db.inner;
        let may_be_there = self.into.resumed || self.options.mode != Mode::Fail;
        let there = if may_be_there { inner.read(key).await? } else { None };
        if self.options.mode == Mode::Skip && there.is_some() {
            return Ok(Written::Kept);
        }
        let put = self.put_of(number, line).await?;
        let name = self.plan.selection.name(resource);
        let index = match self.index_keys(name, id, &put) {
            Ok(index) => index,
            Err(error) => {
                note_unreadable(unreadable, format!("{name}/{id}: {error}"));
                Vec::new()
            }
        };
        inner.put_keys(&index).await?;
        if there.as_ref().is_some_and(|there| fingerprint_of(there) == line.sha256) {
            return Ok(Written::Unchanged);
        }
        if self.options.mode == Mode::Overwrite || self.options.mode == Mode::Replace {
            let old = there.and_then(|there| self.index_keys_of(name, id, &there).ok()).unwrap_or_default();
            inner.put_plain(key, put).await?;
            let stale: Vec<String> = old.into_iter().filter(|key| !index.contains(key)).collect();
            inner.drop_keys(&stale).await;
            return Ok(Written::New);
        }
        match written(self.into.put_absent(key, put).await?) {
            Written::Kept if self.options.mode == Mode::Fail => {}
            other => return Ok(other),
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!("somebody wrote record '{id}' of resource '{name}' during the restore"),
        )
        .guide("stop the writers and run the restore again: it goes on"))
    }

    fn index_keys(&self, name: &str, id: &str, put: &Put) -> Result<Vec<String>> {
        let stored = StoredObject { headers: &put.headers, content_type: put.content_type.as_deref(), body: &put.body };
        self.keys_of(name, id, stored)
    }

    fn index_keys_of(&self, name: &str, id: &str, there: &Object) -> Result<Vec<String>> {
        let meta = &there.meta;
        let stored =
            StoredObject { headers: &meta.headers, content_type: meta.content_type.as_deref(), body: &there.body };
        self.keys_of(name, id, stored)
    }

    fn keys_of(&self, name: &str, id: &str, stored: StoredObject<'_>) -> Result<Vec<String>> {
        match self.into.catalog.resource(name) {
            Some(entry) => self.into.db.inner.keys_of_stored(entry, id, stored),
            None => Ok(Vec::new()),
        }
    }

    /// A reference that s3db.js left. In a shared database records bring their references themselves; here only
    /// what is stored with them is added.
    async fn reference(&self, number: usize, line: &Line, record: &str, key: &str) -> Result<Written> {
        let inner = &self.into.db.inner;
        let needed = if inner.is_shared() { key } else { record };
        if inner.head(needed).await?.is_none() {
            return Ok(Written::Dangling);
        }
        self.plain(number, line, key).await
    }

    async fn plain(&self, number: usize, line: &Line, key: &str) -> Result<Written> {
        let put = self.put_of(number, line).await?;
        if self.into.is_empty && !self.into.resumed {
            self.into.db.inner.put_plain(key, put).await?;
            return Ok(Written::New);
        }
        let there = self.into.db.inner.read(key).await?;
        if self.options.mode == Mode::Skip && there.is_some() {
            return Ok(Written::Kept);
        }
        if there.is_some_and(|there| fingerprint_of(&there) == line.sha256) {
            return Ok(Written::Unchanged);
        }
        self.into.db.inner.put_plain(key, put).await?;
        Ok(Written::New)
    }

    /// The object that a line holds, checked against its digest.
    async fn put_of(&self, number: usize, line: &Line) -> Result<Put> {
        let Some(archive) = self.chain.0.get(number) else {
            return Err(Error::new(ErrorKind::Internal, "a line came from no backup"));
        };
        let body = body_of(archive, line).await?;
        Ok(Put { body, headers: line.headers.clone(), content_type: line.content_type.clone(), ..Put::default() })
    }
}

fn written(put: Absent) -> Written {
    match put {
        Absent::Created => Written::New,
        Absent::Same => Written::Unchanged,
        Absent::Other => Written::Kept,
    }
}

/// The body of an object, checked against its digest.
async fn body_of(archive: &Archive, line: &Line) -> Result<Bytes> {
    if line.files.is_empty() {
        line.check()?;
        return line.small_body();
    }
    let mut body = BytesMut::with_capacity(usize::try_from(line.size).unwrap_or_default());
    for path in &line.files {
        body.extend_from_slice(&archive.read(file_of(archive, path)?).await?);
    }
    let found = Fingerprint::of(line.content_type.as_deref(), &line.headers, &body);
    if body.len() as u64 == line.size && found == line.sha256 {
        return Ok(body.freeze());
    }
    Err(archive
        .damaged(line.files.first().map_or("", String::as_str), &format!("'{}' does not have its digest", line.key)))
}

/// The fingerprint of an object that is there.
pub(super) fn fingerprint_of(object: &Object) -> String {
    Fingerprint::of(object.meta.content_type.as_deref(), &object.meta.headers, &object.body)
}

/// The copy of a version's definition, for a resource of another name.
pub(super) fn renamed_copy(body: &[u8], to: &str) -> Option<Bytes> {
    let mut copy: Value = serde_json::from_slice(body).ok()?;
    copy.as_object_mut()?.insert("resource".into(), Value::String(to.to_owned()));
    Some(Bytes::from(copy.to_string()))
}

fn note_unreadable(unreadable: &Mutex<Vec<String>>, what: String) {
    unreadable.lock().unwrap_or_else(PoisonError::into_inner).push(what);
}

fn warn_of_unreadable(report: &mut RestoreReport, unreadable: Vec<String>) {
    let count = unreadable.len();
    for what in unreadable.into_iter().take(NAMED) {
        report.warnings.push(format!("restored as it was backed up, and cannot be read: {what}"));
    }
    if count > NAMED {
        report.warnings.push(format!("and {} records more that cannot be read", count - NAMED));
    }
}
