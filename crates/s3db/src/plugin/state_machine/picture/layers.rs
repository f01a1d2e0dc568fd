//! The first two steps of the layout: which links point up, and which layer a state is in.
//!
//! Cycles are broken by putting the states in a line and turning every link that points back in
//! it. The line follows Eades, Lin and Smyth, "A fast and effective heuristic for the feedback
//! arc set problem" (1993): states without a way on go to its end, states without a way in to its
//! front. Where that does not decide, the state nearest to the start comes next, so that the
//! main course of the machine runs down the page.

use std::collections::VecDeque;

use super::table::Table;

/// Where the states are, and which links are turned.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// The layer of each node, from 0 at the top.
    pub(super) of: Table<usize>,
    /// For each link, whether it runs upwards.
    pub(super) turned: Table<bool>,
}

/// Assigns layers so that every link joins two different ones.
///
/// `links` are pairs of different nodes below `count`; `first` are the nodes to start from.
pub(super) fn assign(count: usize, links: &[(usize, usize)], first: &[usize]) -> Layers {
    let place = line_up(count, links, first);
    let mut turned = Table::new(links.len(), false);
    let mut down = Table::new(count, Vec::new());
    let mut up = Table::new(count, Vec::new());
    for (index, &(from, to)) in links.iter().enumerate() {
        let upwards = place.at(from) > place.at(to);
        turned.set(index, upwards);
        let (high, low) = if upwards { (to, from) } else { (from, to) };
        down.add(high, low);
        up.add(low, high);
    }
    let mut line: Vec<usize> = (0..count).collect();
    line.sort_by_key(|&node| place.at(node));

    let mut of = Table::new(count, 0_usize);
    for &node in &line {
        let layer = up.list(node).iter().map(|&above| of.at(above) + 1).max().unwrap_or(0);
        of.set(node, layer);
    }
    // Longest paths push everything up. What has more links below than above hangs lower.
    for &node in line.iter().rev() {
        if down.list(node).len() > up.list(node).len() {
            let below = down.list(node).iter().map(|&below| of.at(below)).min().unwrap_or(0);
            of.set(node, below.saturating_sub(1));
        }
    }
    debug_assert!(line.iter().all(|&node| down.list(node).iter().all(|&below| of.at(node) < of.at(below))));
    let top = of.iter().copied().min().unwrap_or(0);
    for node in 0..count {
        of.set(node, of.at(node) - top);
    }
    Layers { of, turned }
}

/// Puts the nodes in a line in which few links point back. Gives each node's place.
fn line_up(count: usize, links: &[(usize, usize)], first: &[usize]) -> Table<usize> {
    let mut ways_on = Table::new(count, Vec::new());
    let mut ways_in = Table::new(count, Vec::new());
    for &(from, to) in links {
        ways_on.add(from, to);
        ways_in.add(to, from);
    }
    let mut on: Table<usize> = (0..count).map(|node| ways_on.list(node).len()).collect::<Vec<_>>().into();
    let mut into: Table<usize> = (0..count).map(|node| ways_in.list(node).len()).collect::<Vec<_>>().into();
    let mut taken = Table::new(count, false);
    let mut ends: VecDeque<usize> = (0..count).filter(|&node| on.at(node) == 0).collect();
    let mut heads: VecDeque<usize> = (0..count).filter(|&node| into.at(node) == 0).collect();
    let mut waiting = by_distance(count, &ways_on, first).into_iter();

    let mut front = Vec::with_capacity(count);
    let mut back = Vec::new();
    // Every turn takes a node or drops one already taken from a queue; each queue gets a node once.
    loop {
        let (node, at_end) = if let Some(node) = ends.pop_front() {
            (node, true)
        } else if let Some(node) = heads.pop_front() {
            (node, false)
        } else if let Some(node) = waiting.next() {
            (node, false)
        } else {
            break;
        };
        if taken.at(node) {
            continue;
        }
        taken.set(node, true);
        if at_end {
            back.push(node);
        } else {
            front.push(node);
        }
        for &next in ways_on.list(node) {
            into.set(next, into.at(next).saturating_sub(1));
            if into.at(next) == 0 && !taken.at(next) {
                heads.push_back(next);
            }
        }
        for &last in ways_in.list(node) {
            on.set(last, on.at(last).saturating_sub(1));
            if on.at(last) == 0 && !taken.at(last) {
                ends.push_back(last);
            }
        }
    }
    let mut place = Table::new(count, 0);
    for (index, node) in front.into_iter().chain(back.into_iter().rev()).enumerate() {
        place.set(node, index);
    }
    place
}

/// The nodes by their number of steps from the first ones; those out of reach come last.
fn by_distance(count: usize, ways_on: &Table<Vec<usize>>, first: &[usize]) -> Vec<usize> {
    let mut steps = Table::new(count, usize::MAX);
    let mut queue = VecDeque::new();
    let seeds = first.iter().copied().chain(0..count);
    let mut order = Vec::with_capacity(count);
    for seed in seeds {
        if steps.at(seed) == usize::MAX {
            steps.set(seed, 0);
            queue.push_back(seed);
        }
        // The first seeds are one front: they wait until all of them are in the queue.
        if order.is_empty() && queue.len() < first.len() {
            continue;
        }
        while let Some(node) = queue.pop_front() {
            order.push(node);
            for &next in ways_on.list(node) {
                if steps.at(next) == usize::MAX {
                    steps.set(next, steps.at(node).saturating_add(1));
                    queue.push_back(next);
                }
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(count: usize, links: &[(usize, usize)]) -> Vec<usize> {
        assign(count, links, &[0]).of.iter().copied().collect()
    }

    #[test]
    fn a_chain_runs_down() {
        assert_eq!(layers(4, &[(0, 1), (1, 2), (2, 3)]), [0, 1, 2, 3]);
    }

    #[test]
    fn a_way_back_is_turned() {
        let links = [(0, 1), (1, 2), (2, 0)];
        let found = assign(3, &links, &[0]);
        assert_eq!(found.of.iter().copied().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(found.turned.iter().copied().collect::<Vec<_>>(), [false, false, true]);
    }

    #[test]
    fn an_end_state_lies_below_all_that_lead_to_it() {
        assert_eq!(layers(4, &[(0, 3), (0, 1), (1, 3), (1, 2), (2, 3)]), [0, 1, 2, 3]);
    }

    #[test]
    fn an_unreachable_source_hangs_just_above_its_target() {
        assert_eq!(layers(4, &[(0, 1), (1, 2), (3, 2)]), [0, 1, 2, 1]);
    }
}
