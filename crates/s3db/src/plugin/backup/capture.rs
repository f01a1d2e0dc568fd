//! Reading the objects of a database, those that changed since a parent where there is one.
//!
//! Requests: a LIST per thousand objects; a GET per object that is new, or not proven to be unchanged; a HEAD
//! per key that the parent has and the listing does not show.
//!
//! An object is unchanged if its ETag, size and time are as in the parent's index *and* its time is older than
//! the parent's start by a margin: times have a grain of a second, and an ETag does not see headers. What was
//! written within the margin is read again and compared.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use s3db_format::keys;
use s3db_store::{Entry, Object};

use super::chain::{Chain, Merged};
use super::line::{Fingerprint, IndexLine, Line, head_digest};
use super::progress::Tracker;
use super::sink::{LARGE, Sink};
use super::walk::Walk;
use crate::database::Inner;
use crate::error::{Error, ErrorKind, Result};

/// Bytes of bodies that are in memory at once.
const BUDGET_BYTES: u64 = 64 << 20;

/// What a backup builds on.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pub(super) chain: Chain,
    /// Objects whose time is not before this one may have changed without a trace.
    pub(super) safe_before_ms: i64,
}

/// What is to be found out of one key.
enum Step {
    /// It was listed; what the parent says of it.
    Listed(Entry, Option<IndexLine>),
    /// The parent has it, and it was not listed.
    Missing(IndexLine),
}

impl Step {
    /// Bytes that finding it out brings into memory.
    fn size(&self) -> u64 {
        match self {
            Self::Listed(entry, _) if entry.size < LARGE => entry.size,
            _ => 0,
        }
    }
}

/// What was found out.
enum Outcome {
    Unchanged(String),
    Line(Box<Line>),
    /// It is too large to be read whole.
    Large(String),
    /// It is gone since it was listed, and the parent does not have it.
    Nothing,
}

/// Reads objects into a sink.
pub(super) struct Capture<'a> {
    inner: &'a Arc<Inner>,
    base: Option<&'a Base>,
    parallel: usize,
    tracker: &'a Tracker<'a>,
    /// What the parent says of the catalog, which comes before its time.
    catalog: Option<IndexLine>,
    /// The parent's index, where the last read left it.
    known: Option<Known>,
}

/// The parent's index, and the line that is at hand.
struct Known {
    merged: Merged<IndexLine>,
    next: Option<IndexLine>,
    /// The key of the last line that was passed.
    passed: Option<String>,
}

impl Known {
    async fn advance(&mut self) -> Result<()> {
        self.next = self.merged.next().await?.map(|(_, line)| line);
        Ok(())
    }

    /// Takes the next line if it fits.
    async fn take_if(&mut self, fits: impl FnOnce(&str) -> bool) -> Result<Option<IndexLine>> {
        let taken = self.next.take_if(|line| fits(&line.key));
        if let Some(line) = &taken {
            self.passed = Some(line.key.clone());
            self.advance().await?;
        }
        Ok(taken)
    }
}

impl<'a> Capture<'a> {
    pub(super) fn new(
        inner: &'a Arc<Inner>,
        base: Option<&'a Base>,
        concurrency: Option<usize>,
        tracker: &'a Tracker<'a>,
    ) -> Self {
        let parallel = concurrency.unwrap_or_else(|| inner.parallel());
        Self { inner, base, parallel, tracker, catalog: None, known: None }
    }

    /// Reads every object under a prefix that is wanted.
    pub(super) async fn read(
        &mut self,
        prefix: &str,
        wanted: &(dyn Fn(&str) -> bool + Send + Sync),
        sink: &mut Sink,
    ) -> Result<()> {
        let mut known = self.index_before(prefix).await?;
        let mut walk = Walk::new(self.inner, prefix, wanted);
        let mut last = None;
        while let Some(page) = walk.next().await? {
            let mut steps = Vec::with_capacity(page.len());
            for entry in page {
                if last.as_ref().is_some_and(|last| *last >= entry.key) {
                    return Err(out_of_order(&entry.key));
                }
                last = Some(entry.key.clone());
                let mut line = None;
                if let Some(known) = &mut known {
                    self.pass(known, |key| key < entry.key.as_str(), (prefix, wanted), &mut steps).await?;
                    line = known.take_if(|key| key == entry.key).await?;
                }
                steps.push(Step::Listed(entry, line));
            }
            self.take(steps, sink).await?;
        }
        if let Some(known) = &mut known {
            let mut steps = Vec::new();
            self.pass(known, |key| key < prefix || key.starts_with(prefix), (prefix, wanted), &mut steps).await?;
            self.take(steps, sink).await?;
        }
        self.known = known;
        Ok(())
    }

    /// The parent's index at a place before the prefix: where it was left, or from the beginning.
    async fn index_before(&mut self, prefix: &str) -> Result<Option<Known>> {
        let Some(base) = self.base else { return Ok(None) };
        if let Some(known) = self.known.take_if(|known| known.passed.as_deref().is_none_or(|passed| passed < prefix)) {
            return Ok(Some(known));
        }
        let mut known = Known { merged: Merged::of(&base.chain), next: None, passed: None };
        known.advance().await?;
        Ok(Some(known))
    }

    /// Passes lines of the parent: what was not listed is missing.
    async fn pass(
        &mut self,
        known: &mut Known,
        fits: impl Fn(&str) -> bool,
        (prefix, wanted): (&str, &(dyn Fn(&str) -> bool + Send + Sync)),
        steps: &mut Vec<Step>,
    ) -> Result<()> {
        while let Some(line) = known.take_if(&fits).await? {
            if line.key.starts_with(prefix) && wanted(&line.key) {
                steps.push(Step::Missing(line));
            } else if line.key == keys::CATALOG {
                self.catalog = Some(line);
            }
        }
        Ok(())
    }

    /// Finds steps out side by side, and takes them in order.
    async fn take(&self, steps: Vec<Step>, sink: &mut Sink) -> Result<()> {
        let mut under_way = FuturesOrdered::new();
        let mut bytes = 0;
        for step in steps {
            let size = step.size();
            while under_way.len() >= self.parallel || (bytes + size > BUDGET_BYTES && !under_way.is_empty()) {
                let Some((outcome, passed)) = under_way.next().await else { break };
                self.pour(outcome?, sink).await?;
                bytes -= passed;
            }
            bytes += size;
            under_way.push_back(async move { (self.find_out(step).await, size) });
        }
        while let Some((outcome, _)) = under_way.next().await {
            self.pour(outcome?, sink).await?;
        }
        Ok(())
    }

    async fn pour(&self, outcome: Outcome, sink: &mut Sink) -> Result<()> {
        let mut bytes = 0;
        match outcome {
            Outcome::Unchanged(key) => sink.unchanged(&key),
            Outcome::Line(line) => {
                bytes = line.size;
                sink.push(&line).await?;
            }
            Outcome::Large(key) => {
                if !sink.large(self.inner, &key).await? && self.base.is_some() {
                    sink.push(&Line::gone(key)).await?;
                }
            }
            Outcome::Nothing => {}
        }
        self.tracker.add(1, bytes);
        Ok(())
    }

    async fn find_out(&self, step: Step) -> Result<Outcome> {
        match step {
            Step::Missing(line) => match self.inner.head(&line.key).await? {
                None => Ok(Outcome::Line(Box::new(Line::gone(line.key)))),
                // It came back since the listing went by.
                Some(meta) if meta.size < LARGE => self.look(line.key.clone(), Some(line)).await,
                Some(_) => Ok(Outcome::Large(line.key)),
            },
            Step::Listed(entry, known) => {
                if let Some(known) = &known
                    && self.is_unchanged(&entry, known).await?
                {
                    return Ok(Outcome::Unchanged(entry.key));
                }
                if entry.size >= LARGE {
                    return Ok(Outcome::Large(entry.key));
                }
                self.look(entry.key, known).await
            }
        }
    }

    /// Whether an object is proven to be as the parent has it, without reading it.
    async fn is_unchanged(&self, entry: &Entry, known: &IndexLine) -> Result<bool> {
        let safe = self.base.is_some_and(|base| entry.modified_ms < base.safe_before_ms);
        let equal = entry.etag == known.etag && entry.size == known.size && entry.modified_ms == known.modified;
        if !(safe && equal) {
            return Ok(false);
        }
        let Some(head) = &known.head else { return Ok(true) };
        let found = self.inner.head(&entry.key).await?;
        Ok(found.is_some_and(|meta| head_digest(meta.content_type.as_deref(), &meta.headers) == *head))
    }

    /// Reads an object.
    async fn look(&self, key: String, known: Option<IndexLine>) -> Result<Outcome> {
        let Some(object) = self.inner.read(&key).await? else {
            return Ok(if known.is_some() { Outcome::Line(Box::new(Line::gone(key))) } else { Outcome::Nothing });
        };
        let line = line_of(key, &object);
        Ok(match known.is_some_and(|known| is_as_known(&line, &known)) {
            true => Outcome::Unchanged(line.key),
            false => Outcome::Line(Box::new(line)),
        })
    }

    /// Takes the catalog as it is now, with what was dropped from it since `before`: objects of that may have
    /// been read.
    pub(super) async fn read_catalog(&self, before: &s3db_format::catalog::Catalog, sink: &mut Sink) -> Result<()> {
        let Some(mut object) = self.inner.read(keys::CATALOG).await? else {
            return match &self.catalog {
                Some(_) => sink.push(&Line::gone(keys::CATALOG.to_owned())).await,
                None => Ok(()),
            };
        };
        let mut now = s3db_format::catalog::Catalog::parse(&object.body)?;
        let dropped: Vec<&String> = before.resources().keys().filter(|name| now.resource(name).is_none()).collect();
        let merged = !dropped.is_empty();
        for name in dropped {
            if let Some(entry) = before.raw_entry(name) {
                now.put_entry(name, entry.clone());
            }
        }
        if merged {
            object.body = now.to_bytes(&self.inner.ulid(), &self.inner.now()).into();
            // No object of the store is this one, so the next backup reads the catalog again.
            object.meta.etag = "merged".into();
        }
        object.meta.size = object.body.len() as u64;
        let line = line_of(keys::CATALOG.to_owned(), &object);
        if self.catalog.as_ref().is_some_and(|known| is_as_known(&line, known)) {
            sink.unchanged(keys::CATALOG);
            return Ok(());
        }
        sink.push(&line).await
    }
}

fn out_of_order(key: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the store listed '{key}' out of order"))
        .guide("its listings are not what a probe found; delete the objects under s3db/tmp/probe/ and connect again")
}

fn is_as_known(line: &Line, known: &IndexLine) -> bool {
    line.etag == known.etag && line.size == known.size && line.modified == known.modified && line.sha256 == known.sha256
}

/// The line of an object that was read whole.
pub(super) fn line_of(key: String, object: &Object) -> Line {
    let Object { body, meta } = object;
    Line {
        key,
        etag: meta.etag.clone(),
        size: body.len() as u64,
        modified: meta.modified_ms,
        sha256: Fingerprint::of(meta.content_type.as_deref(), &meta.headers, body),
        content_type: meta.content_type.clone(),
        headers: meta.headers.clone(),
        ..Line::default()
    }
    .with_body(body)
}
