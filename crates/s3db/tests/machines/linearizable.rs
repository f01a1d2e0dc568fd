//! Whether answers of concurrent senders can be put in an order that explains each of them and keeps each
//! between its call and its return (Wing and Gong's search, with the memory of Lowe's).

use std::collections::HashSet;
use std::time::Duration;

use s3db::ErrorKind;

/// What a sender was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The transition stands: state before, state after, version after.
    Done { from: String, to: String, version: u64 },
    /// It was refused in this state.
    Refused { kind: ErrorKind, state: String },
    /// It may or may not have taken effect, then or later.
    Unknown,
}

/// One send.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) event: String,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    pub(crate) answer: Answer,
}

/// What an event does in a state: the state after, or the kind of the refusal.
pub(crate) type Rules<'a> = dyn Fn(&str, &str) -> Result<String, ErrorKind> + 'a;

/// Looks for an order from the initial state that ends in a state and version.
pub(crate) fn explained(calls: &[Call], rules: &Rules<'_>, initial: &str, end: (&str, u64)) -> bool {
    assert!(calls.len() <= 128);
    let mut search = Search { calls, rules, end, seen: HashSet::new() };
    search.go(0, initial.to_owned(), 0)
}

struct Search<'a> {
    calls: &'a [Call],
    rules: &'a Rules<'a>,
    end: (&'a str, u64),
    seen: HashSet<(u128, String, u64)>,
}

impl Search<'_> {
    fn go(&mut self, placed: u128, state: String, version: u64) -> bool {
        if !self.seen.insert((placed, state.clone(), version)) {
            return false;
        }
        let left: Vec<usize> = (0..self.calls.len()).filter(|at| placed & (1 << at) == 0).collect();
        let answered = |at: &&usize| self.calls[**at].answer != Answer::Unknown;
        if left.iter().all(|at| self.calls[*at].answer == Answer::Unknown) && (state.as_str(), version) == self.end {
            return true;
        }
        let first_end = left.iter().filter(answered).map(|at| self.calls[*at].to).min();
        for at in left {
            let call = &self.calls[at];
            if first_end.is_some_and(|end| call.from > end) {
                continue;
            }
            let after = match (&call.answer, (self.rules)(&state, &call.event)) {
                (Answer::Done { from, to, version: told }, Ok(next)) => {
                    (*from == state && *to == next && *told == version + 1).then_some((next, version + 1))
                }
                (Answer::Refused { kind, state: told }, Err(refusal)) => {
                    (*kind == refusal && *told == state).then_some((state.clone(), version))
                }
                (Answer::Unknown, Ok(next)) => Some((next, version + 1)),
                _ => None,
            };
            if let Some((next, version)) = after
                && self.go(placed | (1 << at), next, version)
            {
                return true;
            }
        }
        false
    }
}

#[test]
fn good_answers_are_explained_and_bad_ones_are_not() {
    let rules = |state: &str, event: &str| match (state, event) {
        ("off", "T") => Ok("on".to_owned()),
        ("on", "T") => Ok("off".to_owned()),
        _ => Err(ErrorKind::InvalidEvent),
    };
    let call = |from: u64, to: u64, event: &str, answer: Answer| Call {
        event: event.into(),
        from: Duration::from_secs(from),
        to: Duration::from_secs(to),
        answer,
    };
    let done = |from: &str, to: &str, version| Answer::Done { from: from.into(), to: to.into(), version };
    let first = call(0, 5, "T", done("off", "on", 1));
    let second = call(1, 6, "T", done("on", "off", 2));
    let refused = call(2, 3, "X", Answer::Refused { kind: ErrorKind::InvalidEvent, state: "on".into() });
    assert!(explained(&[first.clone(), second.clone(), refused.clone()], &rules, "off", ("off", 2)));
    assert!(!explained(&[first.clone(), second.clone()], &rules, "off", ("on", 1)), "an acknowledged one is gone");
    let twice = call(1, 6, "T", done("off", "on", 1));
    assert!(!explained(&[first.clone(), twice], &rules, "off", ("on", 1)), "two winners of one version");
    let stale = call(10, 11, "X", Answer::Refused { kind: ErrorKind::InvalidEvent, state: "off".into() });
    assert!(!explained(&[first.clone(), stale], &rules, "off", ("on", 1)), "a refusal on what was long over");
    let lost = call(7, 8, "T", Answer::Unknown);
    assert!(explained(&[first.clone(), lost.clone()], &rules, "off", ("off", 2)));
    assert!(explained(&[first, lost], &rules, "off", ("on", 1)));
}
