//! What callers asked for and were told, record by record.

use std::time::Duration;

/// A record as callers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Value {
    /// The number of the write that touched it last; every write has its own.
    pub(crate) w: u64,
    /// A status that toggles.
    pub(crate) s: u64,
    /// A number that some writes set and others leave.
    pub(crate) n: u64,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// A record under an id of the caller's.
    Insert(Value),
    /// A patch of `w` and `s`.
    SetStatus {
        /// The write.
        w: u64,
        /// The status.
        s: u64,
    },
    /// A patch of `w` and `n`.
    SetNumber {
        /// The write.
        w: u64,
        /// The number.
        n: u64,
    },
    /// As `SetStatus`, only if the record is still at the write that was read.
    SetIf {
        /// The write that was read.
        read: u64,
        /// The write.
        w: u64,
        /// The status.
        s: u64,
    },
    /// All fields.
    Replace(Value),
    /// Insert, or a patch of `w` and `s`.
    Upsert {
        /// The write.
        w: u64,
        /// The status.
        s: u64,
    },
    /// The record goes.
    Delete,
    /// The record is read.
    Read,
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was done; the record as it was returned, where one was.
    Done(Option<Value>),
    /// There is no such record.
    Missing,
    /// There is one already.
    Taken,
    /// It is at another revision.
    Changed,
    /// It may or may not have been done.
    Unknown,
}

/// One call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// The node.
    pub(crate) node: u64,
    /// When it was made.
    pub(crate) from: Duration,
    /// When it was answered; `None` for what may still take effect.
    pub(crate) to: Option<Duration>,
    /// What was asked for.
    pub(crate) op: Op,
    /// What was answered.
    pub(crate) answer: Answer,
}

impl Op {
    /// The record after the operation, if the answer fits the record before it.
    pub(crate) fn step(self, answer: Answer, before: Option<Value>) -> Option<Option<Value>> {
        let after = match (self, before) {
            (Op::Read, _) => before,
            (Op::Insert(value), None) => Some(value),
            (Op::SetStatus { w, s }, Some(v)) | (Op::Upsert { w, s }, Some(v)) => Some(Value { w, s, ..v }),
            (Op::Upsert { w, s }, None) => Some(Value { w, s, n: 0 }),
            (Op::SetNumber { w, n }, Some(v)) => Some(Value { w, n, ..v }),
            (Op::SetIf { read, w, s }, Some(v)) if v.w == read => Some(Value { w, s, ..v }),
            (Op::Replace(value), Some(_)) => Some(value),
            (Op::Delete, Some(_)) => None,
            // Nothing is done: the answer has to say why.
            (Op::Insert(_), Some(_)) => return (answer == Answer::Taken).then_some(before),
            (Op::SetIf { .. }, Some(_)) => return (answer == Answer::Changed).then_some(before),
            // A delete that finds the record gone cannot always tell who did it, and says that it is done.
            (Op::Delete, None) if answer == Answer::Done(None) => return Some(None),
            // Gone is changed, too.
            (Op::SetIf { .. }, None) if answer == Answer::Changed => return Some(None),
            (_, None) => return (answer == Answer::Missing).then_some(before),
        };
        let fits = match answer {
            Answer::Done(None) => !matches!(self, Op::Read),
            Answer::Done(shown) => shown == after,
            Answer::Missing => self == Op::Read && before.is_none(),
            Answer::Unknown => true,
            Answer::Taken | Answer::Changed => false,
        };
        fits.then_some(after)
    }
}

impl linearizable::Call for Call {
    type State = Option<Value>;

    fn from(&self) -> Duration {
        self.from
    }

    fn to(&self) -> Option<Duration> {
        self.to.filter(|_| self.answer != Answer::Unknown)
    }

    fn step(&self, before: &Option<Value>) -> Option<Option<Value>> {
        self.op.step(self.answer, *before)
    }
}

#[cfg(test)]
mod tests {
    use linearizable::{Verdict, check};

    use super::*;

    const A: Value = Value { w: 1, s: 0, n: 0 };
    const B: Value = Value { w: 2, s: 1, n: 0 };

    fn call(from: u64, to: u64, op: Op, answer: Answer) -> Call {
        let to = (answer != Answer::Unknown).then(|| Duration::from_millis(to));
        Call { node: 0, from: Duration::from_millis(from), to, op, answer }
    }

    fn explained(calls: &[Call], end: Option<Value>) -> bool {
        matches!(check(calls, &None, &end), Verdict::Explained(_))
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
