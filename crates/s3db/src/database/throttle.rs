//! How many requests are under way at once: fewer while the store refuses, more again when it does
//! not. Additive increase, multiplicative decrease, as in TCP.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Refusals within this time are one.
const ONE_REFUSAL: Duration = Duration::from_millis(100);

/// The bound on requests under way.
#[derive(Debug)]
pub(crate) struct Throttle {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bound: usize,
    answered: usize,
    refused_at: Option<Duration>,
}

impl Throttle {
    pub(crate) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { most, state: Mutex::new(State { bound: most, answered: 0, refused_at: None }) }
    }

    /// Requests that may be under way now.
    pub(crate) fn bound(&self) -> usize {
        self.lock().bound
    }

    /// The store refused for now.
    pub(crate) fn refused(&self, now: Duration) {
        let mut state = self.lock();
        if state.refused_at.is_none_or(|at| now.saturating_sub(at) >= ONE_REFUSAL) {
            state.bound = (state.bound / 2).max(1);
            state.refused_at = Some(now);
        }
        state.answered = 0;
    }

    /// The store answered.
    pub(crate) fn answered(&self) {
        let mut state = self.lock();
        if state.bound == self.most {
            return;
        }
        state.answered += 1;
        if state.answered >= state.bound {
            state.bound += 1;
            state.answered = 0;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_halve_and_answers_add_one() {
        let throttle = Throttle::new(64);
        throttle.refused(Duration::from_secs(1));
        throttle.refused(Duration::from_millis(1_050));
        assert_eq!(throttle.bound(), 32);
        throttle.refused(Duration::from_secs(2));
        assert_eq!(throttle.bound(), 16);
        (0..16).for_each(|_| throttle.answered());
        assert_eq!(throttle.bound(), 17);
        (0..10_000).for_each(|_| throttle.answered());
        assert_eq!(throttle.bound(), 64);
        (3..20).for_each(|s| throttle.refused(Duration::from_secs(s)));
        assert_eq!(throttle.bound(), 1);
    }
}
