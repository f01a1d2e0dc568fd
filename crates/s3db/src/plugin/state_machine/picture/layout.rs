//! The layered layout: places for states, labels and lines.
//!
//! The steps are those of Sugiyama, Tagawa and Toda (1981): break cycles and assign layers
//! ([`layers`]), give long links a cell in every rank they pass ([`bends`]), pick the main course
//! ([`spine`]), order the cells of each rank ([`order`]), and choose coordinates
//! ([`coordinates`], [`ports`], [`tracks`]). Parts of the machine that are not joined are laid
//! out one by one and set side by side ([`parts`]).
//!
//! Time is bounded: every step is a fixed number of passes over states, links and bends, and the
//! number of bends is limited.

use super::bends::{self, Grid};
use super::parts::{self, Part};
use super::table::Table;
use super::tracks::{self, Tracks};
use super::{coordinates, layers, order, ports, spine};

/// Bends in one picture. Links beyond it are drawn as one curve from end to end.
const MAX_BENDS: usize = 60_000;

/// The distance between two ranks where all lines run straight, in pixels.
const RANK_GAP: f64 = 22.0;

/// Room above the first track and below the last one, for a bend and an arrow head.
const TRACK_LEAD: f64 = 18.0;

/// The distance between two tracks.
const TRACK_STEP: f64 = 9.0;

/// The size of a state, with what is drawn at its right side.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shape {
    pub(super) width: f64,
    pub(super) height: f64,
    /// Room for self loops to the right.
    pub(super) side_width: f64,
    pub(super) side_height: f64,
}

/// An arrow between two different shapes, with the size of its label.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A point in the picture.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

/// A straight upright piece of a line. Between two stops the line moves to the side.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Stop {
    pub(super) x: f64,
    pub(super) start_y: f64,
    pub(super) end_y: f64,
}

/// The course of a link, from its source to its target.
#[derive(Debug, Clone, Default)]
pub(super) struct Route {
    pub(super) stops: Vec<Stop>,
    /// The heights at which the line moves to the side, one between each two stops.
    pub(super) turns: Vec<f64>,
    /// The centre of the label.
    pub(super) label: Point,
    /// The link has a way of its own, so nothing else lies on it.
    pub(super) own_way: bool,
}

/// Where everything goes. The top left corner is zero.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    pub(super) width: f64,
    pub(super) height: f64,
    /// The centre of each shape.
    pub(super) centres: Vec<Point>,
    pub(super) routes: Vec<Route>,
}

/// Lays shapes and links out. `first` are the shapes to start from, at the top.
pub(super) fn arrange(shapes: &[Shape], links: &[Link], first: &[usize]) -> Plan {
    let parts = parts::split(shapes.len(), links, first);
    let mut budget = MAX_BENDS;
    let plans: Vec<Plan> = parts.iter().map(|part| arrange_part(shapes, links, part, first, &mut budget)).collect();
    parts::join(shapes.len(), links.len(), &parts, plans)
}

/// Lays one part out. Indexes in its plan count within the part.
fn arrange_part(shapes: &[Shape], links: &[Link], part: &Part, first: &[usize], budget: &mut usize) -> Plan {
    let local = |shape: usize| part.shapes.binary_search(&shape).ok();
    let own_shapes: Vec<Shape> = part.shapes.iter().filter_map(|&shape| shapes.get(shape).copied()).collect();
    let own_links: Vec<Link> = part
        .links
        .iter()
        .filter_map(|&link| links.get(link))
        .filter_map(|link| Some(Link { from: local(link.from)?, to: local(link.to)?, ..*link }))
        .collect();
    let own_first: Vec<usize> = first.iter().filter_map(|&shape| local(shape)).collect();
    let pairs: Vec<(usize, usize)> = own_links.iter().map(|link| (link.from, link.to)).collect();

    let layers = layers::assign(own_shapes.len(), &pairs, &own_first);
    let mut grid = bends::build(&own_shapes, &own_links, &layers, budget);
    grid.spine = spine::find(own_shapes.len(), &own_links, &layers, &own_first);
    order::arrange(&mut grid);
    let xs = coordinates::assign(&grid);
    let ports = ports::assign(&grid, &own_shapes, &xs);
    let tracks = tracks::assign(&grid, &xs, &ports);
    let rows = Rows::new(&grid, &tracks);

    let centre = |shape: usize| Point { x: xs.at(shape), y: rows.middle(grid.rank.at(shape)) };
    let routes = (0..own_links.len())
        .map(|link| {
            let ends = (ports.upper.at(link), ports.lower.at(link));
            let course = course(&grid, &own_shapes, &xs, &rows, link, ends);
            finish(&grid, &rows, &tracks, link, course, layers.turned.at(link))
        })
        .collect();
    let width = (0..grid.cells()).map(|cell| xs.at(cell) + grid.right.at(cell)).fold(0.0, f64::max);
    Plan { width, height: rows.height, centres: (0..own_shapes.len()).map(centre).collect(), routes }
}

/// The upper and lower edges of the ranks.
#[derive(Debug, Default)]
struct Rows {
    top: Table<f64>,
    bottom: Table<f64>,
    height: f64,
}

impl Rows {
    /// Stacks the ranks. A gap grows with the tracks in it.
    fn new(grid: &Grid, tracks: &Tracks) -> Self {
        let mut rows =
            Self { top: Table::new(grid.ranks.len(), 0.0), bottom: Table::new(grid.ranks.len(), 0.0), height: 0.0 };
        let mut y = 0.0;
        for (rank, cells) in grid.ranks.iter().enumerate() {
            let height = cells.iter().map(|&cell| grid.height.at(cell)).fold(0.0, f64::max);
            rows.top.set(rank, y);
            rows.bottom.set(rank, y + height);
            rows.height = y + height;
            y += height
                + match tracks.count.at(rank).checked_sub(1) {
                    Some(more) => TRACK_LEAD * 2.0 + track_offset(more),
                    None => RANK_GAP,
                };
        }
        rows
    }

    /// The middle line of a rank.
    fn middle(&self, rank: usize) -> f64 {
        f64::midpoint(self.top.at(rank), self.bottom.at(rank))
    }
}

/// How far a track is below the first one.
fn track_offset(track: usize) -> f64 {
    f64::from(u32::try_from(track).unwrap_or(u32::MAX)) * TRACK_STEP
}

/// The upright pieces of one link, top down.
fn course(grid: &Grid, shapes: &[Shape], xs: &Table<f64>, rows: &Rows, link: usize, ends: (f64, f64)) -> Vec<Stop> {
    let chain = grid.chains.list(link);
    let border = |shape: usize| shapes.get(shape).map_or(0.0, |shape| shape.height / 2.0);
    let last = chain.len().saturating_sub(1);
    let mut stops: Vec<Stop> = Vec::with_capacity(chain.len());
    for (index, &cell) in chain.iter().enumerate() {
        let rank = grid.rank.at(cell);
        let (top, bottom) = (rows.top.at(rank), rows.bottom.at(rank));
        stops.push(if index == 0 {
            Stop { x: ends.0, start_y: rows.middle(rank) + border(cell), end_y: bottom }
        } else if index == last {
            Stop { x: ends.1, start_y: top, end_y: rows.middle(rank) - border(cell) }
        } else {
            Stop { x: xs.at(cell), start_y: top, end_y: bottom }
        });
    }
    stops
}

/// Adds the turns and the label, and points the link the right way.
fn finish(grid: &Grid, rows: &Rows, tracks: &Tracks, link: usize, mut stops: Vec<Stop>, turned: bool) -> Route {
    let chain = grid.chains.list(link);
    let xs = |cell: usize| chain.iter().zip(&stops).find(|(own, _)| **own == cell).map_or(0.0, |(_, stop)| stop.x);
    let mut turns: Vec<f64> = stops
        .iter()
        .zip(stops.iter().skip(1))
        .zip(tracks.of.list(link))
        .map(|((above, below), track)| match track {
            Some(track) => above.end_y + TRACK_LEAD + track_offset(*track),
            None => f64::midpoint(above.end_y, below.start_y),
        })
        .collect();
    let label = match (grid.labels.at(link), stops.first(), stops.last()) {
        (Some(cell), _, _) => Point { x: xs(cell), y: rows.middle(grid.rank.at(cell)) },
        (None, Some(a), Some(b)) => Point { x: f64::midpoint(a.x, b.x), y: f64::midpoint(a.end_y, b.start_y) },
        _ => Point::default(),
    };
    if turned {
        stops.reverse();
        turns.reverse();
        for stop in &mut stops {
            (stop.start_y, stop.end_y) = (stop.end_y, stop.start_y);
        }
    }
    Route { stops, turns, label, own_way: chain.len() > 2 }
}
