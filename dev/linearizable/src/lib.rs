//! Whether calls can be put in an order that explains every answer and keeps every call between its
//! beginning and its end (Wing and Gong's search, with the memory of Lowe's).

use std::collections::HashSet;
use std::hash::Hash;
use std::time::Duration;

/// Steps after which a search is given up.
const MOST_STEPS: usize = 5_000_000;
/// Calls that a search can hold.
pub const MOST_CALLS: usize = 128;

/// A call and its answer.
pub trait Call {
    /// What calls read and change.
    type State: Clone + Eq + Hash;

    /// When it was made.
    fn from(&self) -> Duration;

    /// When it was answered; `None` for one of unknown outcome, which may take effect at any time or never.
    fn to(&self) -> Option<Duration>;

    /// The state after the call, if the answer fits the state before it.
    fn step(&self, before: &Self::State) -> Option<Self::State>;
}

/// The outcome of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is such an order; found after so many steps.
    Explained(usize),
    /// There is none.
    Impossible,
    /// The search was given up.
    TooLong,
}

/// Looks for an order that leads from one state to another.
pub fn check<C: Call>(calls: &[C], begin: &C::State, end: &C::State) -> Verdict {
    if calls.len() > MOST_CALLS {
        return Verdict::TooLong;
    }
    let mut search = Search { calls, end, seen: HashSet::new(), steps: 0 };
    match search.go(0, begin) {
        Some(true) => Verdict::Explained(search.steps),
        Some(false) => Verdict::Impossible,
        None => Verdict::TooLong,
    }
}

struct Search<'a, C: Call> {
    calls: &'a [C],
    end: &'a C::State,
    seen: HashSet<(u128, C::State)>,
    steps: usize,
}

impl<C: Call> Search<'_, C> {
    /// `None` if the search is given up.
    fn go(&mut self, placed: u128, state: &C::State) -> Option<bool> {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return None;
        }
        if !self.seen.insert((placed, state.clone())) {
            return Some(false);
        }
        let left = || self.calls.iter().enumerate().filter(|(at, _)| placed & (1 << at) == 0);
        if left().all(|(_, call)| call.to().is_none()) && state == self.end {
            return Some(true);
        }
        // A call can come next unless another one ended before it began.
        let first_end = left().filter_map(|(_, call)| call.to()).min();
        let next: Vec<(usize, C::State)> = left()
            .filter(|(_, call)| first_end.is_none_or(|end| call.from() <= end))
            .filter_map(|(at, call)| Some((at, call.step(state)?)))
            .collect();
        for (at, after) in next {
            if self.go(placed | (1 << at), &after)? {
                return Some(true);
            }
        }
        Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A counter that is raised if it is at a number.
    struct Raise(u64, Option<u64>, u64, bool);

    impl Call for Raise {
        type State = u64;

        fn from(&self) -> Duration {
            Duration::from_secs(self.0)
        }

        fn to(&self) -> Option<Duration> {
            self.1.map(Duration::from_secs)
        }

        fn step(&self, before: &u64) -> Option<u64> {
            match (*before == self.2, self.3 || self.1.is_none()) {
                (true, true) => Some(before + 1),
                (false, false) => Some(*before),
                _ => None,
            }
        }
    }

    #[test]
    fn answers_that_an_order_explains_are_told_from_those_that_none_does() {
        let explained = |calls: &[Raise], end: u64| matches!(check(calls, &0, &end), Verdict::Explained(_));
        assert!(explained(&[Raise(0, Some(5), 1, true), Raise(1, Some(6), 0, true)], 2), "the later one went first");
        assert!(!explained(&[Raise(0, Some(5), 0, true), Raise(1, Some(6), 0, true)], 2), "two winners");
        assert!(!explained(&[Raise(0, Some(1), 1, true), Raise(2, Some(3), 0, true)], 2), "the first had ended");
        assert!(!explained(&[Raise(0, Some(1), 0, true)], 0), "an acknowledged one is gone");
        assert!(explained(&[Raise(0, None, 0, true)], 0) && explained(&[Raise(0, None, 0, true)], 1));
        assert!(!explained(&[Raise(0, Some(1), 0, false)], 0), "a refusal that was none");
    }
}
