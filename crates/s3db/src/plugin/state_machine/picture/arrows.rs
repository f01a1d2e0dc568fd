//! The arrows of the SVG: lines, heads and labels.

use std::fmt::Write as _;

use super::label::Role;
use super::layout::{Point, Route, Stop};
use super::scene::{self, Line, Scene, Wire};
use super::svg::{LINE, PAPER};
use super::tracks::STRAIGHT;
use super::xml::{Number, Xml};

/// The radius of a bend in a line.
const BEND: f64 = 10.0;

/// The length of an arrow head and half its width.
const HEAD: (f64, f64) = (9.0, 4.0);

/// Writes the arrows between states. Those without a way of their own go below the others.
pub(super) fn write_wires(out: &mut String, scene: &Scene) {
    for own_way in [false, true] {
        for (wire, route) in scene.wires.iter().zip(&scene.plan.routes).filter(|(_, route)| route.own_way == own_way) {
            let _ = writeln!(out, "<g><title>{}</title>", Xml(&wire.full));
            write_course(out, route, wire.dashed);
            write_label(out, wire, Point { x: route.label.x - wire.width / 2.0, y: route.label.y });
            out.push_str("</g>\n");
        }
    }
    for route in scene.plan.routes.iter().skip(scene.wires.len()) {
        write_course(out, route, false);
    }
    for dot in scene.plan.centres.iter().skip(scene.cards.len()) {
        let _ = writeln!(
            out,
            "<circle cx=\"{}\" cy=\"{}\" r=\"{}\"/>",
            Number(dot.x),
            Number(dot.y),
            Number(scene::DOT / 2.0)
        );
    }
}

/// Writes the line and the head of an arrow.
fn write_course(out: &mut String, route: &Route, dashed: bool) {
    let Some((tip, before)) = route.stops.split_last() else { return };
    let down = before.last().is_none_or(|stop| stop.end_y < tip.end_y);
    let sign = if down { 1.0 } else { -1.0 };
    // The line ends inside the head, or its blunt end would show at the tip.
    let base = tip.end_y - sign * (HEAD.0 - 1.0);
    let start_y = if down { tip.start_y.min(base) } else { tip.start_y.max(base) };
    let last = Stop { start_y, end_y: base, ..*tip };

    let mut path = String::new();
    let mut at: Option<Point> = None;
    let turns = std::iter::once(0.0).chain(route.turns.iter().copied());
    for (stop, turn) in before.iter().chain(std::iter::once(&last)).zip(turns) {
        let start = Point { x: stop.x, y: stop.start_y };
        match at {
            None => {
                let _ = write!(path, "M{} {}", Number(start.x), Number(start.y));
            }
            Some(at) if route.own_way => write_move(&mut path, at, start, turn),
            Some(at) => {
                let (from, x, turn) = (Number(at.x), Number(start.x), Number(turn));
                let _ = write!(path, "C{from} {turn} {x} {turn} {x} {}", Number(start.y));
            }
        }
        at = Some(Point { x: stop.x, y: stop.end_y });
    }
    if let Some(at) = at {
        let _ = write!(path, "V{}", Number(at.y));
    }
    write_line(out, &path, dashed);
    let (back, x) = (tip.end_y - sign * HEAD.0, tip.x);
    let _ = writeln!(
        out,
        "<path d=\"M{} {}L{} {back}H{}Z\" fill=\"{LINE}\"/>",
        Number(x),
        Number(tip.end_y),
        Number(x - HEAD.1),
        Number(x + HEAD.1),
        back = Number(back),
    );
}

/// Writes a move from the end of one upright piece to the start of the next, at a height.
fn write_move(path: &mut String, at: Point, to: Point, turn: f64) {
    let aside = to.x - at.x;
    if aside.abs() < STRAIGHT {
        return;
    }
    let down = (to.y - at.y).signum();
    let radius = BEND.min((turn - at.y).abs()).min((to.y - turn).abs());
    let (before, after) = (Number(turn - down * radius), Number(turn + down * radius));
    let (from, x, y) = (Number(at.x), Number(to.x), Number(turn));
    if aside.abs() < 2.0 * radius {
        let _ = write!(path, "V{before}C{from} {y} {x} {y} {x} {after}");
    } else {
        let side = aside.signum() * radius;
        let _ = write!(path, "V{before}Q{from} {y} {} {y}H{}", Number(at.x + side), Number(to.x - side));
        let _ = write!(path, "Q{x} {y} {x} {after}");
    }
}

/// Writes a line.
fn write_line(out: &mut String, path: &str, dashed: bool) {
    let dash = if dashed { " stroke-dasharray=\"5 4\"" } else { "" };
    let _ = writeln!(out, "<path d=\"{path}\" fill=\"none\" stroke=\"{LINE}\" stroke-width=\"1.5\"{dash}/>");
}

/// Writes the self loops, at the right side of their states.
pub(super) fn write_loops(out: &mut String, scene: &Scene) {
    for wire in &scene.loops {
        let (Some(card), Some(centre)) = (scene.cards.get(wire.from), scene.plan.centres.get(wire.from)) else {
            continue;
        };
        let right = centre.x + card.width / 2.0;
        let radius = scene::LOOP_HEIGHT / 2.0;
        let _ = writeln!(out, "<g><title>{}</title>", Xml(&wire.full));
        let path = format!(
            "M{} {}h14a{r} {r} 0 0 1 0 {}h-6",
            Number(right),
            Number(centre.y - radius),
            Number(radius * 2.0),
            r = Number(radius)
        );
        write_line(out, &path, wire.dashed);
        let _ = writeln!(
            out,
            "<path d=\"M{} {}l{} {}v{}Z\" fill=\"{LINE}\"/>",
            Number(right),
            Number(centre.y + radius),
            Number(HEAD.0),
            Number(-HEAD.1),
            Number(HEAD.1 * 2.0)
        );
        write_label(out, wire, Point { x: right + scene::LOOP_ROOM - 4.0, y: centre.y });
        out.push_str("</g>\n");
    }
}

/// Writes a label on paper of its own. `at` is the middle of its left side.
fn write_label(out: &mut String, wire: &Wire, at: Point) {
    let top = at.y - wire.height / 2.0;
    let _ = writeln!(
        out,
        "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"3\" fill=\"{PAPER}\"/>",
        Number(at.x),
        Number(top),
        Number(wire.width),
        Number(wire.height)
    );
    let mut y = top + 1.0 + scene::LABEL_LINE / 2.0;
    for line in &wire.lines {
        write_label_line(out, line, Point { x: at.x + wire.width / 2.0, y });
        y += scene::LABEL_LINE;
    }
}

/// Writes one line of a label. `at` is its centre.
fn write_label_line(out: &mut String, line: &Line, at: Point) {
    let mut x = at.x;
    if line.timer {
        let clock = at.x - line.width / 2.0 + 5.5;
        let _ = writeln!(
            out,
            "<g fill=\"none\" stroke=\"#b45309\" stroke-width=\"1.3\"><circle cx=\"{cx}\" cy=\"{cy}\" r=\"5\"/>\
             <path d=\"M{cx} {}V{cy}h2.5\"/></g>",
            Number(at.y - 3.0),
            cx = Number(clock),
            cy = Number(at.y),
        );
        x += scene::CLOCK_ROOM / 2.0;
    }
    let _ = write!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">",
        Number(x),
        Number(at.y + scene::LABEL_SIZE * 0.35)
    );
    for (index, (role, text)) in line.parts.iter().enumerate() {
        let look = match role {
            Some(Role::Event) if line.timer => "font-weight=\"600\" fill=\"#b45309\"",
            Some(Role::Event) => "font-weight=\"600\" fill=\"#1e293b\"",
            Some(Role::Guard) => "fill=\"#7c3aed\"",
            Some(Role::Action) => "fill=\"#0f766e\"",
            None => "fill=\"#64748b\"",
        };
        let space = if index == 0 { "" } else { " " };
        let _ = write!(out, "{space}<tspan {look}>{}</tspan>", Xml(text));
    }
    out.push_str("</text>\n");
}
