//! Parts of a machine that are not joined: laid out one by one, set side by side.

use super::layout::{Link, Plan, Point, Route, Stop};
use super::table::Table;

/// The distance between parts that are not joined.
const PART_GAP: f64 = 24.0;

/// A set of joined shapes, with the links among them.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) shapes: Vec<usize>,
    pub(super) links: Vec<usize>,
}

/// Splits the picture into parts that are not joined. The part with the first shape leads.
pub(super) fn split(count: usize, links: &[Link], first: &[usize]) -> Vec<Part> {
    let mut joined = Table::new(count, Vec::new());
    for link in links {
        joined.add(link.from, link.to);
        joined.add(link.to, link.from);
    }
    let mut part_of = Table::new(count, usize::MAX);
    let mut parts: Vec<Part> = Vec::new();
    let mut stack = Vec::new();
    for seed in first.iter().copied().chain(0..count) {
        if part_of.at(seed) != usize::MAX {
            continue;
        }
        let mut part = Part::default();
        stack.push(seed);
        while let Some(shape) = stack.pop() {
            if part_of.at(shape) != usize::MAX {
                continue;
            }
            part_of.set(shape, parts.len());
            part.shapes.push(shape);
            stack.extend_from_slice(joined.list(shape));
        }
        part.shapes.sort_unstable();
        parts.push(part);
    }
    for (index, link) in links.iter().enumerate() {
        if let Some(part) = parts.get_mut(part_of.at(link.from)) {
            part.links.push(index);
        }
    }
    parts
}

/// Sets the parts side by side in rows of about the width of the largest one.
pub(super) fn join(shapes: usize, links: usize, parts: &[Part], plans: Vec<Plan>) -> Plan {
    let widest = plans.iter().map(|plan| plan.width).fold(0.0, f64::max);
    let area: f64 = plans.iter().map(|plan| (plan.width + PART_GAP) * (plan.height + PART_GAP)).sum();
    let limit = widest.max((area * 1.5).sqrt());
    let mut all = Plan::default();
    let mut centres = Table::new(shapes, Point::default());
    let mut routes = Table::new(links, Route::default());
    let (mut x, mut y, mut row_height) = (0.0, 0.0, 0.0_f64);
    for (part, plan) in parts.iter().zip(plans) {
        if x > 0.0 && x + plan.width > limit {
            (x, y, row_height) = (0.0, y + row_height + PART_GAP, 0.0);
        }
        for (&shape, centre) in part.shapes.iter().zip(plan.centres) {
            centres.set(shape, Point { x: centre.x + x, y: centre.y + y });
        }
        for (&link, mut route) in part.links.iter().zip(plan.routes) {
            for stop in &mut route.stops {
                *stop = Stop { x: stop.x + x, start_y: stop.start_y + y, end_y: stop.end_y + y };
            }
            route.turns.iter_mut().for_each(|turn| *turn += y);
            route.label = Point { x: route.label.x + x, y: route.label.y + y };
            routes.set(link, route);
        }
        all.width = all.width.max(x + plan.width);
        all.height = all.height.max(y + plan.height);
        row_height = row_height.max(plan.height);
        x += plan.width + PART_GAP;
    }
    all.centres = centres.iter().copied().collect();
    all.routes = routes.into_rows();
    all
}
