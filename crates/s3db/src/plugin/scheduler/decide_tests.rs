//! Decisions against the vectors of overlap policies, and against a plain model.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::cron::{Cron, Dst};
use super::decide::{Decision, Dependency, Facts, State, decide, due_ms};
use super::definition::{CatchUp, JobDefinition, Overlap};
use super::record::{JobRecord, Open, Outcome, Trigger};
use super::status::RunStatus;

const MINUTE: i64 = 60_000;
/// 2026-01-01T00:00:00Z.
const BEGIN: i64 = 1_767_225_600_000;

fn job(overlap: Overlap, catch_up: CatchUp) -> JobDefinition {
    JobDefinition::new("j", "* * * * *").timezone("UTC").overlap(overlap).catch_up(catch_up)
}

fn record(job: &JobDefinition, since_ms: i64) -> JobRecord {
    JobRecord::new("j", job, since_ms)
}

fn running(started_ms: i64) -> Open {
    Open {
        run: "j_m_x".into(),
        trigger: Trigger::Manual,
        planned_ms: None,
        owner: "other".into(),
        fence: 1,
        started_ms,
        beat: 0,
        beat_ms: started_ms,
        takeovers: 0,
        has_row: false,
        unlogged: false,
        cancel_requested: false,
        terminate_requested: false,
        context: Value::Null,
        note: None,
    }
}

fn decided(record: &JobRecord, job: &JobDefinition, now_ms: i64, states: &[State]) -> Decision {
    let cron = Cron::parse(&job.schedule, "UTC", Dst::Vixie).unwrap();
    decide(
        record,
        &Facts { job, cron: &cron, now_ms, owner: "me", may_start: true, logged: true, states, dependency: None },
    )
}

fn planned(opens: &[Open]) -> Vec<i64> {
    opens.iter().map(|open| (open.planned_ms.unwrap() - BEGIN) / MINUTE).collect()
}

#[test]
fn overlaps_are_those_of_the_vectors() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/vectors/overlap-policy.json");
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    for case in cases {
        // The instants 3, 5 and 7 are minutes, all of them older than the grace.
        let overlap = serde_json::from_value(case["policy"].clone()).unwrap();
        let mut job = job(overlap, CatchUp::All);
        job.schedule = "3,5,7 0 * * *".into();
        let mut record = record(&job, BEGIN);
        let busy = case["running"].as_bool().unwrap();
        if busy {
            record.open.push(running(BEGIN + 1));
        }
        let states = if busy { vec![State::Running] } else { Vec::new() };
        let decision = decided(&record, &job, BEGIN + 30 * MINUTE, &states);
        let expect = &case["expect"];
        let minutes = |value: &Value| value.as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect::<Vec<_>>();
        let mut starts = minutes(&expect["start_all"]);
        starts.extend(expect["start_one"].as_i64());
        assert_eq!(planned(&decision.start), starts, "{case}");
        let buffer: Vec<i64> = decision.record.buffer.iter().map(|ms| (ms - BEGIN) / MINUTE).collect();
        assert_eq!(buffer, minutes(&expect["buffer"]), "{case}");
        let skipped = decision.notes.iter().filter(|n| n.note.as_ref().unwrap().reason.starts_with("overlap"));
        assert_eq!(skipped.count() as u64, expect["skipped"].as_u64().unwrap(), "{case}");
        let run = decision.record.open.iter().find(|open| open.run == "j_m_x");
        let (cancel, terminate) = run.map_or((false, false), |open| (open.cancel_requested, open.terminate_requested));
        let (wants_cancel, wants_terminate) = (expect["cancel"] == true, expect["terminate"] == true);
        assert_eq!((cancel, terminate), (wants_cancel || wants_terminate, wants_terminate), "{case}");
    }
    assert_eq!(cases.len(), 12);
}

#[test]
fn what_another_instant_replaces_has_a_row_that_says_so() {
    let job = job(Overlap::CancelOther, CatchUp::All);
    let decision = decided(&record(&job, BEGIN), &job, BEGIN + 3 * MINUTE, &[]);
    assert_eq!(planned(&decision.start), [3]);
    let notes: Vec<_> = decision.notes.iter().map(|open| open.note.clone().unwrap()).collect();
    assert!(
        notes.len() == 2 && notes.iter().all(|n| n.status == RunStatus::Skipped && n.reason.starts_with("superseded")),
        "{notes:?}"
    );
}

#[test]
fn an_instant_younger_than_a_minute_is_run_and_never_missed_or_skipped() {
    for overlap in [Overlap::Skip, Overlap::BufferOne, Overlap::BufferAll, Overlap::AllowAll] {
        let job = job(overlap, CatchUp::None);
        let decision = decided(&record(&job, BEGIN), &job, BEGIN + MINUTE + 59_999, &[]);
        assert_eq!((planned(&decision.start), decision.notes.len()), (vec![1], 0), "{overlap:?}");
    }
    // Behind a run that is under way it waits, until it is a minute old.
    let job = job(Overlap::Skip, CatchUp::None);
    let mut busy = record(&job, BEGIN);
    busy.open.push(running(BEGIN));
    let waits = decided(&busy, &job, BEGIN + MINUTE + 59_999, &[State::Running]);
    assert!(waits.record == busy && waits.waiting_ms == Some(BEGIN + MINUTE), "{waits:?}");
    let skipped = decided(&busy, &job, BEGIN + 2 * MINUTE, &[State::Running]);
    assert_eq!((planned(&skipped.notes), skipped.record.last_planned_ms), (vec![1], BEGIN + MINUTE));
    // Once that run has ended it starts, late.
    let ended = Outcome { status: RunStatus::Success, start_ms: BEGIN, end_ms: BEGIN + MINUTE + 30_000 };
    let started = decided(&busy, &job, BEGIN + MINUTE + 30_000, &[State::Done(ended)]);
    assert_eq!((planned(&started.start), started.record.totals.success), (vec![1], 1));
}

#[test]
fn an_outage_is_one_row_however_long() {
    for days in [1, 30, 400] {
        let job = job(Overlap::Skip, CatchUp::None);
        let now = BEGIN + days * 1440 * MINUTE + 30_000;
        let decision = decided(&record(&job, BEGIN), &job, now, &[]);
        let [note] = &decision.notes[..] else { panic!("{:?}", decision.notes) };
        let note = note.note.as_ref().unwrap();
        let count = u64::try_from(days * 1440 - 1).unwrap();
        assert_eq!(
            (note.count, note.first_ms, note.last_ms),
            (count, BEGIN + MINUTE, BEGIN + (days * 1440 - 1) * MINUTE)
        );
        assert_eq!(planned(&decision.start), [days * 1440]);
    }
}

#[test]
fn what_is_caught_up_depends_on_the_policy_and_the_window() {
    let now = BEGIN + 600 * MINUTE + 30_000;
    let last =
        decided(&record(&job(Overlap::Skip, CatchUp::Last), BEGIN), &job(Overlap::Skip, CatchUp::Last), now, &[]);
    // The last one that was missed is run; the one that is just due waits behind it.
    assert_eq!((planned(&last.start), last.notes[0].note.as_ref().unwrap().count), (vec![599], 598));
    let windowed = job(Overlap::AllowAll, CatchUp::All).catch_up_window(Duration::from_secs(300));
    let all = decided(&record(&windowed, BEGIN), &windowed, now, &[]);
    assert_eq!(planned(&all.start), [596, 597, 598, 599, 600]);
    assert_eq!(all.notes[0].note.as_ref().unwrap().count, 595);
}

#[test]
fn what_was_before_the_job_or_while_it_was_off_does_not_count() {
    let job = job(Overlap::Skip, CatchUp::All);
    let mut record = record(&job, BEGIN + 10 * MINUTE);
    record.last_planned_ms = BEGIN + 5 * MINUTE;
    let decision = decided(&record, &job, BEGIN + 11 * MINUTE, &[]);
    assert_eq!((planned(&decision.start), decision.notes.len()), (vec![11], 0));
    record.switch = Some(false);
    assert!(decided(&record, &job, BEGIN + 30 * MINUTE, &[]).start.is_empty());
}

#[test]
fn a_run_that_may_live_holds_everything_but_allow_all() {
    for (overlap, starts) in
        [(Overlap::Skip, 0), (Overlap::BufferAll, 0), (Overlap::CancelOther, 0), (Overlap::AllowAll, 1)]
    {
        let job = job(overlap, CatchUp::None);
        let mut busy = record(&job, BEGIN);
        busy.open.push(running(BEGIN));
        let decision = decided(&busy, &job, BEGIN + MINUTE, &[State::Unknown]);
        assert_eq!(decision.start.len(), starts, "{overlap:?}");
        assert!(decision.notes.is_empty());
    }
}

#[test]
fn an_instant_waits_for_the_jobs_that_it_depends_on() {
    let job = job(Overlap::Skip, CatchUp::None).depends_on("other");
    let cron = Cron::parse(&job.schedule, "UTC", Dst::Vixie).unwrap();
    let with = |now_ms, dependency| {
        let facts = Facts {
            job: &job,
            cron: &cron,
            now_ms,
            owner: "me",
            may_start: true,
            logged: true,
            states: &[],
            dependency: Some((BEGIN + MINUTE, dependency)),
        };
        decide(&record(&job, BEGIN), &facts)
    };
    let due = BEGIN + MINUTE;
    assert_eq!(planned(&with(due, Dependency::Ready(due)).start), [1]);
    // However long it takes, it runs as soon as the other has ended.
    assert!(with(due + 60 * MINUTE, Dependency::Waiting).start.is_empty());
    assert_eq!(planned(&with(due + 60 * MINUTE, Dependency::Ready(due + 60 * MINUTE - 1_000)).start), [1]);
    // Nobody was there when it ended.
    let missed = with(due + 60 * MINUTE, Dependency::Ready(due));
    assert_eq!((missed.start.len(), missed.notes[0].note.as_ref().unwrap().status), (0, RunStatus::Missed));
    let failed = with(due + MINUTE, Dependency::Failed("'other' ended as 'error'".into()));
    assert_eq!(failed.notes[0].note.as_ref().unwrap().reason, "dependency: 'other' ended as 'error'");
    let given_up = with(due + 1441 * MINUTE, Dependency::Waiting);
    assert_eq!(given_up.notes[0].note.as_ref().unwrap().status, RunStatus::Missed);
}

#[test]
fn jitter_delays_each_instant_by_the_same_time_everywhere() {
    let job = job(Overlap::Skip, CatchUp::None).jitter(Duration::from_secs(30));
    let delays: BTreeSet<i64> = (1..100).map(|n| due_ms(&job, BEGIN + n * MINUTE) - BEGIN - n * MINUTE).collect();
    assert!(delays.len() > 50 && delays.iter().all(|delay| (0..=30_000).contains(delay)), "{delays:?}");
    let delay = due_ms(&job, BEGIN + MINUTE);
    assert!(decided(&record(&job, BEGIN), &job, delay - 1, &[]).start.is_empty());
    assert_eq!(planned(&decided(&record(&job, BEGIN), &job, delay, &[]).start), [1]);
}

fn overlap() -> impl Strategy<Value = Overlap> {
    prop_oneof![
        Just(Overlap::Skip),
        Just(Overlap::BufferOne),
        Just(Overlap::BufferAll),
        Just(Overlap::CancelOther),
        Just(Overlap::TerminateOther),
        Just(Overlap::AllowAll),
    ]
}

fn catch_up() -> impl Strategy<Value = CatchUp> {
    prop_oneof![Just(CatchUp::None), Just(CatchUp::Last), Just(CatchUp::All)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever happens, every planned instant has one fate: it ran once, waits, or has a row that says why not.
    #[test]
    fn every_instant_has_one_fate(overlap in overlap(), catch_up in catch_up(), steps in proptest::collection::vec((1..400_000_i64, 0..4_u8), 1..40)) {
        let job = job(overlap, catch_up).catch_up_window(Duration::from_secs(600));
        let mut record = record(&job, BEGIN);
        let mut now = BEGIN;
        let mut fates: Vec<i64> = Vec::new();
        let mut counted = 0_u64;
        for (step, what) in steps {
            now += step;
            let states: Vec<State> = record.open.iter().enumerate().map(|(at, open)| match (&open.note, what) {
                (Some(_), _) => State::Done(super::decide::note_outcome(open)),
                (None, 0) => State::Running,
                (None, 1) if at % 2 == 0 => State::Unknown,
                (None, _) => State::Done(Outcome { status: RunStatus::Success, start_ms: open.started_ms, end_ms: now }),
            }).collect();
            let decision = decided(&record, &job, now, &states);
            fates.extend(decision.start.iter().map(|open| open.planned_ms.unwrap()));
            for note in decision.notes.iter().map(|open| open.note.as_ref().unwrap()) {
                counted += note.count;
                prop_assert!(note.first_ms <= note.last_ms);
                let reason = note.reason.as_str();
                let young = now - note.last_ms < MINUTE && !reason.starts_with("superseded");
                prop_assert!(!young, "{note:?} at {now}");
            }
            prop_assert!(decision.record.last_planned_ms >= record.last_planned_ms);
            if overlap != Overlap::AllowAll {
                prop_assert!(decision.record.open.iter().filter(|open| open.note.is_none()).count() <= 1);
            }
            record = decision.record;
        }
        let cron = Cron::parse(&job.schedule, "UTC", Dst::Vixie).unwrap();
        let decided = cron.count_between(BEGIN, record.last_planned_ms);
        let unique: BTreeSet<i64> = fates.iter().copied().collect();
        prop_assert_eq!(unique.len(), fates.len(), "an instant started twice");
        prop_assert_eq!(decided, fates.len() as u64 + counted + record.buffer.len() as u64);
    }
}
