//! The history of a job, newest first. The ids of its rows hold their times, so that one listing orders them.

use s3db_format::keys;

use super::record::JobRecord;
use super::rows::HistoryRow;
use super::status::RunStatus;
use super::{Core, SchedulerPlugin};
use crate::error::{Error, ErrorKind, Result};
use crate::resource::Resource;

/// Rows that are read side by side.
const TOGETHER: usize = 32;
/// Rows of a page where no limit is given.
const PAGE: usize = 100;

/// Which part of a history is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryOptions {
    /// Only rows that ended so.
    pub status: Option<RunStatus>,
    /// At most this many rows. The default is 100.
    pub limit: Option<usize>,
    /// Only rows behind this cursor: the `next` of the page before.
    pub cursor: Option<String>,
}

/// A part of a history.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPage {
    /// The rows, newest first. Those that are under way come from the job's record.
    pub items: Vec<HistoryRow>,
    /// The cursor of the next page; `None` if this is the last.
    pub next: Option<String>,
}

/// A row's time and id: what the history is ordered by.
pub(super) type RowKey = (i64, String);

impl SchedulerPlugin {
    /// The runs of a job, and instants that did not run, newest first. Exact: no row of another job, none left out.
    /// Costs a GET for the job, a LIST for each thousand rows of it, and a GET for each row that is returned or, with a
    /// status, looked at.
    ///
    /// # Errors
    /// `NotFound` for a job that neither is nor was there; `Invalid` for a cursor that is none.
    pub async fn get_job_history(&self, name: &str, options: &HistoryOptions) -> Result<HistoryPage> {
        keys::check_name("job", name)?;
        let core = &self.core;
        let record = core.read_record(name).await?.map(|seen| seen.record);
        let keys = match core.history().await? {
            Some(history) => core.row_keys(&history, name).await?,
            None => Vec::new(),
        };
        if record.is_none() && keys.is_empty() {
            return Err(core.no_job(name).await);
        }
        Box::pin(core.page(name, record.as_ref(), keys, options)).await
    }
}

impl Core {
    /// The keys of all rows of a job, newest first.
    pub(super) async fn row_keys(&self, history: &Resource, job: &str) -> Result<Vec<RowKey>> {
        let prefix = keys::record(history.name(), &format!("{job}_"));
        let mut found = Vec::new();
        let inner = &self.db()?.inner;
        let take = |listed: Vec<String>| {
            let ids = listed.iter().filter_map(|key| keys::record_id(history.name(), key));
            found.extend(ids.filter_map(|id| Some((time_of(job, id)?, id.to_owned()))));
        };
        inner.keys_under(&prefix, take).await?;
        found.sort_by(|a, b| b.cmp(a));
        Ok(found)
    }

    async fn page(
        &self,
        name: &str,
        record: Option<&JobRecord>,
        keys: Vec<RowKey>,
        options: &HistoryOptions,
    ) -> Result<HistoryPage> {
        let limit = options.limit.unwrap_or(PAGE);
        let before = options.cursor.as_deref().map(|cursor| parse_cursor(name, cursor)).transpose()?;
        let mut all: Vec<(RowKey, Option<HistoryRow>)> = keys.into_iter().map(|key| (key, None)).collect();
        for open in record.iter().flat_map(|record| &record.open).filter(|open| open.is_run() && !open.has_row) {
            if !all.iter().any(|((_, id), _)| *id == open.run) {
                let key = (time_of(name, &open.run).unwrap_or(open.started_ms), open.run.clone());
                all.push((key, Some(HistoryRow::running(name, open))));
            }
        }
        all.sort_by(|(a, _), (b, _)| b.cmp(a));
        all.retain(|(key, _)| before.as_ref().is_none_or(|before| key < before));
        let mut items = Vec::new();
        let mut rest = all.into_iter().peekable();
        while items.len() < limit && rest.peek().is_some() {
            let wanted = if options.status.is_none() { (limit - items.len()).min(TOGETHER) } else { TOGETHER };
            let batch: Vec<_> = rest.by_ref().take(wanted).collect();
            let read = batch.into_iter().map(|(key, known)| async move {
                let row = match known {
                    Some(row) => Some(row),
                    None => self.find_row(&key.1).await?,
                };
                Ok::<_, Error>((key, row))
            });
            let mut full = None;
            for (key, row) in futures::future::try_join_all(read).await? {
                let wanted =
                    row.filter(|row| row.job_name == name && options.status.is_none_or(|status| row.status == status));
                if let (Some(row), true) = (wanted, items.len() < limit) {
                    items.push(row);
                    if items.len() == limit {
                        full = Some(key);
                    }
                } else if items.len() == limit {
                    // What was read beyond the page is the next one's.
                    let next = full.map(|key| cursor(&key));
                    return Ok(HistoryPage { items, next });
                }
            }
            if let Some(key) = full.filter(|_| rest.peek().is_some()) {
                return Ok(HistoryPage { items, next: Some(cursor(&key)) });
            }
        }
        Ok(HistoryPage { items, next: None })
    }
}

/// The time in the id of a row of a job; `None` for ids of other jobs, whose names may begin as this one's.
pub(super) fn time_of(job: &str, id: &str) -> Option<i64> {
    let tail = id.strip_prefix(job)?.strip_prefix('_')?;
    if let Some(ulid) = tail.strip_prefix("m_") {
        return ulid::Ulid::from_string(ulid).ok().and_then(|ulid| i64::try_from(ulid.timestamp_ms()).ok());
    }
    let digits = tail.len() >= 10 && tail.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| tail.parse().ok()).flatten()
}

fn cursor((_, id): &RowKey) -> String {
    id.clone()
}

fn parse_cursor(job: &str, cursor: &str) -> Result<RowKey> {
    time_of(job, cursor).map(|at| (at, cursor.to_owned())).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("'{cursor}' is no cursor of the history of job '{job}'"))
            .guide("use the `next` of the page before")
    })
}
