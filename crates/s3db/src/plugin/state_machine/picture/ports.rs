//! Where on the border of a state each line ends.
//!
//! Lines on one side of a state keep the order of the cells they lead to and stand apart, so
//! that arrow heads do not pile up in the middle. Each gets as near as it can to running straight.

use super::bends::Grid;
use super::layout::Shape;
use super::table::Table;

/// Room kept free at the rounded corners, in pixels.
const CORNER: f64 = 11.0;

/// The distance between two lines where there is room.
const APART: f64 = 16.0;

/// The least distance to which lines may be pushed together for the main course.
const CLOSE: f64 = 9.0;

/// The weight of the main course against other lines.
const SPINE_PULL: f64 = 1000.0;

/// The ends of every link.
#[derive(Debug, Default)]
pub(super) struct Ports {
    /// Where a link leaves the lower border of its upper state.
    pub(super) upper: Table<f64>,
    /// Where a link meets the upper border of its lower state.
    pub(super) lower: Table<f64>,
}

/// Finds the ends for all links.
pub(super) fn assign(grid: &Grid, shapes: &[Shape], xs: &Table<f64>) -> Ports {
    let links = grid.chains.len();
    let mut pull = Table::new(links, 1.0);
    grid.spine.iter().for_each(|&link| pull.set(link, SPINE_PULL));
    let mut below: Table<Vec<(f64, usize)>> = Table::new(shapes.len(), Vec::new());
    let mut above: Table<Vec<(f64, usize)>> = Table::new(shapes.len(), Vec::new());
    for (index, chain) in grid.chains.iter().enumerate() {
        if let [first, second, ..] = chain.as_slice() {
            below.add(*first, (xs.at(*second), index));
        }
        if let [.., second, last] = chain.as_slice() {
            above.add(*last, (xs.at(*second), index));
        }
    }
    let mut ports = Ports { upper: Table::new(links, 0.0), lower: Table::new(links, 0.0) };
    for (state, shape) in shapes.iter().enumerate() {
        let half = (shape.width / 2.0 - CORNER).max(0.0);
        let range = (xs.at(state) - half, xs.at(state) + half);
        for (wishes, side) in [(&mut below, &mut ports.upper), (&mut above, &mut ports.lower)] {
            let Some(wishes) = wishes.list_mut(state) else { continue };
            wishes.sort_by(|a, b| a.0.total_cmp(&b.0));
            let wanted: Vec<(f64, f64)> = wishes.iter().map(|&(x, link)| (x, pull.at(link))).collect();
            for (x, (_, link)) in spread(&wanted, range).into_iter().zip(wishes.iter()) {
                side.set(*link, x);
            }
        }
    }
    ports
}

/// Places within a range, in order and apart, with the least squared distance from the wishes.
/// A wish is a place and its weight.
///
/// With the distances taken off, this is isotonic regression, solved by pooling neighbours.
fn spread(wanted: &[(f64, f64)], (low, high): (f64, f64)) -> Vec<f64> {
    let gaps = as_f64(wanted.len().saturating_sub(1));
    let mut apart = if wanted.len() > 1 { APART.min((high - low) / gaps) } else { 0.0 };
    // Lines stand closer where that leaves the main course its place.
    for (index, &(wish, _)) in wanted.iter().enumerate().filter(|(_, wish)| wish.1 > 1.0) {
        let (before, after) = (as_f64(index), gaps - as_f64(index));
        let room = ((wish - low) / before.max(1.0)).min((high - wish) / after.max(1.0));
        if room >= CLOSE {
            apart = apart.min(room);
        }
    }
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    let mut taken_off = 0.0;
    for &(wish, own_weight) in wanted {
        let (mut mean, mut weight, mut size) = (wish.clamp(low, high) - taken_off, own_weight, 1);
        while let Some(&(left, left_weight, left_size)) = pools.last() {
            if left <= mean {
                break;
            }
            mean = (mean * weight + left * left_weight) / (weight + left_weight);
            weight += left_weight;
            size += left_size;
            pools.pop();
        }
        pools.push((mean, weight, size));
        taken_off += apart;
    }
    let last = (high - apart * gaps).max(low);
    let mut placed = Vec::with_capacity(wanted.len());
    let mut put_back = 0.0;
    for (mean, _, size) in pools {
        for _ in 0..size {
            placed.push(mean.clamp(low, last) + put_back);
            put_back += apart;
        }
    }
    placed
}

/// A small count as a float.
fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_line_runs_straight_where_it_can() {
        assert_eq!(spread(&[(7.0, 1.0)], (0.0, 100.0)), [7.0]);
        assert_eq!(spread(&[(-50.0, 1.0)], (0.0, 100.0)), [0.0]);
        assert!(spread(&[], (0.0, 100.0)).is_empty());
    }

    #[test]
    fn lines_stand_apart_and_stay_inside() {
        assert_eq!(spread(&[(50.0, 1.0), (50.0, 1.0)], (0.0, 100.0)), [42.0, 58.0]);
        assert_eq!(spread(&[(99.0, 1.0), (100.0, 1.0)], (0.0, 100.0)), [84.0, 100.0]);
        let crowded = spread(&[(0.0, 1.0); 50], (0.0, 100.0));
        assert_eq!(crowded.len(), 50);
        assert!(crowded.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(crowded.iter().all(|x| (-1e-9..=100.0 + 1e-9).contains(x)));
    }

    #[test]
    fn the_main_course_keeps_its_place() {
        let placed = spread(&[(48.0, 1.0), (50.0, SPINE_PULL), (53.0, 1.0)], (0.0, 100.0));
        assert!((placed[1] - 50.0).abs() < 0.1, "{placed:?}");
        assert!((placed[1] - placed[0] - APART).abs() < 1e-9);
    }

    #[test]
    fn a_border_without_room_puts_all_in_the_middle() {
        assert_eq!(spread(&[(3.0, 1.0), (9.0, 1.0)], (5.0, 5.0)), [5.0, 5.0]);
    }
}
