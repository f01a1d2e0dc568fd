//! The main course of a machine, which is drawn as one straight line down.
//!
//! It is the path from the start through the most states. Other links lean on it: where one
//! shares an end with it or crosses it, the main course stays straight.

use std::collections::HashSet;

use super::bends::Grid;
use super::layers::Layers;
use super::layout::Link;
use super::table::Table;

/// The links of the main course, from the first of `first` downwards.
pub(super) fn find(count: usize, links: &[Link], layers: &Layers, first: &[usize]) -> Vec<usize> {
    let mut down: Table<Vec<usize>> = Table::new(count, Vec::new());
    for (index, link) in links.iter().enumerate() {
        if !layers.turned.at(index) {
            down.add(link.from, index);
        }
    }
    let target = |link: usize| links.get(link).map_or(0, |link| link.to);
    let mut from_below: Vec<usize> = (0..count).collect();
    from_below.sort_by_key(|&node| std::cmp::Reverse(layers.of.at(node)));
    let mut states = Table::new(count, 0_usize);
    let mut best: Table<Option<usize>> = Table::new(count, None);
    for node in from_below {
        // Of equals, the nearer target and then the earlier transition wins.
        let key = |link: usize| (states.at(target(link)), std::cmp::Reverse((layers.of.at(target(link)), link)));
        let next = down.list(node).iter().copied().max_by_key(|&link| key(link));
        states.set(node, 1 + next.map_or(0, |link| states.at(target(link))));
        best.set(node, next);
    }
    let mut course = Vec::new();
    let mut at = first.first().copied().filter(|&node| node < count);
    // Every step leads to a lower layer, so it ends.
    while let Some(link) = at.and_then(|node| best.at(node)) {
        course.push(link);
        at = Some(target(link));
    }
    course
}

/// The pairs of cells on the main course, upper cell first.
pub(super) fn pairs(grid: &Grid) -> impl Iterator<Item = (usize, usize)> {
    let routed = grid.spine.iter().map(|&link| grid.chains.list(link)).filter(|chain| chain.len() > 2);
    routed.flat_map(|chain| chain.iter().copied().zip(chain.iter().copied().skip(1)))
}

/// Adds to `blocked` the links that would bend the main course.
pub(super) fn block_others(grid: &Grid, stand: &Table<usize>, blocked: &mut HashSet<(usize, usize)>) {
    for (above, below) in pairs(grid) {
        let Some(rank) = grid.ranks.get(grid.rank.at(above)) else { continue };
        for &upper in rank {
            for &lower in grid.down.list(upper) {
                let top = stand.at(upper).cmp(&stand.at(above));
                let bottom = stand.at(lower).cmp(&stand.at(below));
                // Equal on one side is a shared end; opposite on both is a crossing.
                if top != bottom || top.is_eq() {
                    blocked.insert((upper, lower));
                }
            }
        }
        blocked.remove(&(above, below));
    }
}
