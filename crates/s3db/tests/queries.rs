//! Queries beside a naive filter, sort and cut over all records: 10,000 random databases and filters.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this file is a test"
)]

use std::cmp::Ordering;
use std::sync::Arc;

use s3db::store::memory::Memory;
use s3db::{Database, Entropy, OrderBy, Query, Resource, ResourceDefinition, SeededEntropy};
use serde_json::{Map, Value, json};

const CASES: u64 = 10_000;
const THREADS: u64 = 2;

/// A random choice, the same for a seed.
struct Dice(SeededEntropy);

impl Dice {
    fn below(&self, n: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % n as u64).unwrap()
    }

    fn of<'a, T>(&self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    fn one_in(&self, n: usize) -> bool {
        self.below(n) == 0
    }
}

const TEXTS: [&str; 16] = [
    "",
    "a",
    "b",
    "ab",
    "ba",
    "Ä",
    "日本",
    "null",
    "a/b",
    "100%",
    "é",
    "10",
    "2024-01-01",
    "2024-01-01T00:00:00Z",
    "2024-01-01T01:00:00+01:00",
    "2024-01-01T00:00:00.000000001Z",
];
const DATES: [&str; 5] =
    ["2024-01-01", "2024-01-01T00:00:00Z", "2023-12-31T23:30:00-01:00", "2024-02-29", "2023-12-31T23:59:59.999Z"];

fn number(dice: &Dice) -> Value {
    dice.of(&[
        json!(0),
        json!(-1),
        json!(1),
        json!(1.5),
        json!(2),
        json!(10),
        json!(-2.25e-3),
        json!(9_007_199_254_740_991_i64),
    ])
    .clone()
}

fn json_value(dice: &Dice, depth: usize) -> Value {
    match dice.below(if depth == 0 { 5 } else { 7 }) {
        0 => Value::Null,
        1 => json!(dice.one_in(2)),
        2 => number(dice),
        3 | 4 => json!(dice.of(&TEXTS)),
        5 => (0..dice.below(3)).map(|_| json_value(dice, depth - 1)).collect(),
        _ => {
            let members = (0..dice.below(3)).map(|_| ((*dice.of(&["k", "l"])).to_owned(), json_value(dice, depth - 1)));
            Value::Object(members.collect())
        }
    }
}

/// A value for a field, as the definition has it.
fn value(dice: &Dice, path: &str) -> Value {
    match path {
        "s" | "t" | "o.x" | "id" => json!(dice.of(&TEXTS)),
        "n" | "o.y.z" => number(dice),
        "b" => json!(dice.one_in(2)),
        "d" => json!(dice.of(&DATES)),
        "tags" => (0..dice.below(3)).map(|_| json!(dice.of(&["a", "b", "", "Ä", "10"]))).collect(),
        _ => json_value(dice, 3),
    }
}

fn record(dice: &Dice, at: usize) -> Value {
    let mut record =
        json!({ "id": format!("{}{at}", dice.of(&["a", "a0-", "a0.", "a0", "b", "ü-", "x y", "x!", "%"])) });
    for path in ["s", "t", "n", "b", "d", "tags", "j"] {
        if !dice.one_in(4) {
            record[path] = if dice.one_in(6) { Value::Null } else { value(dice, path) };
        }
    }
    if !dice.one_in(3) {
        record["o"] = json!({});
        if !dice.one_in(3) {
            record["o"]["x"] = value(dice, "o.x");
        }
        if !dice.one_in(3) {
            record["o"]["y"] = json!({ "z": number(dice) });
        }
    }
    record
}

fn definition(dice: &Dice) -> ResourceDefinition {
    let mut definition = ResourceDefinition::new("r")
        .behavior(s3db::Behavior::BodyOverflow)
        .attribute("s", "string|optional|nullable")
        .attribute("t", "string|optional|nullable")
        .attribute("n", "number|optional|nullable")
        .attribute("b", "boolean|optional|nullable")
        .attribute("d", "date|optional|nullable")
        .attribute("tags", "array|items:string|optional|nullable")
        .attribute("j", "json|optional|nullable")
        .attribute("o", json!({ "$$type": "object|optional", "x": "string|optional", "y": { "$$type": "object|optional", "z": "number|optional" } }));
    let partitions: [(&str, &[(&str, &str)]); 8] = [
        ("byS", &[("s", "string")]),
        ("byN", &[("n", "number")]),
        ("byBS", &[("b", "boolean"), ("s", "string")]),
        ("byDay", &[("d", "date|maxlength:10")]),
        ("byD", &[("d", "date")]),
        ("byX", &[("o.x", "string"), ("t", "string|maxlength:2")]),
        ("byT", &[("t", "date")]),
        ("byZ", &[("o.y.z", "number"), ("b", "boolean")]),
    ];
    for (name, fields) in partitions {
        if dice.one_in(2) {
            definition = definition.partition(name, fields.iter().copied());
        }
    }
    definition
}

const PATHS: [&str; 15] = ["id", "s", "s", "t", "n", "n", "b", "d", "tags", "o.x", "o.y.z", "o", "j", "j.k", "j.l.k"];

fn filter(dice: &Dice, ids: &[String], depth: usize) -> Value {
    let mut members = Map::new();
    for _ in 0..=dice.below(3) {
        if depth > 0 && dice.one_in(4) {
            let parts: Vec<Value> = (0..=dice.below(2)).map(|_| filter(dice, ids, depth - 1)).collect();
            members.insert((*dice.of(&["$and", "$or", "$nor"])).to_owned(), json!(parts));
        } else {
            let path = *dice.of(&[PATHS.as_slice(), &["tags.0", "j.0", "j.0.k", "j.k.1"]].concat());
            members.insert(path.to_owned(), condition(dice, path, ids));
        }
    }
    Value::Object(members)
}

fn operand(dice: &Dice, path: &str, ids: &[String]) -> Value {
    match path {
        _ if dice.one_in(8) => Value::Null,
        _ if dice.one_in(8) => json_value(dice, 2),
        "id" if !ids.is_empty() => json!(dice.of(ids)),
        "tags" | "tags.0" => json!(dice.of(&["a", "b", "Ä"])),
        _ => value(dice, path),
    }
}

fn condition(dice: &Dice, path: &str, ids: &[String]) -> Value {
    if dice.one_in(3) {
        return operand(dice, path, ids);
    }
    let mut operators = Map::new();
    for _ in 0..=dice.below(2) {
        let name = *dice.of(&[
            "$eq",
            "$eq",
            "$ne",
            "$gt",
            "$gte",
            "$lt",
            "$lte",
            "$in",
            "$in",
            "$nin",
            "$exists",
            "$regex",
            "$contains",
            "$startsWith",
            "$not",
        ]);
        let operand = match name {
            "$in" | "$nin" => (0..dice.below(4)).map(|_| operand(dice, path, ids)).collect(),
            "$exists" => json!(dice.one_in(2)),
            "$regex" => json!(dice.of(&["^a", "b$", "[0-9]", "Ä|日", "^$", "(?i)^A"])),
            "$startsWith" => json!(dice.of(&["", "a", "日", "2024"])),
            "$gt" | "$gte" | "$lt" | "$lte" => match operand(dice, path, ids) {
                Value::Array(_) | Value::Object(_) => json!(1),
                scalar => scalar,
            },
            "$not" => json!({ *dice.of(&["$eq", "$ne"]): operand(dice, path, ids) }),
            _ => operand(dice, path, ids),
        };
        operators.insert(name.to_owned(), operand);
    }
    Value::Object(operators)
}

/// The naive side: no code of the library.
mod naive {
    use super::*;

    /// Nanoseconds since 1970.
    pub(super) fn instant(text: &str, is_date: bool) -> Option<i128> {
        let digits = |from: usize, to: usize| {
            text.get(from..to).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?.parse::<i64>().ok()
        };
        if !text.is_ascii() || text.len() < 10 || &text[4..5] != "-" || &text[7..8] != "-" {
            return None;
        }
        let (y, m, d) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
        let (y2, m2) = if m <= 2 { (y - 1, m + 9) } else { (y, m - 3) };
        let days =
            365 * y2 + y2.div_euclid(4) - y2.div_euclid(100) + y2.div_euclid(400) + (153 * m2 + 2) / 5 + d - 719_469;
        let midnight = i128::from(days) * 86_400_000_000_000;
        if text.len() == 10 {
            return is_date.then_some(midnight);
        }
        let seconds = digits(11, 13)? * 3600 + digits(14, 16)? * 60 + digits(17, 19)?;
        let zone = text[19..].find(['Z', '+', '-'])? + 19;
        let fraction = format!("{:0<9}", text[19..zone].trim_start_matches('.'));
        let offset = match &text[zone..zone + 1] {
            "Z" => 0,
            sign => {
                (digits(zone + 1, zone + 3)? * 60 + digits(zone + 4, zone + 6)?) * if sign == "+" { 60 } else { -60 }
            }
        };
        Some(midnight + i128::from(seconds - offset) * 1_000_000_000 + fraction.parse::<i128>().ok()?)
    }

    fn candidates(value: Option<&Value>, segments: &[&str]) -> Vec<Option<Value>> {
        let Some((head, rest)) = segments.split_first() else { return vec![value.cloned()] };
        match value {
            Some(Value::Object(members)) => candidates(members.get(*head), rest),
            Some(Value::Array(items)) => match head.parse::<usize>() {
                Ok(at) => candidates(items.get(at), rest),
                Err(_) => items.iter().filter(|i| i.is_object()).flat_map(|i| candidates(Some(i), segments)).collect(),
            },
            _ => vec![None],
        }
    }

    fn order(a: &Value, b: &Value, is_date: bool) -> Option<Ordering> {
        match (a, b) {
            (Value::Number(a), Value::Number(b)) => a.as_f64().unwrap().partial_cmp(&b.as_f64().unwrap()),
            (Value::String(a), Value::String(b)) => Some(match (instant(a, is_date), instant(b, is_date)) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ => a.cmp(b),
            }),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::Null, Value::Null) => Some(Ordering::Equal),
            _ => None,
        }
    }

    fn deep_equal(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
            (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| deep_equal(a, b)),
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| deep_equal(v, w)))
            }
            _ => a == b,
        }
    }

    fn equal(a: &Value, b: &Value, is_date: bool) -> bool {
        order(a, b, is_date).map_or_else(|| deep_equal(a, b), Ordering::is_eq)
    }

    fn test(name: &str, operand: &Value, found: &[Option<Value>], is_date: bool) -> bool {
        let mut each: Vec<Value> = Vec::new();
        for value in found {
            each.push(value.clone().unwrap_or(Value::Null));
            if let Some(Value::Array(items)) = value {
                each.extend(items.iter().cloned());
            }
        }
        let compares =
            |wanted: &[Ordering]| each.iter().any(|v| order(v, operand, is_date).is_some_and(|o| wanted.contains(&o)));
        let texts = || each.iter().filter_map(Value::as_str);
        match name {
            "$eq" => each.iter().any(|v| equal(v, operand, is_date)),
            "$ne" => !test("$eq", operand, found, is_date),
            "$gt" => compares(&[Ordering::Greater]),
            "$gte" => compares(&[Ordering::Greater, Ordering::Equal]),
            "$lt" => compares(&[Ordering::Less]),
            "$lte" => compares(&[Ordering::Less, Ordering::Equal]),
            "$in" => operand.as_array().unwrap().iter().any(|o| test("$eq", o, found, is_date)),
            "$nin" => !test("$in", operand, found, is_date),
            "$exists" => json!(found.iter().any(Option::is_some)) == *operand,
            "$startsWith" => texts().any(|t| t.starts_with(operand.as_str().unwrap())),
            "$contains" => {
                let in_list =
                    |v: &Value| v.as_array().is_some_and(|items| items.iter().any(|i| equal(i, operand, is_date)));
                operand.as_str().is_some_and(|o| texts().any(|t| t.contains(o))) || found.iter().flatten().any(in_list)
            }
            "$regex" => texts().any(|t| match operand.as_str().unwrap() {
                "^a" => t.starts_with('a'),
                "b$" => t.ends_with('b'),
                "[0-9]" => t.bytes().any(|b| b.is_ascii_digit()),
                "Ä|日" => t.contains('Ä') || t.contains('日'),
                "^$" => t.is_empty(),
                "(?i)^A" => t.to_lowercase().starts_with('a'),
                other => panic!("{other}"),
            }),
            "$not" => !operand.as_object().unwrap().iter().all(|(n, o)| test(n, o, found, is_date)),
            other => panic!("{other}"),
        }
    }

    pub(super) fn takes(filter: &Value, row: &Value) -> bool {
        filter.as_object().unwrap().iter().all(|(name, condition)| {
            let parts = || condition.as_array().unwrap().iter();
            match name.as_str() {
                "$and" => parts().all(|f| takes(f, row)),
                "$or" => parts().any(|f| takes(f, row)),
                "$nor" => !parts().any(|f| takes(f, row)),
                path => {
                    let segments: Vec<&str> = path.split('.').collect();
                    let mut found = candidates(Some(row), &segments);
                    if found.is_empty() {
                        found.push(None);
                    }
                    let is_date = path == "d";
                    match condition.as_object().filter(|o| o.keys().any(|k| k.starts_with('$'))) {
                        Some(operators) => operators.iter().all(|(n, o)| test(n, o, &found, is_date)),
                        None => test("$eq", condition, &found, is_date),
                    }
                }
            }
        })
    }

    fn class(value: &Value, is_date: bool) -> u8 {
        match value {
            Value::Null => 0,
            Value::Bool(_) => 1,
            Value::Number(_) => 2,
            Value::String(text) if instant(text, is_date).is_some() => 3,
            Value::String(_) => 4,
            _ => 5,
        }
    }

    pub(super) fn by(orders: &[OrderBy], a: &Value, b: &Value) -> Ordering {
        for by in orders {
            let at =
                |row: &Value| row.pointer(&format!("/{}", by.field.replace('.', "/"))).cloned().unwrap_or_default();
            let (x, y, is_date) = (at(a), at(b), by.field == "d");
            let plain_id = by.field == "id";
            let found = if plain_id {
                x.as_str().cmp(&y.as_str())
            } else {
                class(&x, is_date)
                    .cmp(&class(&y, is_date))
                    .then_with(|| order(&x, &y, is_date).unwrap_or(Ordering::Equal))
            };
            let found = if by.descending { found.reverse() } else { found };
            if found.is_ne() {
                return found;
            }
        }
        a["id"].as_str().cmp(&b["id"].as_str())
    }
}

fn orders(dice: &Dice) -> Vec<OrderBy> {
    let order = || OrderBy {
        field: (*dice.of(&["id", "s", "n", "d", "o.x", "t", "tags", "b"])).to_owned(),
        descending: dice.one_in(2),
    };
    (0..dice.below(3)).map(|_| order()).collect()
}

async fn all_pages(r: &Resource, query: &Query, size: usize) -> Vec<Value> {
    let (mut rows, mut query) = (Vec::new(), query.clone().limit(size));
    for _ in 0..100 {
        let page = r.list(&query).await.unwrap();
        assert!(page.items.len() <= size);
        rows.extend(page.items.iter().map(s3db::Record::to_json));
        match page.next {
            Some(cursor) => query = query.offset(0).after(cursor),
            None => return rows,
        }
    }
    panic!("pages without end");
}

async fn case(seed: u64) {
    let dice = Dice(SeededEntropy::new(seed));
    let builder = Database::builder("memory://queries").store(Arc::new(Memory::new()));
    let db = builder.shared(dice.one_in(8)).entropy(Arc::new(SeededEntropy::new(seed))).connect().await.unwrap();
    let r = db.create_resource(definition(&dice)).await.unwrap();
    let mut rows: Vec<Value> = Vec::new();
    for at in 0..dice.below(9) {
        rows.push(r.insert(record(&dice, at)).await.unwrap().to_json());
    }
    if !rows.is_empty() && dice.one_in(3) {
        // Moves, and what they leave.
        let (at, patch) = (dice.below(rows.len()), json!({ "s": value(&dice, "s"), "b": dice.one_in(2) }));
        rows[at] = r.update(rows[at]["id"].as_str().unwrap(), patch).await.unwrap().to_json();
    }
    rows.sort_by(|a, b| naive::by(&[], a, b));
    let ids: Vec<String> = rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    for _ in 0..2 {
        let filter = filter(&dice, &ids, 2);
        let order_by = orders(&dice);
        let mut wanted: Vec<Value> = rows.iter().filter(|row| naive::takes(&filter, row)).cloned().collect();
        wanted.sort_by(|a, b| naive::by(&order_by, a, b));
        let what = || format!("seed {seed}: {filter} by {order_by:?} over {}", json!(rows));
        let query = Query { order_by: order_by.clone(), ..Query::filter(filter.clone()) };

        let found = r.list(&query).await.unwrap_or_else(|e| panic!("{e}: {}", what()));
        let found: Vec<Value> = found.items.iter().map(s3db::Record::to_json).collect();
        assert_eq!(found, wanted, "{}", what());
        assert_eq!(r.count_where(&query).await.unwrap(), wanted.len(), "{}", what());
        let (offset, size) = (dice.below(3), 1 + dice.below(3));
        let paged = all_pages(&r, &query.clone().offset(offset), size).await;
        assert_eq!(paged, wanted[offset.min(wanted.len())..], "{offset} {size} {}", what());
        let ids = r.list_ids(&query.exact(dice.one_in(2))).await.unwrap().items;
        let wanted_ids: Vec<&str> = wanted.iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert_eq!(ids, wanted_ids, "{}", what());
    }
}

#[test]
fn queries_find_what_a_naive_filter_finds() {
    let threads = (0..THREADS).map(|thread| {
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            (0..CASES / THREADS).for_each(|n| runtime.block_on(case(n * THREADS + thread)));
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
}

/// What keys answer alone is marked, and `exact` looks at the rows.
#[tokio::test]
async fn answers_from_keys_are_marked() {
    let memory = Arc::new(Memory::new());
    let db = Database::builder("memory://queries").store(memory.clone()).connect().await.unwrap();
    let definition = ResourceDefinition::new("r").attribute("s", "string").attribute("n", "number|optional");
    let r = db.create_resource(definition.partition("bySN", [("s", "string"), ("n", "number")])).await.unwrap();
    for n in 0..3 {
        r.insert(json!({"id": format!("a{n}"), "s": "x", "n": n})).await.unwrap();
    }
    // What a crash leaves: a key of a row that has moved.
    let key = memory.snapshot().into_keys().find(|key| key.contains("/bySN/n=1/s=x/a1!")).unwrap();
    r.update("a1", json!({"s": "y"})).await.unwrap();
    let none = s3db::store::Precondition::None;
    s3db::store::Store::put(&*memory, &key, Default::default(), none).await.unwrap();

    let query = Query::filter(json!({"s": "x", "n": {"$in": [0, 1]}})).fields(["id", "n"]);
    let from_keys = r.list(&query).await.unwrap();
    let rows: Vec<Value> = from_keys.items.iter().map(s3db::Record::to_json).collect();
    assert_eq!((rows, from_keys.exact), (vec![json!({"id": "a0", "n": 0}), json!({"id": "a1", "n": 1})], false));
    assert_eq!(from_keys.items[0].meta.rev, "", "nothing of the row was read");
    assert_eq!(r.count_where(&query).await.unwrap(), 2);
    let read = r.list(&query.clone().exact(true)).await.unwrap();
    assert_eq!((read.items.len(), read.exact, read.items[0].meta.rev.is_empty()), (1, true, false));
    assert_eq!(r.count_where(&query.clone().exact(true)).await.unwrap(), 1);
    // Rows are never returned for a stale key.
    assert_eq!(r.list(&Query::filter(json!({"s": "x", "n": 1}))).await.unwrap().items, []);
    // Ids of the whole resource are exact; one that asks for what it knows of a row reads it.
    let ids = r.list(&Query::all().fields(["id"])).await.unwrap();
    assert_eq!((ids.items.len(), ids.exact), (3, true));
    assert!(!r.list(&Query::all().fields(["id"]).exact(true)).await.unwrap().items[0].meta.rev.is_empty());
    let explained = r.explain(&query).await.unwrap();
    assert_eq!((explained.answer, explained.exact, explained.requests.get), ("keys", false, 0));
}

#[tokio::test]
async fn what_is_wrong_with_a_query_is_named() {
    let db = Database::builder("memory://queries").store(Arc::new(Memory::new())).connect().await.unwrap();
    let r = db
        .create_resource(ResourceDefinition::new("r").attribute("age", "number").attribute("s", "string"))
        .await
        .unwrap();
    let mut deep = json!({ "age": 1 });
    for _ in 0..40 {
        deep = json!({ "$and": [deep] });
    }
    for (filter, part) in [
        (json!([]), "where: [] is no JSON object"),
        (json!({"agee": 1}), "where.agee: resource 'r' has no field 'agee'"),
        (json!({"$gt": 1}), "where.$gt: it belongs to a field"),
        (json!({"age": {"$gtt": 1}}), "'$gtt' is no operator"),
        (json!({"age": {"$gt": 1, "lt": 2}}), "operators and values are mixed"),
        (json!({"age": {"$gt": {}}}), "it takes a number, a text, a boolean or null"),
        (json!({"age": {"$in": 1}}), "it takes a list of values"),
        (json!({"$or": []}), "where.$or: it takes a list of filters"),
        (json!({"$or": [{"age": 1}, 2]}), "where.$or[1]: 2 is no JSON object"),
        (json!({"s": {"$regex": "("}}), "not a regular expression"),
        (json!({"s": {"$options": "i"}}), "it goes with $regex"),
        (json!({"s": {"$regex": "a", "$options": "q"}}), "no options"),
        (json!({"s": {"$exists": 1}}), "it takes true or false"),
        (json!({"age": {"$gt": "$now-7x"}}), "is no instant"),
        (json!({"age": {"$not": 5}}), "it takes operators"),
        (deep, "nested deeper than 32 levels"),
    ] {
        let error = r.list(&Query::filter(filter.clone())).await.unwrap_err();
        assert_eq!(error.kind(), s3db::ErrorKind::Invalid, "{filter}");
        assert!(error.to_string().contains(part), "{filter}: {error}");
        assert!(error.guidance().is_some(), "{filter}");
    }
    // A pattern that never ends is an error of the query, not a row left out.
    r.insert(json!({"age": 1, "s": format!("{}!", "a".repeat(60))})).await.unwrap();
    let endless = Query::filter(json!({"s": {"$regex": "^(a|aa)+(?!x)$"}}));
    let error = r.list(&endless).await.unwrap_err();
    assert!(error.to_string().contains("too many steps"), "{error}");
    let limited = Query::filter(json!({"age": 1})).limit(1);
    assert!(r.delete_where(&limited, &|_| ()).await.unwrap_err().to_string().contains("limit"));
    assert_eq!(r.count().await.unwrap(), 1);
}

/// A row that another writer changes while rows are deleted by filter is compared again: what was
/// acknowledged to be kept is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_meanwhile_is_compared_again() {
    const ROWS: usize = 300;
    for _ in 0..5 {
        let memory = Arc::new(Memory::new());
        let db = Database::builder("memory://queries").store(memory.clone()).connect().await.unwrap();
        let definition = ResourceDefinition::new("r").attribute("s", "string").partition("byS", [("s", "string")]);
        let r = db.create_resource(definition).await.unwrap();
        for n in 0..ROWS {
            r.insert(json!({"id": format!("r{n:03}"), "s": "old"})).await.unwrap();
        }
        let keeper = Database::builder("memory://queries").store(memory).connect().await.unwrap();
        let keeping = tokio::spawn(async move {
            let r = keeper.resource("r").await.unwrap();
            let mut kept = Vec::new();
            for n in (0..ROWS).rev() {
                match r.update(&format!("r{n:03}"), json!({"s": "kept"})).await {
                    Ok(row) => kept.push(row.id),
                    Err(error) => assert_eq!(error.kind(), s3db::ErrorKind::NotFound),
                }
            }
            kept
        });
        let report = r.delete_where(&Query::filter(json!({"s": "old"})), &|_| ()).await.unwrap();
        let mut kept = keeping.await.unwrap();
        kept.sort();
        assert_eq!(report.failures, 0);
        assert_eq!(r.list_ids(&Query::all()).await.unwrap().items, kept);
        assert_eq!(report.changed + kept.len(), ROWS);
        assert!(db.doctor(false, &|_, _| ()).await.unwrap().is_healthy());
    }
}
