//! Random definitions and records from a seed, for round-trip tests and for the peer check.
//!
//! Included by path where it is needed; no crate of its own.
#![allow(dead_code, missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test data is made here")]

use serde_json::{Map, Value, json};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

pub const BEHAVIORS: [&str; 5] = ["user-managed", "enforce-limits", "truncate-data", "body-overflow", "body-only"];

/// A rule as people write it, for each way of storing a value.
const RULES: [&str; 24] = [
    "string|optional",
    "string|optional|max:5000",
    "number|optional",
    "integer|optional",
    "number|decimal|optional",
    "boolean|optional",
    "json|optional",
    "object|optional",
    "secret|optional",
    "secretNumber|optional",
    "array|items:string|optional",
    "array|items:number|optional",
    "array|items:number|integer|optional",
    "array|optional",
    "array|items:object|optional",
    "any|optional",
    "email|optional",
    "url|optional",
    "uuid|optional",
    "date|optional",
    "enum:red,green,blue|optional",
    "string[]|optional",
    "ip|optional",
    "string|optional|default:a number of words",
];

/// Attributes in the order that the map is made from.
pub fn attributes(random: &mut Random, most: usize) -> Map<String, Value> {
    let mut attributes = Map::new();
    let count = 1 + random.below(most);
    for at in 0..count {
        attributes.insert(name(random, at), definition(random, 0));
    }
    attributes
}

fn name(random: &mut Random, at: usize) -> String {
    const NAMES: [&str; 8] = ["name", "Title", "größe", "x y", "a", "camelCase", "名前", "7"];
    if random.chance(70) { format!("field{at}") } else { format!("{}{at}", random.pick(&NAMES)) }
}

fn definition(random: &mut Random, depth: usize) -> Value {
    if depth < 2 && random.chance(15) {
        let mut children = Map::new();
        if random.chance(60) {
            children.insert("$$type".into(), json!(if random.chance(50) { "object" } else { "object|optional" }));
        }
        for at in 0..1 + random.below(3) {
            children.insert(name(random, at), definition(random, depth + 1));
        }
        return Value::Object(children);
    }
    json!(random.pick(&RULES))
}

/// A record that the attributes admit. With `exotic`, also values that 9.2.0 itself cannot hold.
pub fn record(random: &mut Random, attributes: &Map<String, Value>, exotic: bool) -> Map<String, Value> {
    let mut record = Map::new();
    for (name, definition) in attributes.iter().filter(|(n, _)| !n.starts_with("$$")) {
        if random.chance(20) {
            continue;
        }
        if let Some(value) = value(random, definition, exotic) {
            record.insert(name.clone(), value);
        }
    }
    record
}

fn value(random: &mut Random, definition: &Value, exotic: bool) -> Option<Value> {
    let rule = match definition {
        Value::Object(children) => {
            let inner = record(random, children, exotic);
            return (!inner.is_empty() || exotic).then_some(Value::Object(inner));
        }
        Value::String(rule) => rule.as_str(),
        _ => return None,
    };
    if exotic && random.chance(5) {
        return Some(Value::Null);
    }
    Some(match rule.split('|').next().unwrap_or_default() {
        "number" | "secretNumber" | "integer" => number(random, rule.contains("integer"), exotic),
        "boolean" => json!(random.chance(50)),
        "json" => free(random, 0, exotic),
        "object" => json!({ text(random, exotic): free(random, 1, exotic) }),
        "array" if rule.contains("items:string") => strings(random, exotic),
        "array" if rule.contains("items:number") => {
            let integer = rule.contains("integer");
            (0..random.below(5)).map(|_| number(random, integer, exotic)).collect()
        }
        "array" if rule.contains("items:object") => {
            (0..random.below(4)).map(|_| json!({"k": free(random, 1, exotic)})).collect()
        }
        "array" => (0..random.below(4)).map(|_| free(random, 1, exotic)).collect(),
        "string[]" => strings(random, exotic),
        "any" if exotic => free(random, 0, exotic),
        "any" => json!(plain(random)),
        "email" => json!(format!("{}@example.org", random.below(999))),
        "url" => json!(format!("https://example.org/{}?q=ü", random.below(999))),
        "uuid" => json!("9b2c1a52-6a6e-4c0e-8d3e-0123456789ab"),
        "date" => json!(*random.pick(&["2026-11-22", "2026-11-22T21:00:00.000Z", "2024-02-29T23:59:59+02:00"])),
        "enum:red,green,blue" => json!(*random.pick(&["red", "green", "blue"])),
        "ip" => json!(*random.pick(&["127.0.0.1", "::1"])),
        "secret" => json!(text(random, true)),
        _ => json!(text(random, exotic)),
    })
}

fn strings(random: &mut Random, exotic: bool) -> Value {
    let items: Vec<String> = (0..random.below(5)).map(|_| text(random, exotic)).collect();
    if !exotic && items.len() == 1 && items[0].is_empty() {
        return json!([]);
    }
    json!(items)
}

fn number(random: &mut Random, integer: bool, exotic: bool) -> Value {
    let whole = match random.below(6) {
        0 => random.below(100) as i64,
        1 => -(random.below(100_000) as i64),
        2 => 9_007_199_254_740_991,
        3 => 500_000,
        _ => random.next() as i64 >> (16 + random.below(40)),
    };
    let whole = whole.clamp(-9_007_199_254_740_991, 9_007_199_254_740_991);
    match random.below(4) {
        _ if integer => json!(whole),
        0 => json!((whole % 1_000_000) as f64 + random.below(100) as f64 / 100.0),
        1 if exotic => json!(*random.pick(&[1e-7, 5e-324, 1.5e-9, 0.1, -0.001, 1.0 / 3.0])),
        1 => json!(*random.pick(&[0.1, -0.001, 19.99, 1.5e-7])),
        _ => json!(whole),
    }
}

fn plain(random: &mut Random) -> String {
    (0..1 + random.below(12)).map(|_| char::from(b'a' + random.below(26) as u8)).collect()
}

/// Texts with everything that headers, escapes and guesses stumble over.
pub fn text(random: &mut Random, exotic: bool) -> String {
    const ODD: [&str; 22] = [
        "",
        "null",
        "undefined",
        "u:abc",
        "b:aGk=",
        "b:hello",
        "0400",
        "5ban",
        "Aces",
        " a ",
        "\ta",
        "é",
        "日本語",
        "😀 smile",
        "a|b\\c",
        "|",
        "\\",
        "{\"a\":1}",
        "[1]",
        "line\nbreak",
        "true",
        "[object Object]",
    ];
    match random.below(10) {
        0..=3 => plain(random),
        4 => (*random.pick(&ODD)).to_owned(),
        5 => format!("{}{}", random.pick(&ODD), random.pick(&ODD)),
        6 => "ü".repeat(random.below(40)),
        7 if exotic || random.chance(30) => plain(random).repeat(random.below(300)),
        8 => (0..random.below(20)).map(|_| char::from_u32(random.below(0x2ff) as u32).unwrap_or('x')).collect(),
        _ => format!("{} {}", plain(random), plain(random)),
    }
}

fn free(random: &mut Random, depth: usize, exotic: bool) -> Value {
    match random.below(if depth > 2 { 4 } else { 6 }) {
        0 => json!(random.below(1000)),
        1 => json!(text(random, exotic)),
        2 => json!(random.chance(50)),
        3 => Value::Null,
        4 => (0..random.below(4)).map(|_| free(random, depth + 1, exotic)).collect(),
        _ => {
            let members = (0..random.below(4)).map(|_| (text(random, exotic), free(random, depth + 1, exotic)));
            Value::Object(members.collect())
        }
    }
}
