//! One run of a backup over its destinations.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use s3db_format::catalog::Catalog;
use s3db_format::keys;
use serde_json::json;

use super::Core;
use super::capture::Capture;
use super::codec::Codec;
use super::create::{Begun, millis, nothing};
use super::locks::Locks;
use super::manifest::{self, Begun as BegunNote, Encryption, FORMAT, Found, MANIFEST, Manifest, VERSION};
use super::parent::Plan;
use super::progress::Tracker;
use super::report::{BackupReport, DestinationReport};
use super::rows::BackupStatus;
use super::scope::is_meta;
use super::sealed::sha256;
use super::settings::Strategy;
use super::shelf::{Place, Standing, real};
use super::sink::{Lane as Writing, Sink};
use super::source::folders;
use super::survey::{Survey, survey};
use super::writer::Writer;
use crate::database::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::state_machine::StateMachinePlugin;

/// A destination in a run.
#[derive(Debug)]
struct Lane {
    name: String,
    /// `filesystem` or `s3`.
    kind: &'static str,
    place: std::result::Result<Place, Error>,
    survey: Survey,
    folder: String,
    done: Option<Done>,
    skipped: bool,
}

/// A backup that is complete at a destination.
#[derive(Debug)]
struct Done {
    manifest: Manifest,
    checksum: String,
}

/// The destinations of a run.
#[derive(Debug)]
pub(super) struct Lanes(Vec<Lane>);

impl Lanes {
    /// The destinations of a run.
    ///
    /// # Errors
    /// A destination lies inside the database.
    pub(super) fn new(core: &Core, places: Vec<(String, Result<Place>)>) -> Result<Self> {
        let database = core.db()?.location();
        let mut lanes = Vec::new();
        for (name, place) in places {
            if let Ok(place) = &place {
                refuse_inside(&database, &place.location())?;
            }
            let survey = Survey::default();
            let (name, kind) = match &place {
                Ok(place) => (place.location(), place.kind),
                Err(_) => (name, ""),
            };
            lanes.push(Lane { name, kind, place, survey, folder: String::new(), done: None, skipped: false });
        }
        Ok(Self(lanes))
    }

    /// Locks the destinations: what a backup builds on must not be deleted meanwhile.
    pub(super) async fn lock(&self, inner: &Inner) -> Locks {
        let places: Vec<Place> = self.0.iter().filter_map(|lane| lane.place.as_ref().ok().cloned()).collect();
        let owner = super::turn::owner("backup");
        Locks::take(&places, &owner, &inner.clock, &*inner.entropy).await
    }

    /// Looks at what stands at each destination, under the locks.
    pub(super) async fn survey(&mut self) {
        let looks = self.0.iter_mut().map(|lane| async move {
            let Ok(place) = &lane.place else { return };
            match Box::pin(survey(place)).await {
                Ok(found) => lane.survey = found,
                Err(error) => lane.place = Err(error),
            }
        });
        join_all(looks).await;
    }

    /// The destinations that can be reached, with what stands there.
    pub(super) fn open(&self) -> impl Iterator<Item = (&Place, &Survey)> {
        self.0.iter().filter_map(|lane| Some((lane.place.as_ref().ok()?, &lane.survey)))
    }

    pub(super) fn surveys(&self) -> Vec<&Survey> {
        self.open().map(|(_, survey)| survey).collect()
    }

    pub(super) fn all(&self) -> Vec<usize> {
        (0..self.0.len()).collect()
    }

    /// The ones behind it were not needed.
    pub(super) fn skip_after(&mut self, at: usize) {
        self.0.iter_mut().skip(at + 1).for_each(|lane| lane.skipped = true);
    }
}

/// A backup must not become part of what it backs up.
fn refuse_inside(database: &str, destination: &str) -> Result<()> {
    let inside = match database.strip_prefix("file:") {
        Some(folder) => real(destination.as_ref()).starts_with(real(folder.as_ref())),
        None => {
            let below = destination.strip_prefix(database).and_then(|rest| rest.strip_prefix('/'));
            below.is_some_and(|rest| {
                [keys::RESOURCES, keys::OWN, keys::CACHE].iter().any(|own| format!("{rest}/").starts_with(own))
            })
        }
    };
    if !inside {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, format!("the destination {destination} lies inside the database {database}"))
        .guide("name a folder or prefix beside it: what happens to the database must not happen to its backups"))
}

/// What is backed up, as it was when the backup began.
#[derive(Debug)]
pub(super) struct Scoped {
    catalog: Arc<Catalog>,
    /// The names of resources: those of the catalog, and those that have objects.
    names: BTreeSet<String>,
    /// What is strange, in sentences.
    warnings: Vec<String>,
}

impl Scoped {
    /// Looks at the database. Costs a GET and a LIST.
    ///
    /// # Errors
    /// `Invalid` if include and exclude leave nothing.
    pub(super) async fn look(core: &Core) -> Result<Self> {
        let inner = &core.db()?.inner;
        let found = folders(inner).await?;
        let catalog = inner.fresh_catalog().await?;
        let names: BTreeSet<String> = catalog.resources().keys().chain(&found.resources).cloned().collect();
        let mut warnings = core.scope.check(&names)?;
        let unknown = |name: &&String| catalog.resource(name).is_none() && core.scope.takes(name);
        for name in found.resources.iter().filter(unknown) {
            warnings.push(format!("objects of '{name}', which the catalog does not have, are backed up too"));
        }
        for folder in &found.foreign {
            warnings.push(format!("{folder} is not the database's, and is not backed up"));
        }
        Ok(Self { catalog, names, warnings })
    }
}

/// A run.
pub(super) struct Run<'a> {
    core: &'a Core,
    id: &'a str,
    begun: &'a Begun<'a>,
    scoped: Scoped,
    plan: Plan,
    tracker: &'a Tracker<'a>,
    sink: Option<Sink>,
    /// Which destination each writer of the sink is for.
    lanes_of: Vec<usize>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        core: &'a Core,
        id: &'a str,
        begun: &'a Begun<'a>,
        scoped: Scoped,
        plan: Plan,
        tracker: &'a Tracker<'a>,
    ) -> Self {
        Self { core, id, begun, scoped, plan, tracker, sink: None, lanes_of: Vec::new() }
    }

    /// Chooses a parent for another destination than the one that failed.
    pub(super) async fn plan_anew(&mut self, at: usize, lanes: &Lanes) -> Result<()> {
        let Some(lane) = lanes.0.get(at).filter(|lane| lane.place.is_ok()) else { return Ok(()) };
        self.plan = self.core.plan(self.begun.kind, self.begun.source, &[&lane.survey], &lanes.surveys()).await?;
        Ok(())
    }

    /// Leaves a destination for another one.
    pub(super) async fn leave(&mut self, at: usize, error: &Error, lanes: &mut Lanes) {
        self.clean_up(lanes).await;
        self.sink = None;
        if let Some(lane) = lanes.0.get_mut(at).filter(|lane| lane.done.is_none()) {
            lane.place = Err(error.clone());
        }
    }

    /// Makes the backup at some of the destinations.
    pub(super) async fn through(&mut self, wanted: Vec<usize>, lanes: &mut Lanes) -> Result<()> {
        let inner = Arc::clone(&self.core.db()?.inner);
        let writers = self.begin(&wanted, lanes).await?;
        let sink = self.sink.insert(Sink::new(writers));
        self.tracker.phase("reading");
        let mut capture = Capture::new(&inner, self.plan.base.as_ref(), self.core.settings.concurrency, self.tracker);
        let scope = &self.core.scope;
        let takes = |key: &str| keys::owner(key).is_some_and(|owner| scope.takes(owner));
        // A log is read after the states that it explains, so that it has what they name.
        let first = self.core.state_before_log();
        if let Some(first) = &first {
            sink.cut_at_resources = true;
            capture.read(&keys::resource(first), &takes, sink).await?;
        }
        let others = |key: &str| {
            let owner = keys::owner(key);
            key == keys::RESOURCES || owner.is_some_and(|owner| scope.takes(owner) && first.as_deref() != Some(owner))
        };
        capture.read(keys::RESOURCES, &others, sink).await?;
        sink.cut().await?;
        let meta = |key: &str| keys::META.starts_with(key) || is_meta(key);
        capture.read(keys::META, &meta, sink).await?;
        sink.cut().await?;
        capture.read_catalog(&self.scoped.catalog, sink).await?;
        for name in self.scoped.names.iter().filter(|name| scope.takes(name)) {
            sink.contents.entry(name.clone()).or_default();
        }
        self.tracker.phase("finishing");
        self.finish(lanes).await
    }

    /// Begins a writer for each destination that can be reached.
    async fn begin(&mut self, wanted: &[usize], lanes: &mut Lanes) -> Result<Vec<Writing>> {
        let core = self.core;
        let mut writers = Vec::new();
        let mut first = None;
        self.lanes_of.clear();
        for at in wanted {
            let Some(lane) = lanes.0.get_mut(*at) else { continue };
            let begun = match &lane.place {
                Ok(place) => {
                    lane.folder = place.folder_of(self.id, self.plan.kind, self.begun.started_ms, &core.zone);
                    self.begin_at(place.clone(), lane.folder.clone()).await
                }
                Err(error) => Err(error.clone()),
            };
            match begun {
                Ok(writer) => {
                    writers.push(Writing::Writing(Box::new(writer)));
                    self.lanes_of.push(*at);
                }
                Err(error) => {
                    tracing::warn!(target: "s3db::backup", %error, "the destination {} failed", lane.name);
                    lane.place = Err(error.clone());
                    first.get_or_insert(error);
                }
            }
        }
        match (writers.is_empty(), first) {
            (true, Some(error)) => Err(error),
            _ => Ok(writers),
        }
    }

    async fn begin_at(&self, place: Place, folder: String) -> Result<Writer> {
        let core = self.core;
        let compression = place.compression.or(core.settings.compression).unwrap_or_default();
        let key = core.recipients.as_ref().map(|_| age::x25519::Identity::generate());
        let begun = BegunNote {
            id: self.id.to_owned(),
            kind: self.plan.kind,
            source: self.begun.source.to_owned(),
            at_ms: place.shelf.now_ms(),
        };
        let verify = core.settings.verification.unwrap_or(true);
        Writer::begin(place, folder, Codec { compression, key }, &begun, verify, core.limiter.clone()).await
    }

    /// Writes the rest at each destination, the manifest last.
    async fn finish(&mut self, lanes: &mut Lanes) -> Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        let contents = json!({ "scope": self.core.scope.to_json(), "resources": sink.contents });
        let inner = Arc::clone(&self.core.db()?.inner);
        let now = move || inner.now();
        let mut last = None;
        let mut complete = false;
        for (writing, at) in sink.lanes.iter_mut().zip(&self.lanes_of) {
            let Some(lane) = lanes.0.get_mut(*at) else { continue };
            let finished = match writing {
                Writing::Failed(error, _) => Err(Error::clone(error)),
                Writing::Writing(writer) => {
                    let key = writer.codec.key.as_ref();
                    let draft = Manifest {
                        format: FORMAT.to_owned(),
                        version: VERSION,
                        id: self.id.to_owned(),
                        status: "completed".to_owned(),
                        kind: self.plan.kind,
                        requested_type: Some(self.begun.kind).filter(|kind| *kind != self.plan.kind),
                        // A reason may name resources or keys; only whom it concerns needs it.
                        reason: None,
                        source: self.begun.source.to_owned(),
                        parent: self.plan.parent.clone(),
                        sequence: self.plan.sequence,
                        started_at: s3db_format::date::rfc3339(self.begun.started_ms),
                        finished_at: String::new(),
                        compression: writer.codec.compression,
                        encryption: key
                            .map(|key| Encryption { format: "age".to_owned(), recipient: key.to_public().to_string() }),
                        scope: self.core.scope.digest(),
                        whole: self.core.scope.is_whole(),
                        counts: sink.counts,
                        size: 0,
                        files: Vec::new(),
                    };
                    writer.finish(&contents, self.core.recipients.as_ref(), draft, &now).await
                }
            };
            match finished {
                Ok((manifest, bytes)) => {
                    complete = true;
                    lane.done = Some(Done { manifest, checksum: sha256(&bytes) });
                }
                Err(error) => {
                    tracing::warn!(target: "s3db::backup", %error, "the destination {} failed", lane.name);
                    lane.place = lane.place.clone().and(Err(error.clone()));
                    last = Some(error);
                }
            }
        }
        match (complete, last) {
            (false, Some(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes what stands at destinations where the backup is not complete.
    pub(super) async fn clean_up(&mut self, lanes: &mut Lanes) {
        let (Some(sink), Ok(db)) = (&mut self.sink, self.core.db()) else { return };
        let clock = &*db.inner.clock;
        for (writing, at) in sink.lanes.iter_mut().zip(&self.lanes_of) {
            let place = match writing {
                Writing::Writing(writer) => {
                    writer.settle(clock).await;
                    writer.place.clone()
                }
                Writing::Failed(_, place) => place.clone(),
            };
            let Some(lane) = lanes.0.get_mut(*at).filter(|lane| lane.done.is_none()) else { continue };
            let standing = Standing { id: self.id.to_owned(), folder: lane.folder.clone(), files: Default::default() };
            match self.core.give_up(&place, &standing, None).await {
                Ok(true) => {}
                // The answer to its manifest was lost: it is complete.
                Ok(false) => lane.done = complete(&place, &standing).await,
                Err(error) => {
                    tracing::warn!(target: "s3db::backup", %error, "what is left at {} is swept by the next backup", lane.name);
                }
            }
        }
    }

    /// What it came to.
    pub(super) fn report(&self, lanes: &Lanes, error: Option<&Error>, cancelled: bool) -> BackupReport {
        let destinations: Vec<DestinationReport> = lanes.0.iter().map(|lane| destination(lane, error)).collect();
        let complete = destinations.iter().filter(|d| d.status == "completed").count();
        let all = self.core.settings.strategy.unwrap_or_default() == Strategy::All;
        let status = match complete {
            0 if cancelled => BackupStatus::Cancelled,
            0 => BackupStatus::Failed,
            n if (all || cancelled) && n < destinations.len() => BackupStatus::Partial,
            _ => BackupStatus::Completed,
        };
        let (counts, resources) = self.sink.as_ref().map_or_else(nothing, |sink| (sink.counts, sink.contents.clone()));
        BackupReport {
            id: self.id.to_owned(),
            kind: self.plan.kind,
            requested_type: Some(self.begun.kind).filter(|kind| *kind != self.plan.kind),
            reason: self.plan.reason.clone(),
            status,
            parent: self.plan.parent.clone(),
            size: destinations.iter().map(|d| d.size).max().unwrap_or_default(),
            logical_size: counts.bytes,
            duration: millis(self.tracker.elapsed()),
            started_at: s3db_format::date::rfc3339(self.begun.started_ms),
            source: self.begun.source.to_owned(),
            counts,
            resources,
            destinations,
            warnings: self.scoped.warnings.clone(),
        }
    }
}

/// What is complete at a place after all.
async fn complete(place: &Place, standing: &Standing) -> Option<Done> {
    let bytes = place.shelf.get(&format!("{}{MANIFEST}", standing.folder)).await.ok()??;
    match manifest::read(&bytes, &standing.id) {
        Ok(Found::Complete(manifest)) => Some(Done { manifest: *manifest, checksum: sha256(&bytes) }),
        _ => None,
    }
}

fn destination(lane: &Lane, error: Option<&Error>) -> DestinationReport {
    let place = lane.place.as_ref();
    let status = match (&lane.done, lane.skipped) {
        (Some(_), _) => "completed",
        (None, true) => "skipped",
        (None, false) => "failed",
    };
    let why = place.err().or(error).filter(|_| status == "failed");
    DestinationReport {
        kind: lane.kind.to_owned(),
        location: lane.name.clone(),
        path: lane.folder.clone(),
        status: status.to_owned(),
        size: lane.done.as_ref().map_or(0, |done| done.manifest.size),
        files: lane.done.as_ref().map_or(0, |done| done.manifest.files.len() as u64),
        checksum: lane.done.as_ref().map(|done| done.checksum.clone()),
        error: why.map(ToString::to_string),
    }
}

impl Core {
    /// The resource of states, where its name comes after that of its log.
    fn state_before_log(&self) -> Option<String> {
        let machines = self.db().ok()?.plugin::<StateMachinePlugin>().ok()?;
        let (states, log) = machines.resource_names();
        (keys::resource(&states) > keys::resource(&log)).then_some(states)
    }
}
