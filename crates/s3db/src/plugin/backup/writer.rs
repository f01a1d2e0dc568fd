//! Writing one backup to one place.
//!
//! Order: `begun.json`; files of segments, large objects and the index, as they fill; contents; keys; each file
//! read back; the manifest, only if nothing stands in its place. A crash before the manifest leaves a backup
//! that is not listed as good, and that the next one sweeps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use s3db_store::clock::Clock;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::archive::blocking;
use super::codec::Codec;
use super::keys::{KEY_LIST, KeyList, Recipients};
use super::limiter::Limiter;
use super::line::Line;
use super::manifest::{BEGUN, Begun, CONTENTS, FileEntry, FileKind, LISTED, MANIFEST, MANIFEST_BYTES, Manifest};
use super::sealed::{seal, sha256};
use super::shelf::Place;
use crate::error::{Error, ErrorKind, Result};

/// Bytes of a segment before it is compressed; one line may be longer.
const SEGMENT_BYTES: usize = 4 << 20;
/// Bytes of a file of the index before it is compressed.
const INDEX_BYTES: usize = 1 << 20;
/// Files that are made and sent at once.
const AT_ONCE: usize = 3;
/// How long files that are on their way are waited for when a backup is given up.
const PATIENCE: Duration = Duration::from_millis(500);
/// Lines of a file that lists files.
const LIST_LINES: usize = 20_000;

/// Lines that are on their way into a file.
#[derive(Debug, Default)]
struct Filling {
    text: Vec<u8>,
    lines: u64,
    first: String,
    /// Files of this kind so far.
    files: usize,
}

impl Filling {
    fn push(&mut self, key: &str, line: &impl Serialize) -> Result<()> {
        if self.text.is_empty() {
            key.clone_into(&mut self.first);
        }
        serde_json::to_writer(&mut self.text, line).map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))?;
        self.text.push(b'\n');
        self.lines += 1;
        Ok(())
    }
}

/// A file that was sent, with the key that its lines begin with.
type Sent = (String, FileEntry);

/// A backup that is being written.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) place: Place,
    pub(super) folder: String,
    pub(super) codec: Codec,
    verify: bool,
    limiter: Option<Arc<Limiter>>,
    segment: Filling,
    index: Filling,
    objects: usize,
    files: Vec<Sent>,
    sending: JoinSet<Result<Sent>>,
    /// Says that the backup is given up.
    stop: watch::Sender<bool>,
}

impl Writer {
    /// Says at the place that a backup begins.
    pub(super) async fn begin(
        place: Place,
        folder: String,
        codec: Codec,
        begun: &Begun,
        verify: bool,
        limiter: Option<Arc<Limiter>>,
    ) -> Result<Self> {
        place.shelf.put(&format!("{folder}{BEGUN}"), Bytes::from(seal(begun)?)).await?;
        Ok(Self {
            place,
            folder,
            codec,
            verify,
            limiter,
            segment: Filling::default(),
            index: Filling::default(),
            objects: 0,
            files: Vec::new(),
            sending: JoinSet::new(),
            stop: watch::channel(false).0,
        })
    }

    /// Adds an object. Keys come in order, but for the breaks that [`Writer::cut`] makes.
    pub(super) async fn push(&mut self, line: &Line) -> Result<()> {
        self.segment.push(&line.key, line)?;
        self.index.push(&line.key, &line.index(self.segment.files + 1))?;
        if self.segment.text.len() >= SEGMENT_BYTES {
            self.send(FileKind::Segment).await?;
        }
        if self.index.text.len() >= INDEX_BYTES {
            self.send(FileKind::Index).await?;
        }
        Ok(())
    }

    /// Ends the open files: the next key may be smaller than the last.
    pub(super) async fn cut(&mut self) -> Result<()> {
        self.send(FileKind::Segment).await?;
        self.send(FileKind::Index).await
    }

    /// Begins a large object; its parts are named by this number.
    pub(super) fn begin_object(&mut self) -> usize {
        self.objects += 1;
        self.objects
    }

    /// Adds a part of a large object and returns the path of its file.
    pub(super) async fn part(&mut self, object: usize, part: usize, body: Bytes) -> Result<String> {
        let path = format!("objects/{object}.{part}{}", self.codec.ending());
        let file = Unsent { path: path.clone(), kind: FileKind::Object, number: object, lines: 0, plain: body };
        // Parts are listed in the order of objects, and of the parts of one.
        self.spawn(format!("{object:012}.{part:012}"), file).await?;
        Ok(path)
    }

    /// Forgets a large object that changed while it was read.
    pub(super) async fn drop_object(&mut self, object: usize) -> Result<()> {
        self.drain(0).await?;
        let is_its = |file: &FileEntry| file.kind == FileKind::Object && file.number == object;
        let paths: Vec<String> =
            self.files.iter().filter(|(_, f)| is_its(f)).map(|(_, f)| format!("{}{}", self.folder, f.path)).collect();
        self.files.retain(|(_, file)| !is_its(file));
        self.place.shelf.delete(&paths).await
    }

    async fn send(&mut self, kind: FileKind) -> Result<()> {
        let (filling, name) = match kind {
            FileKind::Index => (&mut self.index, "index"),
            _ => (&mut self.segment, "segments"),
        };
        if filling.text.is_empty() {
            return Ok(());
        }
        filling.files += 1;
        let number = filling.files;
        let full = std::mem::replace(filling, Filling { files: number, ..Filling::default() });
        let path = format!("{name}/{number}.jsonl{}", self.codec.ending());
        let file = Unsent { path, kind, number, lines: full.lines, plain: Bytes::from(full.text) };
        self.spawn(full.first, file).await
    }

    async fn spawn(&mut self, first: String, file: Unsent) -> Result<()> {
        self.drain(AT_ONCE - 1).await?;
        let (place, codec, verify) = (self.place.clone(), self.codec.clone(), self.verify);
        let (folder, limiter) = (self.folder.clone(), self.limiter.clone());
        let mut stop = self.stop.subscribe();
        self.sending.spawn(async move {
            let sent = send(&place, &folder, &codec, file, verify, limiter.as_deref(), Some(&mut stop)).await;
            sent.map(|entry| (first, entry))
        });
        Ok(())
    }

    /// Waits until at most so many files are on their way.
    async fn drain(&mut self, most: usize) -> Result<()> {
        while self.sending.len() > most {
            let Some(ended) = self.sending.join_next().await else { return Ok(()) };
            let sent = ended.map_err(|e| Error::new(ErrorKind::Internal, format!("sending a file ended: {e}")))?;
            self.files.push(sent?);
        }
        Ok(())
    }

    /// Writes the rest, and the manifest last. `draft` is a manifest without files.
    ///
    /// # Errors
    /// `Conflict` if the backup was given up by somebody who took its process for dead.
    pub(super) async fn finish(
        &mut self,
        contents: &serde_json::Value,
        recipients: Option<&Recipients>,
        draft: Manifest,
        now: &(dyn Fn() -> String + Send + Sync),
    ) -> Result<(Manifest, Vec<u8>)> {
        self.cut().await?;
        let file = Unsent {
            path: format!("{CONTENTS}{}", self.codec.ending()),
            kind: FileKind::Contents,
            number: 1,
            lines: 0,
            plain: Bytes::from(contents.to_string()),
        };
        self.spawn(String::new(), file).await?;
        self.drain(0).await?;
        if let (Some(recipients), Some(key)) = (recipients, &self.codec.key) {
            let (recipients, key) = (recipients.clone(), key.clone());
            let files = blocking(move || recipients.wrap(&key, 1)).await?;
            let list = KeyList { files: files.iter().map(|(file, _)| file.clone()).collect() };
            for (file, bytes) in files {
                self.place.shelf.put(&format!("{}{}", self.folder, file.path), Bytes::from(bytes)).await?;
            }
            self.place.shelf.put(&format!("{}{KEY_LIST}", self.folder), Bytes::from(seal(&list)?)).await?;
        }
        self.files.sort_by(|(a, x), (b, y)| (x.kind, a).cmp(&(y.kind, b)));
        let files: Vec<FileEntry> = std::mem::take(&mut self.files).into_iter().map(|(_, file)| file).collect();
        let size = files.iter().map(|file| file.size).sum();
        let all = files.clone();
        let files = self.listed(files).await?;
        let manifest = Manifest { files, size, finished_at: now(), ..draft };
        let bytes = seal(&manifest)?;
        if bytes.len() > MANIFEST_BYTES {
            return Err(Error::new(ErrorKind::Invalid, format!("the manifest would have {} bytes", bytes.len()))
                .guide("back up fewer resources at once, by include and exclude"));
        }
        self.commit(&manifest, &all, &bytes).await?;
        // Where it stays it does no harm: the manifest decides.
        if let Err(error) = self.place.shelf.delete(&[format!("{}{BEGUN}", self.folder)]).await {
            tracing::debug!(target: "s3db::backup", %error, "{BEGUN} is left over");
        }
        Ok((manifest, bytes))
    }

    /// Many files are listed in files of their own, so that the manifest stays small.
    async fn listed(&self, files: Vec<FileEntry>) -> Result<Vec<FileEntry>> {
        if files.len() <= LISTED {
            return Ok(files);
        }
        let plain = Codec { compression: super::settings::Compression::None, key: None };
        let mut lists = Vec::new();
        for (chunk, number) in files.chunks(LIST_LINES).zip(1..) {
            let mut filling = Filling::default();
            for file in chunk {
                filling.push("", file)?;
            }
            let file = Unsent {
                path: format!("files/{number}.jsonl"),
                kind: FileKind::Files,
                number,
                lines: filling.lines,
                plain: Bytes::from(filling.text),
            };
            lists
                .push(send(&self.place, &self.folder, &plain, file, self.verify, self.limiter.as_deref(), None).await?);
        }
        Ok(lists)
    }

    async fn commit(&self, manifest: &Manifest, files: &[FileEntry], bytes: &[u8]) -> Result<()> {
        let path = format!("{}{MANIFEST}", self.folder);
        if !self.are_there(files).await? {
            return Err(gone(&manifest.id));
        }
        if !self.place.shelf.create(&path, Bytes::from(bytes.to_vec())).await? {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("backup '{}' was given up by another process", manifest.id),
            )
            .guide("that process took this one for dead; look at `s3db backup list`, and begin a new backup"));
        }
        // Without conditions somebody may have given it up at the same time, and swept its files.
        if self.place.shelf.is_conditional() || self.are_there(files).await? {
            return Ok(());
        }
        self.place.shelf.delete(std::slice::from_ref(&path)).await?;
        Err(gone(&manifest.id))
    }

    /// Whether every file stands there in its size: a folder may have vanished, or been swept.
    async fn are_there(&self, files: &[FileEntry]) -> Result<bool> {
        let listed = self.place.shelf.list(&self.folder).await?;
        let sizes: BTreeMap<&str, u64> =
            listed.iter().filter_map(|s| Some((s.path.strip_prefix(&self.folder)?, s.size))).collect();
        Ok(files.iter().all(|file| sizes.get(file.path.as_str()) == Some(&file.size)))
    }

    /// Ends what is on its way, so that little lands any more: what does is swept with the rest.
    pub(super) async fn settle(&mut self, clock: &dyn Clock) {
        // Nobody listens if nothing is on its way.
        let _told = self.stop.send(true);
        let mut patience = clock.sleep(PATIENCE);
        loop {
            tokio::select! {
                // What became of files makes no difference: the backup is given up.
                ended = self.sending.join_next() => if ended.is_none() { return },
                () = &mut patience => break,
            }
        }
        self.sending.shutdown().await;
    }
}

fn gone(id: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("files of backup '{id}' are gone from its destination"))
        .guide("see whether the destination was emptied or unmounted meanwhile, and begin a new backup")
}

fn given_up() -> Error {
    Error::new(ErrorKind::Conflict, "the backup was given up")
}

/// A file that is to be sent.
struct Unsent {
    path: String,
    kind: FileKind,
    number: usize,
    lines: u64,
    plain: Bytes,
}

async fn send(
    place: &Place,
    folder: &str,
    codec: &Codec,
    file: Unsent,
    verify: bool,
    limiter: Option<&Limiter>,
    stop: Option<&mut watch::Receiver<bool>>,
) -> Result<FileEntry> {
    let codec = codec.clone();
    let plain = file.plain;
    let bytes = plain.len() as u64;
    let (stored, digest) = blocking(move || {
        let stored = Bytes::from(codec.encode(&plain)?);
        let digest = sha256(&stored);
        Ok((stored, digest))
    })
    .await?;
    let size = stored.len() as u64;
    if let Some(limiter) = limiter {
        match stop {
            None => limiter.pass(size).await,
            Some(stop) => tokio::select! {
                () = limiter.pass(size) => {}
                _ = stop.wait_for(|stop| *stop) => return Err(given_up()),
            },
        }
    }
    let path = format!("{folder}{}", file.path);
    place.shelf.put(&path, stored).await?;
    if verify {
        let there = place.shelf.get(&path).await?.unwrap_or_default();
        if there.len() as u64 != size || blocking(move || Ok(sha256(&there))).await? != digest {
            return Err(Error::new(
                ErrorKind::Integrity,
                format!("{path} at {} is not what was written", place.location()),
            )
            .guide("the destination loses or changes bytes; use another one"));
        }
    }
    Ok(FileEntry {
        path: file.path,
        kind: file.kind,
        number: file.number,
        size,
        sha256: digest,
        bytes,
        lines: file.lines,
    })
}
