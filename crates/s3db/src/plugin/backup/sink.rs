//! Where captured objects go: a writer for each destination. One that fails does not hold up the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::line::{Fingerprint, Line};
use super::manifest::Counts;
use super::shelf::Place;
use super::writer::Writer;
use crate::database::Inner;
use crate::error::{Error, ErrorKind, Result};

/// Objects from this size on are files of their own, in parts of this size.
pub(super) const LARGE: u64 = 8 << 20;
/// Times that a large object is begun anew after it changed while it was read.
const ATTEMPTS: u32 = 5;

/// How much a backup holds of a resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    /// Objects that are there, those that only the parents hold included.
    pub objects: u64,
    /// Objects that this backup holds itself.
    pub stored: u64,
    /// Objects that are no longer there.
    pub deleted: u64,
    /// Bytes of bodies and headers that this backup holds itself.
    pub bytes: u64,
}

/// A writer, or why it failed.
#[derive(Debug)]
pub(super) enum Lane {
    Writing(Box<Writer>),
    Failed(Box<Error>, Place),
}

/// What takes captured objects.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) lanes: Vec<Lane>,
    pub(super) counts: Counts,
    pub(super) contents: BTreeMap<String, Contents>,
    /// Whether files end where a resource ends, because resources do not come in the order of keys.
    pub(super) cut_at_resources: bool,
    owner: String,
}

impl Sink {
    pub(super) fn new(lanes: Vec<Lane>) -> Self {
        Self {
            lanes,
            counts: Counts::default(),
            contents: BTreeMap::new(),
            cut_at_resources: false,
            owner: String::new(),
        }
    }

    /// The name under which a key is counted.
    fn slot(&mut self, key: &str) -> &mut Contents {
        let name = s3db_format::keys::owner(key).unwrap_or_default().to_owned();
        self.contents.entry(name).or_default()
    }

    /// Counts an object that is as it was in the parent.
    pub(super) fn unchanged(&mut self, key: &str) {
        self.counts.objects += 1;
        self.slot(key).objects += 1;
    }

    /// Takes an object.
    ///
    /// # Errors
    /// The last writer failed.
    pub(super) async fn push(&mut self, line: &Line) -> Result<()> {
        self.cut_before(&line.key).await?;
        self.count(line);
        for at in 0..self.lanes.len() {
            if let Some(Lane::Writing(writer)) = self.lanes.get_mut(at) {
                let pushed = writer.push(line).await;
                self.judge(at, pushed)?;
            }
        }
        Ok(())
    }

    fn count(&mut self, line: &Line) {
        let bytes = line.size + line.headers.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum::<u64>();
        let slot = self.slot(&line.key);
        if line.deleted {
            slot.deleted += 1;
            self.counts.deleted += 1;
            return;
        }
        slot.objects += 1;
        slot.stored += 1;
        slot.bytes += bytes;
        self.counts.objects += 1;
        self.counts.stored += 1;
        self.counts.bytes += bytes;
    }

    async fn cut_before(&mut self, key: &str) -> Result<()> {
        let owner = s3db_format::keys::owner(key).unwrap_or_default();
        if self.cut_at_resources && owner != self.owner {
            owner.clone_into(&mut self.owner);
            return self.cut().await;
        }
        Ok(())
    }

    /// Ends the open files of every writer.
    pub(super) async fn cut(&mut self) -> Result<()> {
        for at in 0..self.lanes.len() {
            if let Some(Lane::Writing(writer)) = self.lanes.get_mut(at) {
                let cut = writer.cut().await;
                self.judge(at, cut)?;
            }
        }
        Ok(())
    }

    /// Puts a writer aside that failed.
    fn judge(&mut self, at: usize, done: Result<()>) -> Result<()> {
        let Err(error) = done else { return Ok(()) };
        if let Some(lane) = self.lanes.get_mut(at)
            && let Lane::Writing(writer) = lane
        {
            tracing::warn!(target: "s3db::backup", %error, "the destination {} failed", writer.place.location());
            *lane = Lane::Failed(Box::new(error.clone()), writer.place.clone());
        }
        match self.lanes.iter().any(|lane| matches!(lane, Lane::Writing(_))) {
            true => Ok(()),
            false => Err(error),
        }
    }

    /// Takes an object that is too large for memory, part by part; `false` if it is gone.
    pub(super) async fn large(&mut self, inner: &Arc<Inner>, key: &str) -> Result<bool> {
        for attempt in 0..ATTEMPTS {
            match self.try_large(inner, key).await? {
                Large::Taken => return Ok(true),
                Large::Gone => return Ok(false),
                Large::Changed => inner.back_off(attempt).await,
            }
        }
        Err(Error::new(ErrorKind::Conflict, format!("'{key}' was changed {ATTEMPTS} times while it was read"))
            .guide("stop its writer for a moment, and begin again"))
    }

    async fn try_large(&mut self, inner: &Arc<Inner>, key: &str) -> Result<Large> {
        let Some(head) = inner.head(key).await? else { return Ok(Large::Gone) };
        let objects: Vec<Option<usize>> = self
            .lanes
            .iter_mut()
            .map(|lane| match lane {
                Lane::Writing(writer) => Some(writer.begin_object()),
                Lane::Failed(..) => None,
            })
            .collect();
        let mut paths: Vec<Vec<String>> = vec![Vec::new(); self.lanes.len()];
        let mut fingerprint = Fingerprint::begin(head.content_type.as_deref(), &head.headers);
        let (mut from, mut part) = (0, 1);
        while from < head.size {
            let range = from..head.size.min(from + LARGE);
            let read = inner.again(|| inner.store.get(key, Some(range.clone()))).await;
            let same = read.as_ref().is_ok_and(|o| o.meta.etag == head.etag && o.meta.modified_ms == head.modified_ms);
            let body = match read {
                Ok(object) if same && object.body.len() as u64 == range.end - range.start => object.body,
                Err(error) if !is_change(&error) => return Err(error.into()),
                _ => {
                    self.drop_objects(&objects).await?;
                    return Ok(Large::Changed);
                }
            };
            fingerprint.update(&body);
            self.part(&objects, &mut paths, part, body).await?;
            (from, part) = (range.end, part + 1);
        }
        let line = Line {
            key: key.to_owned(),
            etag: head.etag,
            size: head.size,
            modified: head.modified_ms,
            sha256: fingerprint.end(),
            content_type: head.content_type,
            headers: head.headers,
            ..Line::default()
        };
        self.cut_before(key).await?;
        self.count(&line);
        for (at, files) in paths.into_iter().enumerate() {
            if let Some(Lane::Writing(writer)) = self.lanes.get_mut(at) {
                let pushed = writer.push(&Line { files, ..line.clone() }).await;
                self.judge(at, pushed)?;
            }
        }
        Ok(Large::Taken)
    }

    async fn part(
        &mut self,
        objects: &[Option<usize>],
        paths: &mut [Vec<String>],
        part: usize,
        body: Bytes,
    ) -> Result<()> {
        for at in 0..self.lanes.len() {
            let Some(object) = objects.get(at).copied().flatten() else { continue };
            if let Some(Lane::Writing(writer)) = self.lanes.get_mut(at) {
                let sent = writer.part(object, part, body.clone()).await;
                if let (Ok(path), Some(paths)) = (&sent, paths.get_mut(at)) {
                    paths.push(path.clone());
                }
                self.judge(at, sent.map(drop))?;
            }
        }
        Ok(())
    }

    async fn drop_objects(&mut self, objects: &[Option<usize>]) -> Result<()> {
        for at in 0..self.lanes.len() {
            let Some(object) = objects.get(at).copied().flatten() else { continue };
            if let Some(Lane::Writing(writer)) = self.lanes.get_mut(at) {
                let dropped = writer.drop_object(object).await;
                self.judge(at, dropped)?;
            }
        }
        Ok(())
    }
}

enum Large {
    Taken,
    Gone,
    Changed,
}

/// Whether an error says that the object is another one by now.
fn is_change(error: &s3db_store::StoreError) -> bool {
    use s3db_store::ErrorKind as Kind;
    matches!(error.kind, Kind::NotFound | Kind::Invalid)
}
