//! What the SVG shows, with sizes and places: cards for states and wires for transitions.

use std::collections::BTreeMap;

use super::color::Color;
use super::label::{Label, Role, behaviour};
use super::layout::{self, Link, Plan, Shape};
use super::text::{clean, cut, width};
use super::{Node, Picture};

/// Font sizes in pixels: the title, a state's name, its actions, a label.
pub(super) const TITLE_SIZE: f64 = 15.0;
pub(super) const NAME_SIZE: f64 = 14.0;
pub(super) const ACTION_SIZE: f64 = 11.5;
pub(super) const LABEL_SIZE: f64 = 12.0;

/// The height of a line of a label, and of a line of actions.
pub(super) const LABEL_LINE: f64 = 17.0;
pub(super) const ACTION_LINE: f64 = 16.0;

/// The height of the part of a card with the name.
pub(super) const NAME_HEIGHT: f64 = 40.0;

/// Room below the actions of a card.
pub(super) const ACTION_FOOT: f64 = 10.0;

/// Room that the clock before a timer takes.
pub(super) const CLOCK_ROOM: f64 = 15.0;

/// The diameter of a starting dot.
pub(super) const DOT: f64 = 14.0;

/// How far a self loop stands out, up to its label.
pub(super) const LOOP_ROOM: f64 = 30.0;

/// The height of a self loop.
pub(super) const LOOP_HEIGHT: f64 = 18.0;

/// The least width of a card; the widest text on one; the widest line of a label.
const MIN_CARD: f64 = 112.0;
const MAX_NAME: f64 = 220.0;
const MAX_LABEL: f64 = 240.0;

/// Lines in one label. What is beyond is counted and stays in the tooltip.
const MAX_LINES: usize = 10;

/// A state.
#[derive(Debug)]
pub(super) struct Card {
    pub(super) name: String,
    pub(super) lines: Vec<String>,
    /// The whole text, for the tooltip.
    pub(super) full: String,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) color: Option<Color>,
    pub(super) current: bool,
    pub(super) is_final: bool,
}

/// The transitions from one state to another, or from one to itself, as one arrow.
#[derive(Debug, Default)]
pub(super) struct Wire {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) lines: Vec<Line>,
    /// The whole text, for the tooltip.
    pub(super) full: String,
    /// All of them are timers.
    pub(super) dashed: bool,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A line of a label, cut to fit.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    pub(super) parts: Vec<(Option<Role>, String)>,
    pub(super) timer: bool,
    pub(super) width: f64,
}

/// Everything to be drawn.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) cards: Vec<Card>,
    /// Arrows between different states. The plan has one route for each, then one for each dot.
    pub(super) wires: Vec<Wire>,
    /// Self loops.
    pub(super) loops: Vec<Wire>,
    /// Places. The centres of the starting dots follow those of the cards.
    pub(super) plan: Plan,
}

/// Measures and lays out a picture.
pub(super) fn compose(picture: &Picture) -> Scene {
    let cards: Vec<Card> = picture.states.iter().map(card).collect();
    let (loops, wires): (Vec<Wire>, Vec<Wire>) = merge(picture).into_iter().partition(|wire| wire.from == wire.to);
    let mut shapes: Vec<Shape> =
        cards.iter().map(|card| Shape { width: card.width, height: card.height, ..Shape::default() }).collect();
    for wire in &loops {
        if let Some(shape) = shapes.get_mut(wire.from) {
            shape.side_width = LOOP_ROOM + wire.width;
            shape.side_height = wire.height.max(LOOP_HEIGHT);
        }
    }
    let mut links: Vec<Link> = wires
        .iter()
        .map(|wire| Link { from: wire.from, to: wire.to, width: wire.width, height: wire.height })
        .collect();
    let mut first = Vec::new();
    for (state, _) in picture.states.iter().enumerate().filter(|(_, node)| node.initial) {
        first.push(shapes.len());
        links.push(Link { from: shapes.len(), to: state, ..Link::default() });
        shapes.push(Shape { width: DOT, height: DOT, ..Shape::default() });
    }
    let plan = layout::arrange(&shapes, &links, &first);
    Scene { cards, wires, loops, plan }
}

/// Measures a state.
fn card(node: &Node) -> Card {
    let whole = clean(&node.name);
    let name = cut(&whole, NAME_SIZE, true, MAX_NAME);
    let behaviour = behaviour(node);
    let lines: Vec<String> = behaviour.iter().map(|line| cut(line, ACTION_SIZE, false, MAX_NAME)).collect();
    let widest = lines.iter().map(|line| width(line, ACTION_SIZE, false)).fold(width(&name, NAME_SIZE, true), f64::max);
    let mut full = whole;
    for line in &behaviour {
        full.push('\n');
        full.push_str(line);
    }
    let height =
        if lines.is_empty() { NAME_HEIGHT } else { NAME_HEIGHT + stacked(lines.len(), ACTION_LINE) + ACTION_FOOT };
    Card {
        name,
        lines,
        full,
        width: (widest + 36.0).max(MIN_CARD).ceil(),
        height,
        color: node.color.as_deref().and_then(Color::parse),
        current: node.current,
        is_final: node.is_final,
    }
}

/// The height of some lines.
pub(super) fn stacked(count: usize, line: f64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) * line
}

/// Merges transitions that join the same states in the same direction.
fn merge(picture: &Picture) -> Vec<Wire> {
    let mut known: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let mut groups: Vec<((usize, usize), Vec<Label>)> = Vec::new();
    for edge in picture.drawn_edges() {
        let ends = (edge.from, edge.to);
        let index = *known.entry(ends).or_insert(groups.len());
        if index == groups.len() {
            groups.push((ends, Vec::new()));
        }
        if let Some((_, labels)) = groups.get_mut(index) {
            labels.push(Label::of(edge));
        }
    }
    groups.into_iter().map(|(ends, labels)| wire(ends, &labels)).collect()
}

/// Measures an arrow.
fn wire((from, to): (usize, usize), labels: &[Label]) -> Wire {
    let shown = if labels.len() > MAX_LINES { MAX_LINES - 1 } else { labels.len() };
    let mut lines: Vec<Line> = labels.iter().take(shown).map(line).collect();
    if labels.len() > shown {
        let text = format!("… and {} more", labels.len() - shown);
        lines.push(Line { width: width(&text, LABEL_SIZE, false), parts: vec![(None, text)], timer: false });
    }
    let full: Vec<String> = labels.iter().map(Label::line).collect();
    let widest = lines.iter().map(|line| line.width).fold(0.0, f64::max);
    Wire {
        from,
        to,
        dashed: labels.iter().all(|label| label.timer),
        width: (widest + 8.0).ceil(),
        height: stacked(lines.len(), LABEL_LINE) + 2.0,
        lines,
        full: full.join("\n"),
    }
}

/// Cuts and measures one line of a label.
fn line(label: &Label) -> Line {
    let mut line = Line { timer: label.timer, ..Line::default() };
    let space = width(" ", LABEL_SIZE, false);
    for (role, text) in label.parts() {
        let gap = if line.parts.is_empty() { 0.0 } else { space };
        let room = MAX_LABEL - line.width - gap;
        if room < width("…", LABEL_SIZE, true) * 2.0 {
            break;
        }
        let bold = role == Role::Event;
        let text = cut(text, LABEL_SIZE, bold, room);
        line.width += gap + width(&text, LABEL_SIZE, bold);
        line.parts.push((Some(role), text));
    }
    if line.timer {
        line.width += CLOCK_ROOM;
    }
    line
}
