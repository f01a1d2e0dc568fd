//! Tests over whole pictures: golden text, hostile names, geometry.

use super::layout::{self, Link, Plan, Shape};
use super::{Edge, Node, Picture, scene};

/// A small generator of repeatable numbers (xorshift*, Vigna 2014).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..4 {
            random.below(2);
        }
        random
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(mixed).unwrap() % limit
    }

    fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

/// Bits of text that mean something to one of the formats.
const HOSTILE: &[&str] = &[
    " ",
    "\"",
    "\\",
    "\n",
    "\t",
    "\0",
    "\u{1b}",
    "\u{7f}",
    "\u{feff}",
    "\u{fffe}",
    "\u{202e}",
    "'",
    "`",
    "&",
    "&amp;",
    "<b>",
    "</b>",
    "<!--",
    "]]>",
    "<?x",
    "<![CDATA[",
    "<script>",
    "%%",
    "%%{init: {}}%%",
    ";",
    ":",
    "{",
    "}",
    "[*]",
    "--",
    "-->",
    ":::",
    "#",
    "#34;",
    "<<fork>>",
    "[[join]]",
    "note",
    "end note",
    "end",
    "state",
    "direction LR",
    "classDef a fill:#fff;",
    "graph",
    "node",
    "strict",
    "subgraph",
    "digraph {",
    "\\N",
    "\\l",
    "**b**",
    "1. ",
    "$$",
    "é",
    "日本",
    "🎉",
    "👩‍👩‍👧",
    "ﬂ°°34¶ß",
    "a",
    "Z",
    "0",
    "_",
];

fn hostile_name(random: &mut Random) -> String {
    let length = 1 + random.below(128);
    let mut name = random.one_of(HOSTILE).to_owned();
    for _ in 0..128 {
        let next = random.one_of(HOSTILE);
        if name.len() + next.len() > length {
            break;
        }
        name.push_str(next);
    }
    name
}

fn hostile_names(random: &mut Random) -> Vec<String> {
    (0..random.below(3)).map(|_| hostile_name(random)).collect()
}

fn hostile(seed: u64) -> Picture {
    let random = &mut Random::new(seed);
    let count = random.below(9);
    let states = (0..count)
        .map(|index| Node {
            name: hostile_name(random),
            initial: index == 0 || random.below(9) == 0,
            is_final: random.below(4) == 0,
            current: random.below(4) == 0,
            color: (random.below(2) == 0).then(|| hostile_name(random)),
            entry: hostile_names(random),
            exit: hostile_names(random),
        })
        .collect();
    let edges = (0..random.below(14))
        .map(|_| Edge {
            from: random.below(count + 1),
            to: random.below(count + 1),
            event: hostile_name(random),
            timer: random.below(4) == 0,
            guards: hostile_names(random),
            actions: hostile_names(random),
        })
        .collect();
    Picture { name: hostile_name(random), states, edges }
}

/// A machine with any links between its states.
fn wild(states: usize, edges: usize, seed: u64) -> Picture {
    let random = &mut Random::new(seed);
    let node = |index| Node { name: format!("state {index}"), initial: index == 0, ..Node::default() };
    let states_list = (0..states).map(node).collect();
    let edges = (0..edges).map(|_| edge(random.below(states), random.below(states), "GO")).collect();
    Picture { name: "wild".into(), states: states_list, edges }
}

fn edge(from: usize, to: usize, event: &str) -> Edge {
    Edge { from, to, event: event.into(), ..Edge::default() }
}

fn order() -> Picture {
    let names = ["pending", "confirmed", "preparing", "shipped", "delivered", "cancelled", "returned"];
    let mut states: Vec<Node> = names.map(|name| Node { name: name.into(), ..Node::default() }).into();
    states[0].initial = true;
    states[1].entry = vec!["onConfirmed".into()];
    states[2].current = true;
    states[4].color = Some("green".into());
    states[5].is_final = true;
    states[6].is_final = true;
    let edges = vec![
        edge(0, 1, "CONFIRM"),
        edge(0, 5, "CANCEL"),
        Edge { timer: true, ..edge(0, 5, "30m") },
        edge(1, 2, "PREPARE"),
        Edge { guards: vec!["canShip".into()], actions: vec!["notify".into()], ..edge(2, 3, "SHIP") },
        edge(3, 4, "DELIVER"),
        edge(4, 6, "RETURN"),
        edge(9, 0, "NOWHERE"),
    ];
    Picture { name: "order".into(), states, edges }
}

#[test]
fn an_order_machine_in_dot() {
    let want = r##"digraph "order" {
  graph [label="order", labelloc=t, fontname="Helvetica", rankdir=TB];
  node [shape=box, style="rounded,filled", fillcolor="#f8fafc", color="#475569", fontname="Helvetica", fontcolor="#0f172a"];
  edge [color="#475569", fontname="Helvetica", fontsize=11, fontcolor="#1e293b"];
  s0 [label="pending"];
  start0 [shape=point, width=0.15, fillcolor="#1e293b", label=""];
  start0 -> s0;
  s1 [label="confirmed\nentry / onConfirmed"];
  s2 [label="preparing", fillcolor="#dbeafe", style="rounded,filled,bold", color="#2563eb", penwidth=3, fontname="Helvetica-Bold"];
  s3 [label="shipped"];
  s4 [label="delivered", fillcolor="#008000", fontcolor="#ffffff"];
  s5 [label="cancelled", peripheries=2];
  s6 [label="returned", peripheries=2];
  s0 -> s1 [label="CONFIRM"];
  s0 -> s5 [label="CANCEL"];
  s0 -> s5 [label="⏱ after 30m", style=dashed];
  s1 -> s2 [label="PREPARE"];
  s2 -> s3 [label="SHIP [canShip] / notify"];
  s3 -> s4 [label="DELIVER"];
  s4 -> s6 [label="RETURN"];
}
"##;
    assert_eq!(order().to_dot(), want);
}

#[test]
fn an_order_machine_in_mermaid() {
    let want = r#"---
title: "order"
---
stateDiagram-v2
    state "pending" as s0
    [*] --> s0
    state "confirmed" as s1
    s1 : entry / onConfirmed
    state "preparing" as s2
    state "shipped" as s3
    state "delivered" as s4
    state "cancelled" as s5
    state "returned" as s6
    s0 --> s1 : CONFIRM
    s0 --> s5 : CANCEL
    s0 --> s5 : ⏱ after 30m
    s1 --> s2 : PREPARE
    s2 --> s3 : SHIP [canShip] / notify
    s3 --> s4 : DELIVER
    s4 --> s6 : RETURN
    s5 --> [*]
    s6 --> [*]
    classDef c008000 fill:#008000,stroke:#005400,color:#ffffff
    classDef current fill:#dbeafe,stroke:#2563eb,stroke-width:3px,font-weight:bold
    class s2 current
    class s4 c008000
"#;
    assert_eq!(order().to_mermaid(), want);
}

#[test]
fn an_order_machine_in_svg() {
    let svg = order().to_svg();
    check_markup(&svg);
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
    assert!(svg.contains("role=\"img\""));
    assert!(svg.contains("<title>order</title>"));
    let told =
        "State machine: 7 states, 7 transitions. Initial: pending. Final: cancelled, returned. Current: preparing.";
    assert!(svg.contains(told));
    assert!(svg.contains("<title>CANCEL\nafter 30m</title>"), "parallel transitions are one arrow");
    for name in ["pending", "preparing", "entry / onConfirmed", "[canShip]", "/ notify", "after 30m"] {
        assert!(svg.contains(&format!(">{name}</")), "{name}");
    }
    assert!(!svg.contains("NOWHERE"));
}

#[test]
fn the_main_course_is_straight() {
    let plan = scene::compose(&order()).plan;
    for state in [1, 2, 3, 4, 6] {
        assert!((plan.centres[state].x - plan.centres[0].x).abs() < 0.01, "state {state}");
        assert!(plan.centres[state].y > plan.centres[0].y);
    }
}

#[test]
fn a_timer_alone_is_dashed() {
    let mut picture = wild(2, 0, 1);
    picture.edges.push(edge(0, 1, "GO"));
    assert!(!picture.to_svg().contains("stroke-dasharray"));
    picture.edges.push(Edge { timer: true, ..edge(1, 0, "5s") });
    assert_eq!(picture.to_svg().matches("stroke-dasharray").count(), 1);
}

#[test]
fn an_empty_machine_is_drawn() {
    let picture = Picture { name: "empty".into(), ..Picture::default() };
    check_markup(&picture.to_svg());
    assert!(picture.to_svg().contains("no states"));
    assert!(picture.to_dot().starts_with("digraph \"empty\" {"));
    assert!(picture.to_mermaid().ends_with("stateDiagram-v2\n"));
}

#[test]
fn hostile_names_stay_inside_their_labels() {
    for seed in 0..300 {
        let picture = hostile(seed);
        check_markup(&picture.to_svg());
        check_dot(&picture.to_dot(), &picture);
        check_mermaid(&picture.to_mermaid(), &picture);
    }
}

#[test]
fn the_same_picture_gives_the_same_bytes() {
    for seed in 0..40 {
        let picture = hostile(seed);
        let again = picture.clone();
        assert_eq!(picture.to_svg(), again.to_svg());
        assert_eq!(picture.to_dot(), again.to_dot());
        assert_eq!(picture.to_mermaid(), again.to_mermaid());
    }
    assert_eq!(wild(60, 120, 7).to_svg(), wild(60, 120, 7).to_svg());
}

#[test]
fn nothing_overlaps_in_random_machines() {
    for seed in 0..150 {
        let random = &mut Random::new(seed);
        let states = 1 + random.below(40);
        let edges = random.below(states * 3);
        let picture = wild(states, edges, seed);
        check_geometry(&picture);
        check_markup(&picture.to_svg());
    }
}

#[test]
fn shapes_of_all_kinds_are_laid_out() {
    let mut star = wild(50, 0, 1);
    star.edges.extend((1..50).flat_map(|leaf| [edge(0, leaf, "OUT"), edge(leaf, 0, "IN")]));
    let mut dense = wild(9, 0, 1);
    dense.edges.extend((0..81).map(|pair| edge(pair / 9, pair % 9, "ANY")));
    let mut ring = wild(30, 0, 1);
    ring.edges.extend((0..30).map(|state| edge(state, (state + 1) % 30, "NEXT")));
    let mut starts = wild(6, 9, 3);
    starts.states.iter_mut().for_each(|state| state.initial = true);
    let mut lost = wild(6, 9, 3);
    lost.states.iter_mut().for_each(|state| state.initial = false);
    for picture in [star, dense, ring, starts, lost, wild(80, 0, 1)] {
        check_geometry(&picture);
    }
}

#[test]
fn many_parallel_transitions_are_one_short_label() {
    let mut picture = wild(2, 0, 1);
    picture.edges.extend((0..500).map(|index| edge(0, 1, &format!("E{index}"))));
    let scene = scene::compose(&picture);
    assert_eq!(scene.wires.len(), 1);
    assert_eq!(scene.wires[0].lines.len(), 10);
    assert!(picture.to_svg().contains("… and 491 more"));
}

#[test]
fn a_large_machine_has_no_overlapping_states() {
    let picture = wild(10_000, 20_000, 11);
    let scene = scene::compose(&picture);
    let mut boxes: Vec<Rect> = scene
        .cards
        .iter()
        .zip(&scene.plan.centres)
        .map(|(card, at)| Rect::around(at.x, at.y, card.width, card.height))
        .collect();
    boxes.sort_by(|a, b| a.top.total_cmp(&b.top).then(a.left.total_cmp(&b.left)));
    for (index, one) in boxes.iter().enumerate() {
        for other in boxes[index + 1..].iter().take_while(|other| other.top < one.bottom) {
            assert!(!one.overlaps(other), "{one:?} {other:?}");
        }
    }
}

#[test]
fn a_long_chain_with_far_jumps_keeps_within_its_budget() {
    let mut picture = wild(3000, 3000, 5);
    picture.edges.extend((1..3000).map(|state| edge(state - 1, state, "NEXT")));
    let plan = scene::compose(&picture).plan;
    let stops: usize = plan.routes.iter().map(|route| route.stops.len()).sum();
    assert!(stops < 80_000, "{stops}");
    assert!(plan.routes.iter().all(|route| route.stops.len() >= 2 && route.turns.len() + 1 == route.stops.len()));
}

#[test]
fn odd_sizes_are_laid_out() {
    let flat = Shape::default();
    let links = [Link { from: 0, to: 1, ..Link::default() }, Link { from: 1, to: 0, ..Link::default() }];
    let Plan { centres, .. } = layout::arrange(&[flat, flat], &links, &[]);
    assert_eq!(centres.len(), 2);
    assert!(centres[1].y > centres[0].y);
}

/// An upright rectangle.
#[derive(Debug, Clone, Copy)]
struct Rect {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Rect {
    fn around(x: f64, y: f64, width: f64, height: f64) -> Self {
        Self { left: x - width / 2.0, top: y - height / 2.0, right: x + width / 2.0, bottom: y + height / 2.0 }
    }

    fn overlaps(&self, other: &Self) -> bool {
        let slack = 0.01;
        self.left + slack < other.right
            && other.left + slack < self.right
            && self.top + slack < other.bottom
            && other.top + slack < self.bottom
    }

    /// Whether an upright line meets the rectangle.
    fn meets(&self, x: f64, from: f64, to: f64) -> bool {
        x > self.left && x < self.right && from.min(to) < self.bottom - 0.01 && from.max(to) > self.top + 0.01
    }
}

/// Checks that states and labels are apart, inside the picture, and that no line runs over one.
fn check_geometry(picture: &Picture) {
    let scene = scene::compose(picture);
    let plan = &scene.plan;
    let states = scene.cards.iter().zip(&plan.centres).map(|(c, at)| Rect::around(at.x, at.y, c.width, c.height));
    let wires = scene.wires.iter().zip(&plan.routes);
    let labels = wires.map(|(w, route)| Rect::around(route.label.x, route.label.y, w.width, w.height));
    let loops = scene.loops.iter().map(|wire| {
        let (card, at) = (&scene.cards[wire.from], plan.centres[wire.from]);
        let left = at.x + card.width / 2.0;
        Rect::around(left + (scene::LOOP_ROOM + wire.width) / 2.0, at.y, scene::LOOP_ROOM + wire.width, wire.height)
    });
    let all: Vec<Rect> = states.chain(labels).chain(loops).collect();
    for (index, one) in all.iter().enumerate() {
        assert!(one.left >= 0.0 && one.top >= -0.01 && one.right <= plan.width && one.bottom <= plan.height + 0.01);
        for other in &all[index + 1..] {
            assert!(!one.overlaps(other), "{one:?} {other:?}");
        }
    }
    for (index, route) in plan.routes.iter().enumerate() {
        assert_eq!(route.turns.len() + 1, route.stops.len());
        for stop in &route.stops {
            let own = scene.cards.len() + index;
            for (at, rect) in all.iter().enumerate().filter(|(at, _)| *at != own) {
                assert!(!rect.meets(stop.x, stop.start_y, stop.end_y), "route {index} over {at}: {stop:?} {rect:?}");
            }
        }
        for turn in &route.turns {
            assert!(*turn >= 0.0 && *turn <= plan.height);
        }
    }
}

/// Checks that tags are balanced, attributes quoted, and no character is one XML forbids.
fn check_markup(svg: &str) {
    let mut open: Vec<String> = Vec::new();
    let mut rest = svg.trim_end();
    assert!(rest.chars().all(|c| c == '\n' || !c.is_control()), "a control character in {svg}");
    while let Some(start) = rest.find('<') {
        check_text(&rest[..start]);
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
        } else {
            let name: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect();
            let known = ["svg", "title", "desc", "rect", "text", "tspan", "g", "path", "circle"];
            assert!(known.contains(&name.as_str()), "<{tag}>");
            assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        rest = &rest[end + 1..];
        assert!(!open.is_empty() || rest.is_empty(), "text after the end: {rest}");
    }
    assert!(open.is_empty() && rest.is_empty());
}

/// Checks that text between tags has no bare ampersand or `>`.
fn check_text(text: &str) {
    assert!(!text.contains('>'), "{text}");
    for after in text.split('&').skip(1) {
        let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
        assert!(known.iter().any(|entity| after.starts_with(entity)), "{text}");
    }
}

/// Checks that every line of a DOT file has its quotes closed and is one of ours.
fn check_dot(dot: &str, picture: &Picture) {
    let mut statements = 0;
    for line in dot.lines() {
        let mut quoted = false;
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' if quoted => drop(chars.next()),
                '"' => quoted = !quoted,
                _ => {}
            }
        }
        assert!(!quoted, "{line}");
        let known = ["digraph \"", "  graph [", "  node [", "  edge [", "  s", "}"];
        assert!(known.iter().any(|start| line.starts_with(start)), "{line}");
        statements += usize::from(line.starts_with("  s"));
    }
    let starts = picture.states.iter().filter(|node| node.initial).count();
    assert_eq!(statements, picture.states.len() + 2 * starts + picture.drawn_edges().count());
}

/// Checks that labels of a Mermaid diagram hold nothing but plain signs and entity codes.
fn check_mermaid(diagram: &str, picture: &Picture) {
    let body = diagram.split_once("stateDiagram-v2\n").expect("a diagram has its type").1;
    for line in body.lines().filter(|line| !line.starts_with("    class")) {
        let text = match line.strip_prefix("    state \"") {
            Some(state) => state.split_once("\" as s").expect("a state has an id").0,
            None => line.split_once(" : ").map_or("", |(_, label)| label),
        };
        let text = text.replace("<br/>", " ");
        assert!(!text.contains([':', '"', '{', '}', '<', '>', '%', '*', '`', '\\', '&']), "{line}");
        for (index, piece) in text.split('#').enumerate().skip(1) {
            let digits = piece.split_once(';').map(|(digits, _)| digits);
            assert!(digits.is_some_and(|d| d.parse::<u32>().is_ok()), "code {index} of {line}");
        }
        assert_eq!(text.matches('#').count(), text.matches(';').count(), "{line}");
        assert!(!text.to_ascii_lowercase().contains("direction "), "{line}");
    }
    assert_eq!(body.matches("    state \"").count(), picture.states.len());
}
