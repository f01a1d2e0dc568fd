//! The third step of the layout: the order of the cells within each rank.
//!
//! The order starts from a walk along the links and is improved by barycentre sweeps: each cell
//! moves to the mean place of its neighbours in the rank above, then below, and so on. The best
//! order seen is kept. Small graphs are also improved by swapping neighbours.

use super::bends::Grid;
use super::table::Table;

/// Up to this number of cells the careful search is quick.
const SMALL: usize = 600;

/// Sweeps for a small graph and for a large one.
const SWEEPS: (usize, usize) = (24, 6);

/// Sweeps without a gain after which the search ends.
const PATIENCE: usize = 6;

/// Orders the cells of every rank so that few lines cross.
pub(super) fn arrange(grid: &mut Grid) {
    let mut order = first_order(grid);
    let mut place = Table::new(grid.cells(), 0);
    note_places(&order, &mut place);
    let small = grid.cells() <= SMALL;
    let sweeps = if small { SWEEPS.0 } else { SWEEPS.1 };
    let mut best = order.clone();
    let mut fewest = crossings(grid, &order, &place);
    let mut idle = 0;
    for turn in 0..sweeps {
        if fewest == 0 || idle >= PATIENCE {
            break;
        }
        sweep(grid, &mut order, &mut place, turn);
        if small {
            swap_neighbours(grid, &mut order, &mut place);
        }
        let now = crossings(grid, &order, &place);
        idle += 1;
        if now < fewest {
            (fewest, idle) = (now, 0);
            best.clone_from(&order);
        }
    }
    grid.ranks = best;
}

/// The order of a walk down from each cell in turn.
fn first_order(grid: &Grid) -> Vec<Vec<usize>> {
    let mut order = vec![Vec::new(); grid.ranks.len()];
    let mut seen = Table::new(grid.cells(), false);
    let mut stack = Vec::new();
    for &seed in grid.ranks.iter().flatten() {
        stack.push(seed);
        while let Some(cell) = stack.pop() {
            if seen.at(cell) {
                continue;
            }
            seen.set(cell, true);
            if let Some(rank) = order.get_mut(grid.rank.at(cell)) {
                rank.push(cell);
            }
            stack.extend(grid.down.list(cell).iter().rev().filter(|&&next| !seen.at(next)));
        }
    }
    order
}

/// Writes down where each cell stands in its rank.
fn note_places(order: &[Vec<usize>], place: &mut Table<usize>) {
    for rank in order {
        note_rank(rank, place);
    }
}

/// Writes down where each cell of one rank stands.
fn note_rank(rank: &[usize], place: &mut Table<usize>) {
    for (index, &cell) in rank.iter().enumerate() {
        place.set(cell, index);
    }
}

/// One sweep, down on even turns and up on odd ones.
///
/// Two turns out of four break ties from the right, which finds other orders.
fn sweep(grid: &Grid, order: &mut [Vec<usize>], place: &mut Table<usize>, turn: usize) {
    let downwards = turn.is_multiple_of(2);
    let from_right = turn % 4 >= 2;
    let visit = |rank: &mut Vec<usize>, place: &mut Table<usize>| {
        let neighbours = if downwards { &grid.up } else { &grid.down };
        let mut keyed: Vec<(f64, usize)> =
            rank.iter().map(|&cell| (barycentre(neighbours.list(cell), cell, place), cell)).collect();
        if from_right {
            keyed.reverse();
        }
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        *rank = keyed.into_iter().map(|(_, cell)| cell).collect();
        note_rank(rank, place);
    };
    if downwards {
        order.iter_mut().for_each(|rank| visit(rank, place));
    } else {
        order.iter_mut().rev().for_each(|rank| visit(rank, place));
    }
}

/// The mean place of the neighbours; a cell without any stays where it is.
fn barycentre(neighbours: &[usize], cell: usize, place: &Table<usize>) -> f64 {
    if neighbours.is_empty() {
        return as_f64(place.at(cell));
    }
    let sum: usize = neighbours.iter().map(|&other| place.at(other)).sum();
    as_f64(sum) / as_f64(neighbours.len())
}

/// A count as a float. Counts here are far below 2^52.
fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

/// The number of crossings in the whole grid.
fn crossings(grid: &Grid, order: &[Vec<usize>], place: &Table<usize>) -> usize {
    let mut ends = Vec::new();
    let mut total = 0;
    for (rank, below) in order.iter().zip(order.iter().skip(1)) {
        ends.clear();
        for &cell in rank {
            let start = ends.len();
            ends.extend(grid.down.list(cell).iter().map(|&next| place.at(next)));
            if let Some(own) = ends.get_mut(start..) {
                own.sort_unstable();
            }
        }
        total += inversions(&ends, below.len());
    }
    total
}

/// The number of pairs out of order, counted with a Fenwick tree over `width` values.
fn inversions(values: &[usize], width: usize) -> usize {
    let mut tree: Table<usize> = Table::new(width + 1, 0);
    let mut total = 0;
    for (seen, &value) in values.iter().enumerate() {
        let mut not_greater = 0;
        let mut i = value + 1;
        while i > 0 {
            not_greater += tree.at(i);
            i -= i & i.wrapping_neg();
        }
        total += seen - not_greater;
        let mut i = value + 1;
        while i <= width {
            tree.set(i, tree.at(i) + 1);
            i += i & i.wrapping_neg();
        }
    }
    total
}

/// Swaps neighbours in a rank as long as that removes crossings, a few rounds at most.
fn swap_neighbours(grid: &Grid, order: &mut [Vec<usize>], place: &mut Table<usize>) {
    for _ in 0..4 {
        let mut gained = false;
        for rank in order.iter_mut() {
            for index in 1..rank.len() {
                let (Some(&left), Some(&right)) = (rank.get(index - 1), rank.get(index)) else { continue };
                let now = pair(&grid.up, left, right, place) + pair(&grid.down, left, right, place);
                let then = pair(&grid.up, right, left, place) + pair(&grid.down, right, left, place);
                if then < now {
                    rank.swap(index - 1, index);
                    place.set(left, index);
                    place.set(right, index - 1);
                    gained = true;
                }
            }
        }
        if !gained {
            break;
        }
    }
}

/// Crossings between the lines of two neighbours on one side.
fn pair(sides: &Table<Vec<usize>>, left: usize, right: usize, place: &Table<usize>) -> usize {
    let crosses = |&a: &usize| sides.list(right).iter().filter(|&&b| place.at(b) < place.at(a)).count();
    sides.list(left).iter().map(crosses).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inversions_are_counted() {
        assert_eq!(inversions(&[], 3), 0);
        assert_eq!(inversions(&[0, 1, 2], 3), 0);
        assert_eq!(inversions(&[2, 1, 0], 3), 3);
        assert_eq!(inversions(&[1, 1, 0, 2], 3), 2);
    }
}
