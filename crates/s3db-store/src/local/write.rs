//! Writes: one thread per process, one transaction per group.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use tokio::sync::oneshot;

use super::bodies::Bodies;
use super::sqlite_error;
use super::turn::Turn;
use crate::clock::Clock;
use crate::quirks::Quirks;
use crate::{ErrorKind, Precondition, Result, StoreError};

/// Changes that share one transaction at most.
const GROUP: usize = 64;

/// Where a body is.
#[derive(Debug)]
pub(super) enum Body {
    Inline(Bytes),
    File { name: String, size: u64 },
}

/// A change that waits for its turn.
#[derive(Debug)]
pub(super) enum Change {
    Put {
        key: String,
        body: Body,
        etag_of_body: Option<String>,
        headers: BTreeMap<String, String>,
        content_type: Option<String>,
        precondition: Precondition,
    },
    Delete {
        keys: Vec<String>,
        precondition: Precondition,
    },
}

type Answer = Result<String>;
type Job = (Change, oneshot::Sender<Answer>);

/// The way to the writer's thread; the thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Sender<Job>,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        directory: &Path,
        bodies: Bodies,
        quirks: Quirks,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let (jobs, queue) = channel::<Job>();
        let mut thread = Thread { connection, turn: Turn::new(directory)?, bodies, quirks, clock };
        std::thread::Builder::new()
            .name("s3db-writer".into())
            .spawn(move || thread.run(&queue))
            .map_err(|e| StoreError::new(ErrorKind::Unavailable, format!("cannot start the writer's thread: {e}")))?;
        Ok(Self { jobs })
    }

    pub(super) async fn send(&self, change: Change) -> Answer {
        let (answer, answered) = oneshot::channel();
        let gone = || StoreError::new(ErrorKind::Unknown, "the store's writer has ended");
        self.jobs.send((change, answer)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

struct Thread {
    connection: Connection,
    turn: Turn,
    bodies: Bodies,
    quirks: Quirks,
    clock: Arc<dyn Clock>,
}

impl Thread {
    fn run(&mut self, queue: &Receiver<Job>) {
        self.sweep();
        while let Ok(first) = queue.recv() {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(job) = queue.try_recv()
            {
                group.push(job);
            }
            let (changes, answers): (Vec<Change>, Vec<oneshot::Sender<Answer>>) = group.into_iter().unzip();
            for (answer, result) in answers.into_iter().zip(self.commit(&changes)) {
                // Whoever asked may have gone away; the change stands either way.
                let _gone = answer.send(result);
            }
        }
    }

    /// Applies a group in one transaction. No answer of it is final before the commit.
    fn commit(&mut self, changes: &[Change]) -> Vec<Answer> {
        let mut garbage = Vec::new();
        let outcome = self.apply(changes, &mut garbage);
        match outcome {
            Ok(results) => {
                for (change, result) in changes.iter().zip(&results) {
                    if let (Change::Put { body: Body::File { name, .. }, .. }, Err(_)) = (change, result) {
                        garbage.push(name.clone());
                    }
                }
                garbage.iter().for_each(|name| self.bodies.remove(name));
                results
            }
            Err(error) => {
                if error.kind != ErrorKind::Unknown {
                    changes.iter().for_each(|change| {
                        if let Change::Put { body: Body::File { name, .. }, .. } = change {
                            self.bodies.remove(name);
                        }
                    });
                }
                changes.iter().map(|_| Err(error.clone())).collect()
            }
        }
    }

    fn apply(&mut self, changes: &[Change], garbage: &mut Vec<String>) -> Result<Vec<Answer>> {
        let _turn = self.turn.take()?;
        let (quirks, now) = (self.quirks, self.clock.now_ms());
        let transaction = begin(&mut self.connection)?;
        let mut group =
            Group { transaction: &transaction, quirks, modified: quirks.modified(now), counter: 0, garbage };
        let applied = group.run(changes);
        let results = match applied {
            Ok(results) => results,
            Err(error) => return Err(sqlite_error(&error)),
        };
        transaction.commit().map_err(|e| {
            let mapped = sqlite_error(&e);
            StoreError::new(
                ErrorKind::Unknown,
                format!("the commit failed, so the outcome is not known: {}", mapped.message),
            )
        })?;
        Ok(results)
    }

    /// Removes files that no row names and that are a day old.
    fn sweep(&self) {
        for name in self.bodies.old_files() {
            let named = self
                .connection
                .prepare_cached("SELECT 1 FROM objects WHERE file = ?1 LIMIT 1")
                .and_then(|mut s| s.query_row([&name], |_| Ok(())).optional());
            if let Ok(None) = named {
                self.bodies.remove(&name);
            }
        }
    }
}

fn begin(connection: &mut Connection) -> Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|e| sqlite_error(&e))
}

struct Group<'a> {
    transaction: &'a Transaction<'a>,
    quirks: Quirks,
    modified: i64,
    counter: u64,
    garbage: &'a mut Vec<String>,
}

impl Group<'_> {
    fn run(&mut self, changes: &[Change]) -> rusqlite::Result<Vec<Answer>> {
        let read = "SELECT value FROM counter WHERE id = 1";
        self.counter = self.transaction.prepare_cached(read)?.query_row([], |row| row.get(0))?;
        let results = changes.iter().map(|change| self.change(change)).collect::<rusqlite::Result<Vec<_>>>()?;
        self.transaction.prepare_cached("UPDATE counter SET value = ?1 WHERE id = 1")?.execute([self.counter])?;
        Ok(results)
    }

    fn change(&mut self, change: &Change) -> rusqlite::Result<Answer> {
        match change {
            Change::Put { key, body, etag_of_body, headers, content_type, precondition } => {
                let found = self.find(key)?;
                if let Err(refused) = check(key, found.as_ref(), precondition) {
                    return Ok(Err(refused));
                }
                self.garbage.extend(found.and_then(|(_, file)| file));
                self.counter += 1;
                let etag = etag_of_body.clone().unwrap_or_else(|| self.quirks.etag(self.counter, &[]));
                self.write(key, &etag, body, headers, content_type.as_deref())?;
                Ok(Ok(etag))
            }
            Change::Delete { keys, precondition } => {
                for key in keys {
                    let found = self.find(key)?;
                    if let Err(refused) = check(key, found.as_ref(), precondition) {
                        return Ok(Err(refused));
                    }
                    self.garbage.extend(found.and_then(|(_, file)| file));
                    self.transaction.prepare_cached("DELETE FROM objects WHERE key = ?1")?.execute([key])?;
                }
                Ok(Ok(String::new()))
            }
        }
    }

    fn find(&self, key: &str) -> rusqlite::Result<Option<(String, Option<String>)>> {
        let mut statement = self.transaction.prepare_cached("SELECT etag, file FROM objects WHERE key = ?1")?;
        statement.query_row([key], |row| Ok((row.get(0)?, row.get(1)?))).optional()
    }

    fn write(
        &self,
        key: &str,
        etag: &str,
        body: &Body,
        headers: &BTreeMap<String, String>,
        content_type: Option<&str>,
    ) -> rusqlite::Result<()> {
        const SQL: &str = "INSERT INTO objects (key, etag, size, modified, content_type, headers, file, body)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
            ON CONFLICT (key) DO UPDATE SET etag = ?2, size = ?3, modified = ?4, content_type = ?5, headers = ?6, file = ?7, body = ?8";
        let headers =
            serde_json::to_string(headers).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
        let (size, file, bytes) = match body {
            Body::Inline(bytes) => (bytes.len() as u64, None, Some(bytes.as_ref())),
            Body::File { name, size } => (*size, Some(name), None),
        };
        let mut statement = self.transaction.prepare_cached(SQL)?;
        statement.execute(params![key, etag, size, self.modified, content_type, headers, file, bytes])?;
        Ok(())
    }
}

fn check(key: &str, found: Option<&(String, Option<String>)>, precondition: &Precondition) -> Result<()> {
    match (precondition, found) {
        (Precondition::None, _) | (Precondition::Absent, None) => Ok(()),
        (Precondition::Matches(etag), Some((current, _))) if current == etag => Ok(()),
        (Precondition::Matches(_), None) => Err(StoreError::not_found(key)),
        _ => Err(StoreError::precondition(key)),
    }
}
