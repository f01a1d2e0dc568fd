//! The Mermaid writer.
//!
//! Mermaid reads a diagram line by line with rules that look into labels: `direction LR` or
//! `<<fork>>` inside a name changes the whole line, `;` and `:` end a label, and labels are read
//! as Markdown afterwards. So every character that is not plainly a letter, a digit or harmless
//! is written as an entity code such as `#34;`, which Mermaid turns back into the character.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::color::Color;
use super::label::{Label, behaviour};
use super::text::clean;
use super::{Edge, Node, Picture};

/// The look of the current state.
const CURRENT: &str = "fill:#dbeafe,stroke:#2563eb,stroke-width:3px,font-weight:bold";

/// The look of the current state when it has a colour of its own.
const CURRENT_RING: &str = "stroke:#2563eb,stroke-width:3px,font-weight:bold";

/// Writes the whole diagram.
pub(super) fn write(picture: &Picture) -> String {
    let mut out = format!("---\ntitle: \"{}\"\n---\nstateDiagram-v2\n", yaml(&clean(&picture.name)));
    for (index, node) in picture.states.iter().enumerate() {
        write_state(&mut out, index, node);
    }
    write_edges(&mut out, picture);
    for (index, _) in picture.states.iter().enumerate().filter(|(_, node)| node.is_final) {
        let _ = writeln!(out, "    s{index} --> [*]");
    }
    write_classes(&mut out, &picture.states);
    out
}

/// Writes a state, its entry and exit actions, and its starting arrow.
fn write_state(out: &mut String, index: usize, node: &Node) {
    let _ = writeln!(out, "    state \"{}\" as s{index}", escape(&clean(&node.name)));
    for line in behaviour(node) {
        let _ = writeln!(out, "    s{index} : {}", escape(&line));
    }
    if node.initial {
        let _ = writeln!(out, "    [*] --> s{index}");
    }
}

/// Writes the transitions.
///
/// Mermaid draws one self loop per state and drops the others, so the loops of a state are
/// written as one, with a line for each.
fn write_edges(out: &mut String, picture: &Picture) {
    let label = |edge: &Edge| format!("{}{}", if edge.timer { "⏱ " } else { "" }, escape(&Label::of(edge).line()));
    let mut loops: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for edge in picture.drawn_edges() {
        if edge.from == edge.to {
            loops.entry(edge.from).or_default().push(label(edge));
        } else {
            let _ = writeln!(out, "    s{} --> s{} : {}", edge.from, edge.to, label(edge));
        }
    }
    for (state, labels) in loops {
        let _ = writeln!(out, "    s{state} --> s{state} : {}", labels.join("<br/>"));
    }
}

/// Writes the style classes that are in use, then who uses them.
fn write_classes(out: &mut String, states: &[Node]) {
    let color = |node: &Node| node.color.as_deref().and_then(Color::parse);
    let colors: BTreeSet<Color> = states.iter().filter_map(color).collect();
    for color in &colors {
        let _ = writeln!(
            out,
            "    classDef {} fill:{color},stroke:{},color:{}",
            class_of(*color),
            color.shade(),
            color.ink()
        );
    }
    let plain = |node: &Node| node.current && color(node).is_none();
    let ringed = |node: &Node| node.current && color(node).is_some();
    if states.iter().any(plain) {
        let _ = writeln!(out, "    classDef current {CURRENT}");
    }
    if states.iter().any(ringed) {
        let _ = writeln!(out, "    classDef ring {CURRENT_RING}");
    }
    for (index, node) in states.iter().enumerate() {
        if let Some(color) = color(node) {
            let _ = writeln!(out, "    class s{index} {}", class_of(color));
        }
        if node.current {
            let _ = writeln!(out, "    class s{index} {}", if plain(node) { "current" } else { "ring" });
        }
    }
}

/// The name of the class for a colour.
fn class_of(color: Color) -> String {
    format!("c{}", color.to_string().trim_start_matches('#'))
}

/// The text for a label.
fn escape(text: &str) -> String {
    // A line that holds `direction` and a space may be taken for a direction statement.
    let spaced = !text.to_ascii_lowercase().contains("direction");
    let mut out = String::with_capacity(text.len());
    let mut before = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let after = rest.peek().copied();
        let between = |test: fn(char) -> bool| before.is_some_and(test) && after.is_some_and(test);
        let plain = match c {
            '/' | ',' | '(' | '?' => true,
            // `1) x` is a list to Markdown.
            ')' => !before.is_some_and(|c| c.is_ascii_digit()),
            // A guard stays readable; `[[fork]]` and `[text](link)` do not get through.
            '[' | ']' => ![before, after].into_iter().flatten().any(is_bracket),
            ' ' => spaced && between(|c| c != ' '),
            // Inside a word these two mean nothing to Markdown.
            '_' | '-' => between(|c| c.is_ascii_alphanumeric()),
            // Mermaid writes entity codes as `ﬂ°…¶ß` on the way and would decode a name like that.
            '°' => before != Some('ﬂ'),
            'ß' => before != Some('¶'),
            c if c.is_ascii() => c.is_ascii_alphanumeric(),
            c => !(c.is_whitespace() || is_invisible(c)),
        };
        if plain {
            out.push(c);
        } else {
            // A space without width keeps the two signs apart; the code alone would be decoded too.
            let apart = if matches!(c, '°' | 'ß') { "#8203;" } else { "" };
            let _ = write!(out, "{apart}#{};", u32::from(c));
        }
        before = Some(c);
    }
    out
}

/// Whether a character is a bracket.
fn is_bracket(c: char) -> bool {
    matches!(c, '[' | ']' | '(' | ')')
}

/// Whether a character leaves no mark, so that a reader of the source would miss it.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}')
}

/// The text for the inside of a double-quoted YAML scalar.
fn yaml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' ' | '_' | '-' | '.' | ',' | '/' => out.push(c),
            c if c.is_alphanumeric() => out.push(c),
            c => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troublesome_characters_become_entity_codes() {
        let table = [
            ("plain text", "plain text"),
            ("snake_case-id", "snake_case-id"),
            ("_x_", "#95;x#95;"),
            ("a--b", "a#45;#45;b"),
            ("a:b;c", "a#58;b#59;c"),
            ("say \"hi\"", "say #34;hi#34;"),
            ("#1", "#35;1"),
            ("50%% off", "50#37;#37; off"),
            ("<<fork>>", "#60;#60;fork#62;#62;"),
            ("[*]", "[#42;]"),
            ("[[fork]] [a](b)", "#91;#91;fork#93;#93; [a#93;(b)"),
            ("1) one (two)", "1#41; one (two)"),
            ("{x}", "#123;x#125;"),
            ("1. one", "1#46; one"),
            (" a  b ", "#32;a#32;#32;b#32;"),
            ("Direction LR", "Direction#32;LR"),
            ("ﬂ°°34¶ß °ß", "ﬂ#8203;#176;°34¶#8203;#223; °ß"),
            ("größe 日本 🎉", "größe 日本 🎉"),
        ];
        for (text, want) in table {
            assert_eq!(escape(text), want, "{text:?}");
        }
    }

    #[test]
    fn self_loops_of_a_state_are_written_as_one() {
        let edge = |from, to, event: &str| Edge { from, to, event: event.into(), ..Edge::default() };
        let edges = vec![edge(1, 1, "A"), edge(0, 1, "B"), edge(1, 1, "C"), edge(0, 0, "D")];
        let mut out = String::new();
        write_edges(&mut out, &Picture { states: vec![Node::default(); 2], edges, ..Picture::default() });
        assert_eq!(out, "    s0 --> s1 : B\n    s0 --> s0 : D\n    s1 --> s1 : A<br/>C\n");
    }

    #[test]
    fn a_title_is_escaped_for_yaml() {
        assert_eq!(yaml("order-1 \"x\""), "order-1 \\U00000022x\\U00000022");
    }
}
