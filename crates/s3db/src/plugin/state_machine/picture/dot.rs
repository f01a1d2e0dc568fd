//! The DOT writer.
//!
//! Labels are always quoted strings. Inside one, DOT gives a meaning to the quote, to the
//! backslash (`\N`, `\l`, …) and to HTML entities, so those three are escaped.

use std::fmt::Write as _;

use super::color::Color;
use super::label::{Label, behaviour};
use super::text::clean;
use super::{Edge, Node, Picture};

/// Writes the whole digraph.
pub(super) fn write(picture: &Picture) -> String {
    let name = escape(&clean(&picture.name));
    let mut out = format!("digraph \"{name}\" {{\n");
    let _ = writeln!(out, "  graph [label=\"{name}\", labelloc=t, fontname=\"Helvetica\", rankdir=TB];");
    out.push_str("  node [shape=box, style=\"rounded,filled\", fillcolor=\"#f8fafc\", color=\"#475569\", ");
    out.push_str("fontname=\"Helvetica\", fontcolor=\"#0f172a\"];\n");
    out.push_str("  edge [color=\"#475569\", fontname=\"Helvetica\", fontsize=11, fontcolor=\"#1e293b\"];\n");
    for (index, node) in picture.states.iter().enumerate() {
        write_state(&mut out, index, node);
    }
    for edge in picture.drawn_edges() {
        write_edge(&mut out, edge);
    }
    out.push_str("}\n");
    out
}

/// Writes a state, and its starting point when it is initial.
fn write_state(out: &mut String, index: usize, node: &Node) {
    let mut label = escape(&clean(&node.name));
    for line in behaviour(node) {
        label.push_str("\\n");
        label.push_str(&escape(&line));
    }
    let mut attributes = format!("label=\"{label}\"");
    if let Some(color) = node.color.as_deref().and_then(Color::parse) {
        let _ = write!(attributes, ", fillcolor=\"{color}\", fontcolor=\"{}\"", color.ink());
    } else if node.current {
        attributes.push_str(", fillcolor=\"#dbeafe\"");
    }
    if node.current {
        attributes.push_str(", style=\"rounded,filled,bold\", color=\"#2563eb\", penwidth=3, ");
        attributes.push_str("fontname=\"Helvetica-Bold\"");
    }
    if node.is_final {
        attributes.push_str(", peripheries=2");
    }
    let _ = writeln!(out, "  s{index} [{attributes}];");
    if node.initial {
        let _ = writeln!(out, "  start{index} [shape=point, width=0.15, fillcolor=\"#1e293b\", label=\"\"];");
        let _ = writeln!(out, "  start{index} -> s{index};");
    }
}

/// Writes a transition. A timer is dashed and carries a clock.
fn write_edge(out: &mut String, edge: &Edge) {
    let label = escape(&Label::of(edge).line());
    let (clock, style) = if edge.timer { ("⏱ ", ", style=dashed") } else { ("", "") };
    let _ = writeln!(out, "  s{} -> s{} [label=\"{clock}{label}\"{style}];", edge.from, edge.to);
}

/// The text for the inside of a quoted label.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '&' => out.push_str("&amp;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_backslashes_and_entities_are_escaped() {
        let table = [
            ("plain", "plain"),
            ("say \"hi\"", "say \\\"hi\\\""),
            ("a\\", "a\\\\"),
            ("\\N", "\\\\N"),
            ("&lt;b&gt;", "&amp;lt;b&amp;gt;"),
            ("<b>x</b>", "<b>x</b>"),
            ("a;{}%%//#", "a;{}%%//#"),
        ];
        for (text, want) in table {
            assert_eq!(escape(text), want, "{text:?}");
        }
    }

    #[test]
    fn a_bad_colour_leaves_no_trace() {
        let node = Node { name: "a".into(), color: Some("\", shape=\"star".into()), ..Node::default() };
        let mut out = String::new();
        write_state(&mut out, 0, &node);
        assert_eq!(out, "  s0 [label=\"a\"];\n");
    }
}
