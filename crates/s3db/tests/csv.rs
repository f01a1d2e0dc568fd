//! CSV: every record comes back equal, whatever its texts look like.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "this file is a test")]

use std::sync::Arc;

use proptest::prelude::*;
use s3db::store::memory::Memory;
use s3db::{CsvColumns, Database, Record, ResourceDefinition};
use serde_json::{Map, Value, json};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{0,4}",
        any::<String>(),
        prop::sample::select(vec![
            "",
            "null",
            "\"",
            "\"a\"",
            "true",
            "TRUE",
            "1",
            "[1]",
            "{}",
            "a,b\n\"c\"",
            " x ",
            "\u{feff}"
        ])
        .prop_map(str::to_owned),
    ]
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1e6..1e6).prop_map(|n: f64| json!(n)),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z.]{1,3}", inner, 0..3)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// Attributes as the definition has them, and as it does not.
fn attributes() -> impl Strategy<Value = Map<String, Value>> {
    let nested = prop_oneof![
        Just(json!({})),
        Just(Value::Null),
        (text(), any::<i16>()).prop_map(|(x, z)| json!({ "x": x, "y": { "z": z } })),
        (text(), json_value()).prop_map(|(x, more)| json!({ "x": x, "more": more })),
    ];
    let members = (
        prop::option::of(text().prop_map(Value::from)),
        prop::option::of(json_value()),
        prop::option::of(json_value()),
        prop::option::of(nested),
        prop::option::of(json_value()),
    );
    members.prop_map(|(s, n, j, o, old)| {
        let given = [("s", s), ("n", n), ("j", j), ("o", o), ("old", old)];
        given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    })
}

async fn database() -> Database {
    Database::builder("memory://csv").store(Arc::new(Memory::new())).connect().await.unwrap()
}

fn columns() -> (CsvColumns, Record) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let db = database().await;
        let nested = json!({ "$$type": "object|optional", "x": "string|optional", "y": { "$$type": "object|optional", "z": "number|optional" } });
        let definition = ResourceDefinition::new("r")
            .attribute("s", "string|optional")
            .attribute("n", "number|optional")
            .attribute("j", "json|optional")
            .attribute("o", nested);
        let r = db.create_resource(definition).await.unwrap();
        let record = r.insert(json!({ "id": "a" })).await.unwrap();
        (CsvColumns::of(&r.catalog_entry().await.unwrap(), true), record)
    })
}

fn through_a_file(columns: &CsvColumns, record: &Record) -> Value {
    let mut file = csv::Writer::from_writer(Vec::new());
    file.write_record(columns.names()).unwrap();
    file.write_record(columns.row(record)).unwrap();
    let bytes = file.into_inner().unwrap();
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let cells: Vec<String> = reader.records().next().unwrap().unwrap().iter().map(str::to_owned).collect();
    columns.record(&cells).unwrap()
}

#[test]
fn records_come_back_equal() {
    let (columns, record) = columns();
    assert_eq!(columns.names(), ["id", "s", "n", "j", "o.x", "o.y.z", "_json"]);
    proptest!(|(attributes in attributes(), id in "[a-z\",0-9]{1,5}")| {
        let record = Record { id, attributes, ..record.clone() };
        let back = through_a_file(&columns, &record);
        prop_assert!(s3db_format::value::same_json(&back, &record.to_json()), "{back} from {}", record.to_json());
    });
}

#[test]
fn cells_of_any_kind_are_taken_or_refused() {
    let (columns, _) = columns();
    proptest!(|(cells in prop::collection::vec(text(), 0..9))| {
        let taken = columns.record(&cells);
        prop_assert!(taken.is_err() || cells.len() == columns.names().len());
    });
}

#[tokio::test]
async fn headings_are_checked() {
    let db = database().await;
    let nested = json!({ "$$type": "object|optional", "city": "string" });
    let definition = ResourceDefinition::new("r").attribute("name", "string").attribute("address", nested);
    let r = db.create_resource(definition).await.unwrap();
    let entry = r.catalog_entry().await.unwrap();
    let heading = |names: &[&str]| CsvColumns::from_heading(&entry, names.iter().copied());
    assert!(heading(&["name", "id", "address.city"]).is_ok());
    let whole = heading(&["id", "name", "address"]).unwrap();
    assert_eq!(
        whole.record(&["a", "", "{\"city\":\"Recife\"}"]),
        Ok(json!({"id": "a", "address": {"city": "Recife"}}))
    );
    let wrong = heading(&["nane"]).unwrap_err();
    assert!(wrong.guidance().unwrap().contains("did you mean 'name'"), "{wrong}: {:?}", wrong.guidance());
    assert!(heading(&["name", "name"]).unwrap_err().to_string().contains("twice"));
    assert!(heading(&["id;name"]).unwrap_err().guidance().unwrap().contains("commas"));
    assert!(whole.record(&["a"]).unwrap_err().contains("1 cells"));
}
