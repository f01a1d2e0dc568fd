//! The fourth step of the layout: how far to the right each cell is.
//!
//! The method is that of Brandes and Köpf, "Fast and simple horizontal coordinate assignment"
//! (2001): cells are lined up with their median neighbours in four ways (from above or below,
//! from the left or the right), each way is packed, and each cell takes the mean of its two
//! middle places. The main course and long links come out straight. Packing goes through a graph
//! of blocks, which allows cells of any width.

use std::collections::{HashSet, VecDeque};

use super::bends::{Grid, Kind};
use super::spine;
use super::table::Table;

/// One of the four ways to line cells up.
#[derive(Debug, Clone, Copy)]
struct Way {
    upwards: bool,
    from_right: bool,
}

/// The centre of every cell. The leftmost cell touches zero.
pub(super) fn assign(grid: &Grid) -> Table<f64> {
    let blocked = conflicts(grid);
    let mut places = Vec::with_capacity(4);
    for upwards in [false, true] {
        for from_right in [false, true] {
            let way = Way { upwards, from_right };
            let ranks = turn(grid, way);
            let roots = line_up(grid, &ranks, way, &blocked);
            places.push((way, pack(grid, &ranks, way, &roots)));
        }
    }
    let extents: Vec<(f64, f64)> = places.iter().map(|(_, xs)| extent(grid, xs)).collect();
    let narrowest = extents.iter().copied().min_by(|a, b| (a.1 - a.0).total_cmp(&(b.1 - b.0))).unwrap_or((0.0, 0.0));
    let shifts: Vec<f64> = places
        .iter()
        .zip(&extents)
        .map(|((way, _), own)| if way.from_right { narrowest.1 - own.1 } else { narrowest.0 - own.0 })
        .collect();
    let mut xs = Table::new(grid.cells(), 0.0);
    for cell in 0..grid.cells() {
        let mut four: Vec<f64> = places.iter().zip(&shifts).map(|((_, xs), shift)| xs.at(cell) + shift).collect();
        four.sort_by(f64::total_cmp);
        xs.set(cell, four.iter().skip(1).take(2).sum::<f64>() / 2.0);
    }
    let (least, _) = extent(grid, &xs);
    for cell in 0..grid.cells() {
        xs.set(cell, xs.at(cell) - least);
    }
    xs
}

/// The leftmost and the rightmost edge of all cells.
fn extent(grid: &Grid, xs: &Table<f64>) -> (f64, f64) {
    let mut range = (f64::INFINITY, f64::NEG_INFINITY);
    for (cell, x) in xs.iter().enumerate() {
        range = (range.0.min(x - grid.left.at(cell)), range.1.max(x + grid.right.at(cell)));
    }
    if range.0.is_finite() { range } else { (0.0, 0.0) }
}

/// The ranks as seen on one way.
fn turn(grid: &Grid, way: Way) -> Vec<Vec<usize>> {
    let mut ranks = grid.ranks.clone();
    if way.upwards {
        ranks.reverse();
    }
    if way.from_right {
        ranks.iter_mut().for_each(|rank| rank.reverse());
    }
    ranks
}

/// Where each cell stands in its rank.
fn stands(ranks: &[Vec<usize>], cells: usize) -> Table<usize> {
    let mut stand = Table::new(cells, 0);
    for rank in ranks {
        for (index, &cell) in rank.iter().enumerate() {
            stand.set(cell, index);
        }
    }
    stand
}

/// Links that cross the straight part of a long link, as pairs of an upper and a lower cell.
/// They give way: the long link stays straight.
fn conflicts(grid: &Grid) -> HashSet<(usize, usize)> {
    let stand = stands(&grid.ranks, grid.cells());
    let straight_from = |cell: usize| {
        let above = grid.up.list(cell).first().copied()?;
        (grid.kind.at(cell) == Kind::Bend && grid.kind.at(above) == Kind::Bend).then_some(above)
    };
    let mut found = HashSet::new();
    for (upper, lower) in grid.ranks.iter().zip(grid.ranks.iter().skip(1)) {
        let (mut from, mut done) = (0, 0);
        for (index, &cell) in lower.iter().enumerate() {
            let straight = straight_from(cell);
            if straight.is_none() && index + 1 < lower.len() {
                continue;
            }
            let to = straight.map_or(upper.len(), |above| stand.at(above));
            for &crossing in lower.iter().take(index + 1).skip(done) {
                for &above in grid.up.list(crossing) {
                    let place = stand.at(above);
                    if (place < from || place > to) && straight_from(crossing).is_none() {
                        found.insert((above, crossing));
                    }
                }
            }
            (from, done) = (to, index + 1);
        }
    }
    spine::block_others(grid, &stand, &mut found);
    found
}

/// Lines cells up with their medians. Gives the root of the block that each cell is in.
fn line_up(grid: &Grid, ranks: &[Vec<usize>], way: Way, blocked: &HashSet<(usize, usize)>) -> Table<usize> {
    let stand = stands(ranks, grid.cells());
    let mut root: Table<usize> = (0..grid.cells()).collect::<Vec<_>>().into();
    // Whether a cell already has one below it, on this way, in its block.
    let mut followed = Table::new(grid.cells(), false);
    let mut led: Table<Option<usize>> = Table::new(grid.cells(), None);
    for (above, below) in spine::pairs(grid) {
        let (cell, leader) = if way.upwards { (above, below) } else { (below, above) };
        led.set(cell, Some(leader));
    }
    let mut around = Vec::new();
    for rank in ranks {
        let mut free_from = 0;
        for &cell in rank {
            around.clear();
            match led.at(cell) {
                Some(leader) => around.push(leader),
                None => around.extend_from_slice(if way.upwards { grid.down.list(cell) } else { grid.up.list(cell) }),
            }
            around.sort_by_key(|&other| stand.at(other));
            let Some(last) = around.len().checked_sub(1) else { continue };
            for &other in around.iter().take(last.div_ceil(2) + 1).skip(last / 2) {
                let link = if way.upwards { (cell, other) } else { (other, cell) };
                if stand.at(other) >= free_from && !followed.at(other) && !blocked.contains(&link) {
                    followed.set(other, true);
                    root.set(cell, root.at(other));
                    free_from = stand.at(other) + 1;
                    break;
                }
            }
        }
    }
    root
}

/// Packs the blocks as far left as they go, then pulls each right into the room that is left.
fn pack(grid: &Grid, ranks: &[Vec<usize>], way: Way, root: &Table<usize>) -> Table<f64> {
    let cells = grid.cells();
    let mut after: Table<Vec<(usize, f64)>> = Table::new(cells, Vec::new());
    let mut waits = Table::new(cells, 0_usize);
    for rank in ranks {
        for (&a, &b) in rank.iter().zip(rank.iter().skip(1)) {
            let apart =
                if way.from_right { grid.left.at(a) + grid.right.at(b) } else { grid.right.at(a) + grid.left.at(b) };
            after.add(root.at(a), (root.at(b), apart));
            waits.set(root.at(b), waits.at(root.at(b)) + 1);
        }
    }
    let mut ready: VecDeque<usize> = (0..cells).filter(|&cell| root.at(cell) == cell && waits.at(cell) == 0).collect();
    let mut sorted = Vec::with_capacity(cells);
    let mut xs = Table::new(cells, 0.0_f64);
    while let Some(block) = ready.pop_front() {
        sorted.push(block);
        for &(next, apart) in after.list(block) {
            xs.set(next, xs.at(next).max(xs.at(block) + apart));
            waits.set(next, waits.at(next).saturating_sub(1));
            if waits.at(next) == 0 {
                ready.push_back(next);
            }
        }
    }
    debug_assert_eq!(sorted.len(), (0..cells).filter(|&cell| root.at(cell) == cell).count(), "blocks form no cycle");
    for &block in sorted.iter().rev() {
        let room = after.list(block).iter().map(|&(next, apart)| xs.at(next) - apart).fold(f64::INFINITY, f64::min);
        if room.is_finite() {
            xs.set(block, xs.at(block).max(room));
        }
    }
    let sign = if way.from_right { -1.0 } else { 1.0 };
    (0..cells).map(|cell| sign * xs.at(root.at(cell))).collect::<Vec<_>>().into()
}
