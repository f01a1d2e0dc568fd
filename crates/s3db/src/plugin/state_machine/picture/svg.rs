//! The SVG writer.
//!
//! The document stands alone: it has its own background, uses presentation attributes rather
//! than a style sheet, and has no ids, so several can be put into one page.

use std::fmt::Write as _;

use super::color::Color;
use super::layout::Point;
use super::scene::{self, Card, Scene};
use super::text::{clean, cut, width};
use super::xml::{Number, Xml};
use super::{Node, Picture, arrows};

/// Room around the drawing, in pixels.
const PAD: f64 = 24.0;

/// Room that the title takes above the drawing.
const TITLE_ROOM: f64 = 34.0;

/// The fonts, from the most wanted to any without serifs.
const FONTS: &str = "Inter, 'Segoe UI', 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif";

/// The colour of lines and arrow heads.
pub(super) const LINE: &str = "#64748b";

/// The colour of text and of starting dots.
const INK: &str = "#0f172a";

/// The colour of the background and of the room around labels.
pub(super) const PAPER: &str = "#ffffff";

/// Writes the whole document.
pub(super) fn write(picture: &Picture) -> String {
    let scene = scene::compose(picture);
    let title = clean(&picture.name);
    let heading = cut(&title, scene::TITLE_SIZE, true, 480.0);
    let inner = scene.plan.width.max(width(&heading, scene::TITLE_SIZE, true)).max(140.0);
    let size = (inner + 2.0 * PAD, scene.plan.height.max(20.0) + TITLE_ROOM + 2.0 * PAD);
    let (w, h) = (Number(size.0.ceil()), Number(size.1.ceil()));

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" \
         role=\"img\" font-family=\"{FONTS}\" font-size=\"{}\" fill=\"{INK}\">\n",
        Number(scene::LABEL_SIZE)
    );
    let _ = writeln!(out, "<title>{}</title>", Xml(&title));
    let _ = writeln!(out, "<desc>{}</desc>", Xml(&description(picture)));
    let _ = writeln!(out, "<rect width=\"{w}\" height=\"{h}\" rx=\"10\" fill=\"{PAPER}\"/>");
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" font-size=\"{}\" font-weight=\"600\">{}</text>",
        Number(PAD),
        Number(PAD + 12.0),
        Number(scene::TITLE_SIZE),
        Xml(&heading)
    );
    let shift = Point { x: PAD + (inner - scene.plan.width) / 2.0, y: PAD + TITLE_ROOM };
    if scene.cards.is_empty() {
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" fill=\"{LINE}\">no states</text>",
            Number(PAD),
            Number(shift.y + 10.0)
        );
    }
    let _ = writeln!(out, "<g transform=\"translate({} {})\">", Number(shift.x), Number(shift.y));
    write_glow(&mut out, &scene);
    arrows::write_wires(&mut out, &scene);
    arrows::write_loops(&mut out, &scene);
    write_cards(&mut out, &scene);
    out.push_str("</g>\n</svg>\n");
    out
}

/// What a reader who does not see the picture is told.
fn description(picture: &Picture) -> String {
    let mut text =
        format!("State machine: {} states, {} transitions.", picture.states.len(), picture.drawn_edges().count());
    let mut tell = |what: &str, test: fn(&Node) -> bool| {
        let mut names = picture.states.iter().filter(|node| test(node)).map(|node| clean(&node.name));
        let first: Vec<String> = names.by_ref().take(8).collect();
        if !first.is_empty() {
            let more = if names.next().is_some() { ", …" } else { "" };
            let _ = write!(text, " {what}: {}{more}.", first.join(", "));
        }
    };
    tell("Initial", |node| node.initial);
    tell("Final", |node| node.is_final);
    tell("Current", |node| node.current);
    text
}

/// Writes the states.
fn write_cards(out: &mut String, scene: &Scene) {
    for (card, centre) in scene.cards.iter().zip(&scene.plan.centres) {
        write_card(out, card, *centre);
    }
}

/// Writes a glow around the current state, below the arrows so that their heads stay clear.
fn write_glow(out: &mut String, scene: &Scene) {
    for (card, centre) in scene.cards.iter().zip(&scene.plan.centres).filter(|(card, _)| card.current) {
        write_frame(out, card, *centre, -6.0, "fill=\"#bfdbfe\" fill-opacity=\"0.75\"");
    }
}

/// Writes a rounded rectangle along the border of a card.
fn write_frame(out: &mut String, card: &Card, centre: Point, inset: f64, look: &str) {
    let _ = writeln!(
        out,
        "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{}\" {look}/>",
        Number(centre.x - card.width / 2.0 + inset),
        Number(centre.y - card.height / 2.0 + inset),
        Number(card.width - 2.0 * inset),
        Number(card.height - 2.0 * inset),
        Number(9.0 - inset),
    );
}

/// Writes one state.
fn write_card(out: &mut String, card: &Card, centre: Point) {
    let (left, top) = (centre.x - card.width / 2.0, centre.y - card.height / 2.0);
    let fill =
        card.color.map_or_else(|| if card.current { "#dbeafe" } else { "#f8fafc" }.to_owned(), |c| c.to_string());
    let stroke = match (card.current, card.color) {
        (true, _) => "#2563eb".to_owned(),
        (false, Some(color)) => color.shade().to_string(),
        (false, None) => "#475569".to_owned(),
    };
    let ink = card.color.map_or(INK, Color::ink);
    let _ = writeln!(out, "<g><title>{}</title>", Xml(&card.full));
    let stroke_width = if card.current { "2.5" } else { "1.5" };
    write_frame(
        out,
        card,
        centre,
        0.0,
        &format!("fill=\"{fill}\" stroke=\"{stroke}\" stroke-width=\"{stroke_width}\""),
    );
    if card.is_final {
        let inner = if card.color.is_some() { ink } else { stroke.as_str() };
        write_frame(out, card, centre, 4.0, &format!("fill=\"none\" stroke=\"{inner}\" stroke-width=\"1.2\""));
    }
    let weight = if card.current { "700" } else { "500" };
    let baseline = top + scene::NAME_HEIGHT / 2.0 + scene::NAME_SIZE * 0.35;
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" font-size=\"{}\" font-weight=\"{weight}\" fill=\"{ink}\">{}</text>",
        Number(centre.x),
        Number(baseline),
        Number(scene::NAME_SIZE),
        Xml(&card.name)
    );
    write_actions(out, card, Point { x: left, y: top + scene::NAME_HEIGHT }, &stroke, ink);
    out.push_str("</g>\n");
}

/// Writes the entry and exit actions under a rule. `at` is the left end of the rule.
fn write_actions(out: &mut String, card: &Card, at: Point, stroke: &str, ink: &str) {
    if card.lines.is_empty() {
        return;
    }
    let inset = if card.is_final { 4.0 } else { 0.0 };
    let _ = writeln!(
        out,
        "<path d=\"M{} {}H{}\" stroke=\"{stroke}\" stroke-opacity=\"0.5\"/>",
        Number(at.x + inset),
        Number(at.y),
        Number(at.x + card.width - inset)
    );
    let mut y = at.y + scene::ACTION_FOOT / 2.0 + scene::ACTION_LINE / 2.0;
    for line in &card.lines {
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" font-size=\"{}\" fill=\"{ink}\" fill-opacity=\"0.8\">{}</text>",
            Number(at.x + 14.0),
            Number(y + scene::ACTION_SIZE * 0.35),
            Number(scene::ACTION_SIZE),
            Xml(line)
        );
        y += scene::ACTION_LINE;
    }
}
