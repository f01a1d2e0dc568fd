//! The grid of cells: states, labels and the bends of long links.
//!
//! Layers of states are the even ranks; the odd ranks between them hold the labels. A link gets
//! a cell in every rank that it passes, and one of these carries its label. Every cell has its
//! own room in its rank, so no line runs over a state and no two labels overlap.

use super::layers::Layers;
use super::layout::{Link, Shape};
use super::table::Table;

/// Room kept on each side of a state, in pixels.
const STATE_MARGIN: f64 = 20.0;

/// Room kept on each side of a label.
const LABEL_MARGIN: f64 = 9.0;

/// Room kept on each side of a line without a label.
const LINE_MARGIN: f64 = 8.0;

/// What a cell holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// A state or a starting dot.
    #[default]
    State,
    /// A link passing through, perhaps with its label.
    Bend,
}

/// The cells with their sizes and neighbours. The first cells are the states.
#[derive(Debug, Default)]
pub(super) struct Grid {
    /// The cells of each rank, left to right.
    pub(super) ranks: Vec<Vec<usize>>,
    /// The rank of each cell.
    pub(super) rank: Table<usize>,
    /// What each cell holds.
    pub(super) kind: Table<Kind>,
    /// Room that each cell needs left of its centre, margin included.
    pub(super) left: Table<f64>,
    /// Room that each cell needs right of its centre, margin included.
    pub(super) right: Table<f64>,
    /// The height of each cell.
    pub(super) height: Table<f64>,
    /// Neighbours in the rank above.
    pub(super) up: Table<Vec<usize>>,
    /// Neighbours in the rank below.
    pub(super) down: Table<Vec<usize>>,
    /// The cells of each link from its upper end to its lower one. Only the ends where a link
    /// was too long for the budget.
    pub(super) chains: Table<Vec<usize>>,
    /// The cell with the label of each link, where it has one.
    pub(super) labels: Table<Option<usize>>,
    /// The links of the main course.
    pub(super) spine: Vec<usize>,
}

impl Grid {
    /// The number of cells.
    pub(super) fn cells(&self) -> usize {
        self.rank.len()
    }

    /// Adds a cell.
    fn push(&mut self, rank: usize, kind: Kind, sides: (f64, f64), height: f64) -> usize {
        let cell = self.rank.push(rank);
        self.kind.push(kind);
        self.left.push(sides.0);
        self.right.push(sides.1);
        self.height.push(height);
        self.up.push(Vec::new());
        self.down.push(Vec::new());
        if let Some(row) = self.ranks.get_mut(rank) {
            row.push(cell);
        }
        cell
    }

    /// Joins two cells in neighbouring ranks.
    fn join(&mut self, above: usize, below: usize) {
        self.down.add(above, below);
        self.up.add(below, above);
    }
}

/// Builds the grid. Bends are taken from `budget`, short links first.
pub(super) fn build(shapes: &[Shape], links: &[Link], layers: &Layers, budget: &mut usize) -> Grid {
    let height = layers.of.iter().copied().max().map_or(0, |last| last * 2 + 1);
    let mut grid = Grid { ranks: vec![Vec::new(); height], ..Grid::default() };
    for (index, shape) in shapes.iter().enumerate() {
        let sides = (shape.width / 2.0 + STATE_MARGIN, shape.width / 2.0 + shape.side_width + STATE_MARGIN);
        grid.push(layers.of.at(index) * 2, Kind::State, sides, shape.height.max(shape.side_height));
    }
    grid.chains = Table::new(links.len(), Vec::new());
    grid.labels = Table::new(links.len(), None);

    let span = |link: &Link| layers.of.at(link.from).abs_diff(layers.of.at(link.to));
    let mut shortest_first: Vec<(usize, &Link)> = links.iter().enumerate().collect();
    shortest_first.sort_by_key(|(index, link)| (span(link), *index));
    let mut routed = Table::new(links.len(), false);
    for (index, link) in shortest_first {
        let bends = span(link) * 2 - 1;
        if let Some(left) = budget.checked_sub(bends) {
            *budget = left;
            routed.set(index, true);
        }
    }
    for (index, link) in links.iter().enumerate() {
        let turned = layers.turned.at(index);
        let (above, below) = if turned { (link.to, link.from) } else { (link.from, link.to) };
        let mut chain = vec![above];
        if routed.at(index) {
            add_bends(&mut grid, index, link, (above, below), &mut chain);
        }
        chain.push(below);
        grid.chains.set(index, chain);
    }
    grid
}

/// Adds the cells of one link and joins them up.
fn add_bends(grid: &mut Grid, index: usize, link: &Link, ends: (usize, usize), chain: &mut Vec<usize>) {
    let (top, bottom) = (grid.rank.at(ends.0), grid.rank.at(ends.1));
    // The odd rank in the middle, or just above the middle.
    let middle = top + ((bottom - top) / 2 - 1) / 2 * 2 + 1;
    let mut last = ends.0;
    for rank in top + 1..bottom {
        let labelled = rank == middle && link.width > 0.0;
        let (half, height) = if labelled { (link.width / 2.0 + LABEL_MARGIN, link.height) } else { (LINE_MARGIN, 0.0) };
        let cell = grid.push(rank, Kind::Bend, (half, half), height);
        if labelled {
            grid.labels.set(index, Some(cell));
        }
        grid.join(last, cell);
        chain.push(cell);
        last = cell;
    }
    grid.join(last, ends.1);
}
