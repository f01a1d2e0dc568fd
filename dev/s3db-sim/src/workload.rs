//! What the callers of a node do.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use s3db::store::clock::Clock;
use s3db::{Database, Error, ErrorKind, Query, Record, Resource, ResourceDefinition, UpdateOptions};
use serde_json::{Value as Json, json};

use crate::history::{Answer, Call, Op, Value};
use crate::rng::Rng;

/// The resource that all nodes work on.
pub(crate) const RESOURCE: &str = "records";
/// Statuses that records toggle between.
pub(crate) const STATUSES: u64 = 3;

/// What is shared by the callers of a world.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// Calls by record. A call stands here from its beginning, because its caller may be killed.
    pub(crate) calls: Vec<Option<(usize, Call)>>,
    pub(crate) created: Vec<String>,
    pub(crate) problems: Vec<String>,
    pub(crate) writes: u64,
    pub(crate) unknown: u64,
}

/// One caller of a node.
pub(crate) struct Caller {
    pub(crate) node: u64,
    pub(crate) db: Database,
    pub(crate) rng: Rng,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) journal: Arc<Mutex<Journal>>,
    pub(crate) records: usize,
}

/// The definition of the resource, with two partitions.
pub(crate) fn definition(name: &str, behavior: u64) -> ResourceDefinition {
    let behaviors = [s3db::Behavior::UserManaged, s3db::Behavior::BodyOnly, s3db::Behavior::BodyOverflow];
    let behavior = behaviors.get(usize::try_from(behavior % 3).unwrap_or_default()).copied().unwrap_or_default();
    ResourceDefinition::new(name)
        .attribute("w", "number")
        .attribute("s", "string")
        .attribute("n", "number|default:0")
        .behavior(behavior)
        .partition("byStatus", [("s", "string")])
        .partition("byNumber", [("n", "number")])
}

pub(crate) fn id_of(record: usize) -> String {
    format!("record-{record}")
}

pub(crate) fn value_of(record: &Record) -> Option<Value> {
    let number = |name: &str| record.attributes.get(name).and_then(Json::as_u64);
    let s = record.attributes.get("s").and_then(Json::as_str)?.strip_prefix('s')?.parse().ok()?;
    Some(Value { w: number("w")?, s, n: number("n")? })
}

fn whole(value: Value) -> Json {
    json!({ "w": value.w, "s": format!("s{}", value.s), "n": value.n })
}

impl Caller {
    /// Makes so many calls, with pauses.
    pub(crate) async fn work(mut self, calls: u64) {
        if let Err(error) = self.create_resources().await {
            self.expect_outage("create_resource", &error);
        }
        for _ in 0..calls {
            let pause = Duration::from_millis(self.rng.below(400));
            self.clock.sleep(pause).await;
            self.call().await;
        }
    }

    async fn create_resources(&mut self) -> Result<(), Error> {
        let own = format!("own-{}-{}", self.node, self.next_write());
        self.db.create_resource(definition(&own, self.rng.next())).await?;
        self.note(|journal| journal.created.push(own));
        Ok(())
    }

    async fn call(&mut self) {
        let resource = match self.db.resource(RESOURCE).await {
            Ok(resource) => resource,
            Err(error) => return self.expect_outage("resource", &error),
        };
        let record = usize::try_from(self.rng.below(self.records as u64)).unwrap_or_default();
        let (w, s, n) = (self.next_write(), self.rng.below(STATUSES), self.rng.below(4));
        match self.rng.below(100) {
            0..16 => self.make(&resource, record, Op::Insert(Value { w, s, n })).await,
            16..36 => self.make(&resource, record, Op::SetStatus { w, s }).await,
            36..46 => self.make(&resource, record, Op::SetNumber { w, n }).await,
            46..56 => self.read_and_set(&resource, record, w, s).await,
            56..62 => self.make(&resource, record, Op::Replace(Value { w, s, n })).await,
            62..70 => self.make(&resource, record, Op::Upsert { w, s }).await,
            70..80 => self.make(&resource, record, Op::Delete).await,
            80..92 => self.make(&resource, record, Op::Read).await,
            92..96 => self.list(&resource, Some(s)).await,
            _ => self.list(&resource, None).await,
        }
    }

    fn next_write(&self) -> u64 {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.writes += 1;
        journal.writes
    }

    async fn make(&mut self, resource: &Resource, record: usize, op: Op) {
        let id = id_of(record);
        let begun = self.begin(record, op);
        let made = match op {
            Op::Insert(value) => {
                let row = json!({ "id": id, "w": value.w, "s": format!("s{}", value.s), "n": value.n });
                resource.insert(row).await.map(Some)
            }
            Op::SetStatus { w, s } => resource.update(&id, json!({ "w": w, "s": format!("s{s}") })).await.map(Some),
            Op::SetNumber { w, n } => resource.update(&id, json!({ "w": w, "n": n })).await.map(Some),
            Op::Replace(value) => resource.replace(&id, whole(value), &UpdateOptions::default()).await.map(Some),
            Op::Upsert { w, s } => resource.upsert(json!({ "id": id, "w": w, "s": format!("s{s}") })).await.map(Some),
            Op::Delete => resource.delete(&id).await.map(|()| None),
            Op::Read => resource.get(&id).await.map(Some),
            // Made by `read_and_set`, which knows the revision.
            Op::SetIf { .. } => return,
        };
        self.answered(begun, op, made);
    }

    /// Reads a record and changes it only if nobody else did meanwhile.
    async fn read_and_set(&mut self, resource: &Resource, record: usize, w: u64, s: u64) {
        let id = id_of(record);
        let begun = self.begin(record, Op::Read);
        let read = resource.get(&id).await;
        self.answered(begun, Op::Read, read.clone().map(Some));
        let Ok(read) = read else { return };
        let Some(seen) = value_of(&read) else { return };
        let op = Op::SetIf { read: seen.w, w, s };
        let begun = self.begin(record, op);
        let options = UpdateOptions { expected_rev: Some(read.meta.rev) };
        let made = resource.update_with(&id, json!({ "w": w, "s": format!("s{s}") }), &options).await;
        self.answered(begun, op, made.map(Some));
    }

    /// Notes a call before it is made: until it is answered, it may take effect or not.
    fn begin(&self, record: usize, op: Op) -> usize {
        let call = Call { node: self.node, from: self.clock.monotonic(), to: None, op, answer: Answer::Unknown };
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.calls.push(Some((record, call)));
        journal.calls.len() - 1
    }

    fn answered(&mut self, begun: usize, op: Op, made: Result<Option<Record>, Error>) {
        let answer = match made {
            Ok(shown) => Some(Answer::Done(shown.as_ref().and_then(value_of))),
            Err(error) if error.is_applied_unknown() => Some(Answer::Unknown),
            Err(error) => match error.kind() {
                ErrorKind::NotFound => Some(Answer::Missing),
                ErrorKind::AlreadyExists => Some(Answer::Taken),
                ErrorKind::Conflict if matches!(op, Op::SetIf { .. }) => Some(Answer::Changed),
                // Given up after too many lost attempts, or while the store was away: nothing was done.
                ErrorKind::Conflict | ErrorKind::Unavailable | ErrorKind::Busy => None,
                _ => return self.problem(format!("{op:?} ended with {error}")),
            },
        };
        let to = self.clock.monotonic();
        self.note(|journal| {
            journal.unknown += u64::from(answer == Some(Answer::Unknown));
            let Some(place) = journal.calls.get_mut(begun) else { return };
            match (answer, place.as_mut()) {
                (None, _) => *place = None,
                (Some(Answer::Unknown), _) | (_, None) => {}
                (Some(answer), Some((_, call))) => (call.answer, call.to) = (answer, Some(to)),
            }
        });
    }

    /// Lists all records or those of a status: each row is a read, none comes twice, and each has the
    /// status that was asked for.
    async fn list(&mut self, resource: &Resource, status: Option<u64>) {
        let from = self.clock.monotonic();
        let options = match status {
            Some(s) => Query::all().partition("byStatus", json!({ "s": format!("s{s}") })),
            None => Query::all(),
        };
        let page = match resource.list(&options).await {
            Ok(page) => page,
            Err(error) => return self.expect_outage("list", &error),
        };
        let to = self.clock.monotonic();
        let mut seen = std::collections::HashSet::new();
        for row in &page.items {
            if !seen.insert(row.id.clone()) {
                self.problem(format!("a list has '{}' twice", row.id));
            }
            let Some(value) = value_of(row) else { continue };
            if status.is_some_and(|s| s != value.s) {
                self.problem(format!("the list of status {status:?} has {value:?}"));
            }
            let Some(record) = row.id.strip_prefix("record-").and_then(|n| n.parse().ok()) else { continue };
            let call = Call { node: self.node, from, to: Some(to), op: Op::Read, answer: Answer::Done(Some(value)) };
            self.note(|journal| journal.calls.push(Some((record, call))));
        }
    }

    fn expect_outage(&mut self, what: &str, error: &Error) {
        if !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Conflict) {
            self.problem(format!("{what} ended with {error}"));
        }
    }

    fn problem(&self, problem: String) {
        self.note(|journal| journal.problems.push(problem));
    }

    fn note(&self, note: impl FnOnce(&mut Journal)) {
        note(&mut self.journal.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
