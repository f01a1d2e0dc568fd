//! State machines in the simulated world: nodes that send events, run actions and sweep, and are killed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linearizable::{Verdict, check};
use s3db::state_machine::{HistoryOptions, MachineDefinition, SendOptions, Sent, State, StateMachinePlugin, Target};
use s3db::store::clock::Clock;
use s3db::{Database, DoctorReport, ErrorKind, FindingKind};
use serde_json::{Value, json};

use crate::checks::Counts;
use crate::rng::Rng;

const MACHINE: &str = "ring";
const EVENTS: [&str; 3] = ["A", "B", "C"];
/// What timers are in the history of a call.
const TIMER: &str = "after:20s";

/// What senders were told and actions did.
#[derive(Debug, Default)]
pub(crate) struct MachineJournal {
    /// By entity. A call stands here from its beginning, because its caller may be killed.
    calls: Vec<(usize, Call)>,
    /// Entity, version and action → transition that ran it.
    ran: BTreeMap<(String, u64, String), String>,
    accepted: Vec<(usize, Sent)>,
    problems: Vec<String>,
    unknown: u64,
}

/// One send.
#[derive(Debug, Clone)]
struct Call {
    event: &'static str,
    from: Duration,
    to: Option<Duration>,
    answer: Option<Answer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Done { from: String, to: String, version: u64 },
    Refused { state: String },
}

/// What an event does in a state.
fn rules(state: &str, event: &str) -> Option<&'static str> {
    match (state, event) {
        ("s0", "A") => Some("s1"),
        ("s0", "B") | ("s1", "A") | ("s3", TIMER) => Some("s2"),
        ("s1", "C") | ("s2", "B") | ("s3", "A") => Some("s0"),
        ("s2", "C") => Some("s3"),
        _ => None,
    }
}

/// The machine of those rules: one state with an action, one with a timer.
fn definition() -> MachineDefinition {
    MachineDefinition::new(MACHINE, "s0")
        .state(State::new("s0").on("A", "s1").on("B", "s2"))
        .state(State::new("s1").on("A", "s2").on("C", "s0").entry("work"))
        .state(State::new("s2").on("B", "s0").on("C", Target::to("s3").action("work")))
        .state(State::new("s3").on("A", "s0").after("20s", "s2"))
}

impl linearizable::Call for Call {
    type State = (String, u64);

    fn from(&self) -> Duration {
        self.from
    }

    fn to(&self) -> Option<Duration> {
        self.to.filter(|_| self.answer.is_some())
    }

    fn step(&self, (state, version): &(String, u64)) -> Option<(String, u64)> {
        let next = rules(state, self.event);
        match &self.answer {
            Some(Answer::Done { from, to, version: told }) => {
                let fits = from == state && next == Some(to.as_str()) && *told == version + 1;
                fits.then(|| (to.clone(), *told))
            }
            Some(Answer::Refused { state: told }) => {
                (told == state && next.is_none()).then(|| (state.clone(), *version))
            }
            None => next.map(|next| (next.to_owned(), version + 1)),
        }
    }
}

/// The plugin of a node; its actions are noted.
pub(crate) fn plugin(journal: &Arc<Mutex<MachineJournal>>) -> s3db::Result<StateMachinePlugin> {
    let journal = Arc::clone(journal);
    StateMachinePlugin::builder()
        .machine(definition())
        .sweep_interval(None)
        .action("work", move |call| {
            let place = (call.entity.clone(), call.version, call.action.clone());
            lock(&journal).ran.insert(place, call.transition_id.clone());
            async move { Ok::<_, String>(json!({ "worked": call.version })) }
        })
        .build()
}

/// The sender of a node.
pub(crate) struct Sender {
    pub(crate) db: Database,
    pub(crate) rng: Rng,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) journal: Arc<Mutex<MachineJournal>>,
    pub(crate) entities: usize,
}

fn lock(journal: &Mutex<MachineJournal>) -> MutexGuard<'_, MachineJournal> {
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name_of(entity: usize) -> String {
    format!("e{entity}")
}

/// Makes the entities.
pub(crate) async fn prepare(db: &Database, entities: usize) -> s3db::Result<()> {
    let machines = db.plugin::<StateMachinePlugin>()?;
    for entity in 0..entities {
        machines.initialize_entity(MACHINE, &name_of(entity), Value::Null).await?;
    }
    Ok(())
}

impl Sender {
    /// Sends so many events, with pauses and sweeps in between.
    pub(crate) async fn work(mut self, calls: u64) {
        for _ in 0..calls {
            self.clock.sleep(Duration::from_millis(self.rng.below(4_000))).await;
            if self.rng.chance(150) {
                self.sweep().await;
            } else {
                self.send().await;
            }
        }
    }

    async fn sweep(&mut self) {
        let Ok(machines) = self.db.plugin::<StateMachinePlugin>() else { return };
        match machines.sweep().await {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Unavailable => {}
            Err(error) => lock(&self.journal).problems.push(format!("a sweep ended with {:?}: {error}", error.kind())),
        }
    }

    async fn send(&mut self) {
        let Ok(machines) = self.db.plugin::<StateMachinePlugin>() else { return };
        let entity = usize::try_from(self.rng.below(self.entities as u64)).unwrap_or_default();
        let event = EVENTS.get(usize::try_from(self.rng.below(3)).unwrap_or_default()).copied().unwrap_or("A");
        let from = self.clock.monotonic();
        let at = {
            let mut journal = lock(&self.journal);
            journal.calls.push((entity, Call { event, from, to: None, answer: None }));
            journal.calls.len() - 1
        };
        let options = SendOptions::default();
        let sent = machines.send_with(MACHINE, &name_of(entity), event, Value::Null, &options).await;
        let to = Some(self.clock.monotonic());
        let mut journal = lock(&self.journal);
        let answer = match sent {
            Ok(sent) => {
                let (from, to, version) = (sent.from.clone(), sent.to.clone(), sent.version);
                journal.accepted.push((entity, sent));
                Some(Answer::Done { from, to, version })
            }
            Err(error) if error.kind() == ErrorKind::InvalidEvent => {
                let state = error.details().and_then(|d| d.get("state")).and_then(Value::as_str).unwrap_or_default();
                Some(Answer::Refused { state: state.to_owned() })
            }
            Err(error) => {
                if !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Conflict) {
                    journal.problems.push(format!("a send ended with {:?}: {error}", error.kind()));
                }
                journal.unknown += 1;
                None
            }
        };
        if let Some((_, call)) = journal.calls.get_mut(at) {
            (call.to, call.answer) = (to, answer);
        }
    }
}

/// What the journal counted: calls, and those of unknown outcome.
pub(crate) fn counted(journal: &Mutex<MachineJournal>) -> (u64, u64) {
    let journal = lock(journal);
    (journal.calls.len() as u64, journal.unknown)
}

/// Checks the entities beside what senders were told, when everything has come to rest. Returns what is broken.
pub(crate) async fn at_rest(
    db: &Database,
    clock: &Arc<dyn Clock>,
    journal: &Mutex<MachineJournal>,
    entities: usize,
    counts: &mut Counts,
) -> Vec<String> {
    let mut broken = std::mem::take(&mut lock(journal).problems);
    let Ok(machines) = db.plugin::<StateMachinePlugin>() else { return vec!["the plugin is gone".to_owned()] };
    for _ in 0..6 {
        match machines.sweep().await {
            Ok(report) if report.failures == 0 => {}
            other => broken.push(format!("a sweep at rest: {other:?}")),
        }
        clock.sleep(Duration::from_secs(3700)).await;
    }
    for repair in [true, false] {
        match db.doctor(repair, &|_, _| ()).await {
            // A due key that is gone would be a timer that never fires, or an action that never runs.
            Ok(report) if repair && report.is_healthy() && !misses_due_key(&report) => {
                counts.stale_keys += report.findings.iter().map(|f| f.count).sum::<usize>();
            }
            Ok(report) if report.findings.is_empty() => {}
            other => broken.push(format!("doctor, repair {repair}: {other:?}")),
        }
    }
    for entity in 0..entities {
        if let Err(error) = check_entity(&machines, journal, entity, counts, &mut broken).await {
            broken.push(format!("{}: {error}", name_of(entity)));
        }
    }
    broken
}

fn misses_due_key(report: &DoctorReport) -> bool {
    report.findings.iter().any(|finding| finding.kind == FindingKind::MissingDueKey)
}

async fn check_entity(
    machines: &StateMachinePlugin,
    journal: &Mutex<MachineJournal>,
    entity: usize,
    counts: &mut Counts,
    broken: &mut Vec<String>,
) -> s3db::Result<()> {
    let name = name_of(entity);
    let view = machines.get_entity(MACHINE, &name).await?;
    let report = machines.verify(MACHINE, &name).await?;
    if !report.valid || !view.pending.is_empty() {
        broken.push(format!("{name}: {report:?}, {view:?}"));
    }
    let rows = machines.get_transition_history(MACHINE, &name, &HistoryOptions::default()).await?.items;
    if rows.len() as u64 != view.version {
        broken.push(format!("{name}: {} rows at version {}", rows.len(), view.version));
    }
    let journal = lock(journal);
    let of = |version: u64| rows.iter().find(|row| row.version == Some(version));
    for (_, sent) in journal.accepted.iter().filter(|(of, _)| *of == entity) {
        if of(sent.version).and_then(|row| row.transition_id.as_ref()) != Some(&sent.transition_id) {
            broken.push(format!("{name}: an answer is not in the log: {sent:?}"));
        }
    }
    // Every accepted transition's action ran, and none of a transition that does not stand.
    for row in rows.iter().filter(|row| row.to == "s1" || (row.to == "s3" && row.event == "C")) {
        let place = (name.clone(), row.version.unwrap_or_default(), "work".to_owned());
        if journal.ran.get(&place) != row.transition_id.as_ref() || row.actions.len() != 1 {
            broken.push(format!("{name}: the action of {row:?} ran as {:?}", journal.ran.get(&place)));
        }
    }
    for ((_, version, _), transition) in journal.ran.iter().filter(|((of, ..), _)| *of == name) {
        if of(*version).and_then(|row| row.transition_id.as_ref()) != Some(transition) {
            broken.push(format!("{name}: an action ran for a transition that does not stand: version {version}"));
        }
    }
    // Timers fire by sweeps: each is a call of unknown beginning and end.
    let mut calls: Vec<Call> =
        journal.calls.iter().filter(|(of, _)| *of == entity).map(|(_, call)| call.clone()).collect();
    let fired = rows.iter().filter(|row| row.event == TIMER).count();
    calls.extend((0..fired).map(|_| Call { event: TIMER, from: Duration::ZERO, to: None, answer: None }));
    counts.histories += 1;
    match check(&calls, &("s0".to_owned(), 0), &(view.state.clone(), view.version)) {
        Verdict::Explained(steps) => counts.longest_search = counts.longest_search.max(steps),
        Verdict::TooLong => counts.undecided += 1,
        Verdict::Impossible => {
            broken.push(format!("{name}: no order explains its calls, which ended as {view:?}: {calls:?}"));
        }
    }
    Ok(())
}
