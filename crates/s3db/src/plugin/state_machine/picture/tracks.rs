//! At which height lines run sideways between two ranks.
//!
//! A line that has to move to the side does so on a track. Lines that would lie on each other
//! get tracks of their own, ordered so that few of them cross.

use super::bends::Grid;
use super::ports::Ports;
use super::table::Table;

/// Lines in one gap up to which tracks are chosen with care. More are dealt out in turn.
const CAREFUL: usize = 200;

/// Tracks in a gap with more lines than that.
const DEALT: usize = 24;

/// Lines nearer than this, in pixels, count as lying on each other.
const NEAR: f64 = 7.0;

/// A sideways move less than this, in pixels, is none.
pub(super) const STRAIGHT: f64 = 0.5;

/// The tracks of all lines.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    /// For each link, its track after each of its cells, top down. Straight pieces have none.
    pub(super) of: Table<Vec<Option<usize>>>,
    /// The number of tracks below each rank.
    pub(super) count: Table<usize>,
}

/// A sideways move in a gap.
#[derive(Debug, Clone, Copy, Default)]
struct Move {
    link: usize,
    step: usize,
    from: f64,
    to: f64,
}

impl Move {
    /// Whether an upright line at `x` meets this move.
    fn spans(&self, x: f64) -> bool {
        x > self.from.min(self.to) && x < self.from.max(self.to)
    }

    /// Whether the two cannot share a track.
    fn overlaps(&self, other: &Self) -> bool {
        self.from.min(self.to) < other.from.max(other.to) + NEAR
            && other.from.min(other.to) < self.from.max(self.to) + NEAR
    }

    /// Crossings of the two when this one runs above the other.
    fn crossings_above(&self, other: &Self) -> usize {
        usize::from(other.spans(self.to)) + usize::from(self.spans(other.from))
    }
}

/// Gives every sideways move a track.
pub(super) fn assign(grid: &Grid, xs: &Table<f64>, ports: &Ports) -> Tracks {
    let mut gaps: Table<Vec<Move>> = Table::new(grid.ranks.len(), Vec::new());
    let mut tracks = Tracks { of: Table::new(grid.chains.len(), Vec::new()), count: Table::new(grid.ranks.len(), 0) };
    for (link, chain) in grid.chains.iter().enumerate() {
        let last = chain.len().saturating_sub(1);
        tracks.of.set(link, vec![None; last]);
        if last < 2 {
            continue;
        }
        for (step, (&above, &below)) in chain.iter().zip(chain.iter().skip(1)).enumerate() {
            let from = if step == 0 { ports.upper.at(link) } else { xs.at(above) };
            let to = if step + 1 == last { ports.lower.at(link) } else { xs.at(below) };
            if (from - to).abs() >= STRAIGHT {
                gaps.add(grid.rank.at(above), Move { link, step, from, to });
            }
        }
    }
    for (rank, moves) in gaps.iter().enumerate() {
        let found = if moves.len() <= CAREFUL { with_care(moves) } else { in_turn(moves.len()) };
        tracks.count.set(rank, found.iter().map(|track| track + 1).max().unwrap_or(0));
        for (item, track) in moves.iter().zip(found) {
            if let Some(slot) = tracks.of.list_mut(item.link).and_then(|steps| steps.get_mut(item.step)) {
                *slot = Some(track);
            }
        }
    }
    tracks
}

/// Tracks dealt out one after the other.
fn in_turn(count: usize) -> Vec<usize> {
    (0..count).map(|index| index % DEALT).collect()
}

/// Tracks from the top down: next comes the move that the fewest others want to be above.
fn with_care(moves: &[Move]) -> Vec<usize> {
    let wants_above = |a: &Move, b: &Move| a.overlaps(b) && a.crossings_above(b) < b.crossings_above(a);
    let mut track: Table<usize> = Table::new(moves.len(), 0);
    let mut held_by: Table<usize> =
        moves.iter().map(|own| moves.iter().filter(|other| wants_above(other, own)).count()).collect::<Vec<_>>().into();
    let mut waiting: Vec<(usize, &Move)> = moves.iter().enumerate().collect();
    let mut placed: Vec<(usize, &Move)> = Vec::with_capacity(moves.len());
    while let Some(next) = waiting.iter().enumerate().min_by_key(|(_, (index, _))| held_by.at(*index)).map(|(at, _)| at)
    {
        let (index, own) = waiting.remove(next);
        let above = placed.iter().filter(|(_, other)| own.overlaps(other)).map(|(other, _)| track.at(*other) + 1);
        track.set(index, above.max().unwrap_or(0));
        placed.push((index, own));
        for (other, waiter) in &waiting {
            if wants_above(own, waiter) {
                held_by.set(*other, held_by.at(*other).saturating_sub(1));
            }
        }
    }
    track.into_rows()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracks(moves: &[(f64, f64)]) -> Vec<usize> {
        let moves: Vec<Move> = moves.iter().map(|&(from, to)| Move { from, to, ..Move::default() }).collect();
        with_care(&moves)
    }

    #[test]
    fn moves_apart_share_a_track() {
        assert_eq!(tracks(&[(0.0, 50.0), (60.0, 90.0)]), [0, 0]);
    }

    #[test]
    fn of_two_to_the_right_the_outer_one_runs_above() {
        assert_eq!(tracks(&[(0.0, 100.0), (20.0, 200.0)]), [1, 0]);
    }

    #[test]
    fn of_two_to_the_left_the_outer_one_runs_above() {
        assert_eq!(tracks(&[(100.0, 0.0), (120.0, 40.0)]), [0, 1]);
    }

    #[test]
    fn moves_on_each_other_never_share_a_track() {
        let moves: Vec<(f64, f64)> = (0..40).map(|i| (f64::from(i * 37 % 101), f64::from(i * 53 % 97))).collect();
        let found = tracks(&moves);
        for (i, a) in moves.iter().enumerate() {
            for (j, b) in moves.iter().enumerate().skip(i + 1) {
                let as_move = |m: &(f64, f64)| Move { from: m.0, to: m.1, ..Move::default() };
                assert!(found[i] != found[j] || !as_move(a).overlaps(&as_move(b)));
            }
        }
    }
}
