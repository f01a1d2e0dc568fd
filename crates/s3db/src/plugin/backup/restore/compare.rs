//! The comparison at the end: every object that was restored is read once more.

use futures::{StreamExt as _, stream};

use super::super::chain::Merged;
use super::super::line::IndexLine;
use super::plan::Fate;
use super::write::{Restore, fingerprint_of};
use super::{Mode, RestoreReport, catalog};
use crate::error::{Error, ErrorKind, Result};

const BATCH: usize = 2_000;
/// Bytes of bodies that are read at once.
const BATCH_BYTES: u64 = 32 << 20;
/// Differences that an error names.
const NAMED: usize = 10;

impl Restore<'_> {
    /// Compares the target with the backup.
    ///
    /// # Errors
    /// `Integrity`, naming what differs.
    pub(super) async fn compare(&self, report: &mut RestoreReport) -> Result<()> {
        self.tracker.phase("comparing");
        self.tracker.expect(self.plan.objects);
        let mut different = Vec::new();
        let mut merged: Merged<IndexLine> = Merged::of(self.chain);
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some((_, line)) = merged.next().await? {
            let key = match self.plan.fate(&line.key) {
                Fate::Record { key, .. } | Fate::Plain { key } => (key, true),
                // The target may have had another one, which stays.
                Fate::Immutable { key, rename: None } | Fate::Current { key } => (key, false),
                _ => continue,
            };
            batch.push((key, line.sha256));
            bytes += line.size;
            if batch.len() >= BATCH || bytes >= BATCH_BYTES {
                bytes = 0;
                self.compare_batch(std::mem::take(&mut batch), report, &mut different).await?;
            }
        }
        self.compare_batch(batch, report, &mut different).await?;
        if !catalog::is_as_backed_up(self.into, self.plan).await? {
            different.push(s3db_format::keys::CATALOG.to_owned());
        }
        if different.is_empty() {
            return Ok(());
        }
        let count = different.len();
        different.truncate(NAMED);
        Err(Error::new(
            ErrorKind::Integrity,
            format!(
                "{count} objects of {} are not what the backup holds: {}",
                self.into.db.location(),
                different.join(", ")
            ),
        )
        .guide("somebody wrote them meanwhile, or the store lost them: stop the writers and run the restore again"))
    }

    async fn compare_batch(
        &self,
        batch: Vec<((String, bool), String)>,
        report: &mut RestoreReport,
        different: &mut Vec<String>,
    ) -> Result<()> {
        let inner = &self.into.db.inner;
        let reads = stream::iter(batch).map(|((key, must), wanted)| async move {
            let found = inner.read(&key).await?;
            let same = found.as_ref().is_some_and(|object| fingerprint_of(object) == wanted);
            // Records that were there stay in this mode.
            let kept = !must || (self.options.mode == Mode::Skip && found.is_some());
            self.tracker.add(1, found.map_or(0, |object| object.meta.size));
            Ok::<_, Error>((key, same, kept))
        });
        let mut reads = std::pin::pin!(reads.buffer_unordered(inner.parallel()));
        while let Some(read) = reads.next().await {
            let (key, same, kept) = read?;
            report.compared += u64::from(same);
            if !same && !kept {
                different.push(key);
            }
        }
        Ok(())
    }
}
