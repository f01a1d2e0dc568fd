//! Whether calls can be put in an order that explains every answer and keeps every call between its
//! beginning and its end (Wing and Gong's search, with the memory of Lowe's).

use std::collections::HashSet;

use crate::history::{Answer, Call, Value};

/// Steps after which a search is given up.
const MOST_STEPS: usize = 5_000_000;
/// Calls that a search can hold.
pub(crate) const MOST_CALLS: usize = 128;

/// The outcome of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is such an order; found after so many steps.
    Explained(usize),
    /// There is none.
    Impossible,
    /// The search was given up.
    TooLong,
}

/// Looks for an order that ends with a record as it is.
pub(crate) fn check(calls: &[Call], end: Option<Value>) -> Verdict {
    if calls.len() > MOST_CALLS {
        return Verdict::TooLong;
    }
    let mut search = Search { calls, end, seen: HashSet::new(), steps: 0 };
    match search.go(0, None) {
        Some(true) => Verdict::Explained(search.steps),
        Some(false) => Verdict::Impossible,
        None => Verdict::TooLong,
    }
}

struct Search<'a> {
    calls: &'a [Call],
    end: Option<Value>,
    seen: HashSet<(u128, Option<Value>)>,
    steps: usize,
}

impl Search<'_> {
    /// `None` if the search is given up.
    fn go(&mut self, placed: u128, record: Option<Value>) -> Option<bool> {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return None;
        }
        if !self.seen.insert((placed, record)) {
            return Some(false);
        }
        let left = || self.calls.iter().enumerate().filter(|(at, _)| placed & (1 << at) == 0);
        let all_answered_placed = left().all(|(_, call)| call.answer == Answer::Unknown);
        if all_answered_placed && record == self.end {
            return Some(true);
        }
        // A call can come next unless another one ended before it began.
        let first_end = left().filter(|(_, c)| c.answer != Answer::Unknown).filter_map(|(_, c)| c.to).min();
        let next: Vec<(usize, Call)> = left()
            .filter(|(_, call)| first_end.is_none_or(|end| call.from <= end))
            .map(|(at, call)| (at, *call))
            .collect();
        for (at, call) in next {
            let Some(after) = call.op.step(call.answer, record) else { continue };
            if self.go(placed | (1 << at), after)? {
                return Some(true);
            }
        }
        Some(false)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::history::Op;

    const A: Value = Value { w: 1, s: 0, n: 0 };
    const B: Value = Value { w: 2, s: 1, n: 0 };

    fn call(from: u64, to: u64, op: Op, answer: Answer) -> Call {
        let to = (answer != Answer::Unknown).then(|| Duration::from_millis(to));
        Call { node: 0, from: Duration::from_millis(from), to, op, answer }
    }

    fn explained(calls: &[Call], end: Option<Value>) -> bool {
        matches!(check(calls, end), Verdict::Explained(_))
    }

    #[test]
    fn good_histories_are_explained() {
        let insert = call(0, 10, Op::Insert(A), Answer::Done(Some(A)));
        let set = call(5, 20, Op::SetStatus { w: 2, s: 1 }, Answer::Done(Some(B)));
        assert!(explained(&[insert, set], Some(B)));
        assert!(explained(&[insert, call(0, 9, Op::Read, Answer::Missing)], Some(A)));
        let lost = call(12, 0, Op::SetStatus { w: 2, s: 1 }, Answer::Unknown);
        assert!(explained(&[insert, lost], Some(B)) && explained(&[insert, lost], Some(A)));
        let late = call(100, 110, Op::Read, Answer::Done(Some(B)));
        assert!(explained(&[insert, lost, late], Some(B)));
        let stale = call(30, 40, Op::SetIf { read: 1, w: 3, s: 0 }, Answer::Changed);
        assert!(explained(&[insert, set, stale], Some(B)));
    }

    #[test]
    fn bad_histories_are_not() {
        let insert = call(0, 10, Op::Insert(A), Answer::Done(Some(A)));
        let again = call(20, 30, Op::Insert(B), Answer::Done(Some(B)));
        assert!(!explained(&[insert, again], Some(B)), "two inserts of one id");
        assert!(!explained(&[insert], None), "an acknowledged write is gone");
        let set = call(12, 20, Op::SetStatus { w: 2, s: 1 }, Answer::Done(Some(B)));
        let stale = call(21, 30, Op::Read, Answer::Done(Some(A)));
        assert!(!explained(&[insert, set, stale], Some(B)), "a read of what was overwritten before");
        let phantom = call(11, 12, Op::Read, Answer::Done(Some(B)));
        assert!(!explained(&[insert, phantom], Some(A)), "a read of what nobody wrote");
        let overwritten =
            call(30, 40, Op::SetIf { read: 1, w: 3, s: 0 }, Answer::Done(Some(Value { w: 3, s: 0, n: 0 })));
        assert!(!explained(&[insert, set, overwritten], Some(Value { w: 3, s: 0, n: 0 })), "a lost update");
    }
}
