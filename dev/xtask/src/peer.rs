//! Random resources and records as our writer lays them out, a JSON line per resource.

#![expect(clippy::indexing_slicing, reason = "the JSON that is indexed is our own")]

#[path = "../../generator/mod.rs"]
mod generator;

use std::io::Write as _;

use base64::Engine as _;
use generator::Random;
use s3db::store::memory::Memory;
use s3db::{Behavior, Database, ResourceDefinition, SeededEntropy};
use serde_json::{Map, Value, json};
use std::sync::Arc;

const RECORDS: usize = 4;
const PASSPHRASE: &str = "peer ✓";

/// Writes the dumps of seeds `0..seeds` to stdout.
pub(crate) fn dump(seeds: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().map_err(|e| e.to_string())?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for seed in 0..seeds {
        let line = runtime.block_on(one(seed))?;
        writeln!(out, "{line}").map_err(|e| e.to_string())?;
    }
    out.flush().map_err(|e| e.to_string())
}

/// Writes a dump per resource of the golden buckets in `folder`: its definition, and what s3db.js was
/// given, as our writer lays it out.
pub(crate) fn dump_golden(folder: &str) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().map_err(|e| e.to_string())?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut paths: Vec<_> = std::fs::read_dir(folder).map_err(|e| e.to_string())?.flatten().map(|e| e.path()).collect();
    paths.sort();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
        // One bucket holds a lone surrogate, which no Rust text can.
        let text = text.replace("\\ud800\"", "\"").replace("\\ud800", "");
        let bucket: Value = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        for line in runtime.block_on(golden(&path, &bucket))? {
            writeln!(out, "{line}").map_err(|e| e.to_string())?;
        }
    }
    out.flush().map_err(|e| e.to_string())
}

async fn golden(path: &std::path::Path, bucket: &Value) -> Result<Vec<Value>, String> {
    let url = format!("file:{}", path.display());
    let source = Database::builder(url).create(false).connect().await.map_err(|e| e.to_string())?;
    let mut lines = Vec::new();
    for (name, rows) in bucket["written"].as_object().into_iter().flatten() {
        let definition = source.resource(name).await.map_err(|e| e.to_string())?.definition().await;
        let definition = definition.map_err(|e| e.to_string())?;
        let memory = Arc::new(Memory::new());
        let builder = Database::builder("memory://").store(Arc::clone(&memory) as Arc<_>).passphrase(PASSPHRASE);
        let db = builder.connect().await.map_err(|e| e.to_string())?;
        let resource = db.create_resource(definition).await.map_err(|e| e.to_string())?;
        let mut dumped = Vec::new();
        for (id, row) in rows.as_object().into_iter().flatten() {
            let Some(mut record) =
                row.as_object().cloned().filter(|r| !Value::Object(r.clone()).to_string().contains("$js"))
            else {
                continue;
            };
            record.insert("id".into(), json!(id));
            // What the rules refuse here was accepted by s3db.js's laxer checks.
            let Ok(stored) = resource.insert(Value::Object(record)).await else { continue };
            dumped.push(self::row(&memory, &stored.id, &stored.attributes, name)?);
        }
        let catalog: Value = serde_json::from_slice(&memory.snapshot()["s3db.json"].body).map_err(|e| e.to_string())?;
        let seed = format!("{} {name}", path.file_name().unwrap_or_default().to_string_lossy());
        lines.push(
            json!({ "seed": seed, "passphrase": PASSPHRASE, "entry": catalog["resources"][name], "rows": dumped }),
        );
    }
    Ok(lines)
}

async fn one(seed: u64) -> Result<Value, String> {
    let mut random = Random(seed);
    let behavior = Behavior::ALL[random.below(5)];
    let mut definition = ResourceDefinition::new("r").behavior(behavior);
    definition.attributes = generator::attributes(&mut random, if behavior.reads_body() { 50 } else { 9 });
    let memory = Arc::new(Memory::new());
    let entropy = Arc::new(SeededEntropy::new(seed));
    let builder =
        Database::builder("memory://").store(Arc::clone(&memory) as Arc<_>).entropy(entropy).passphrase(PASSPHRASE);
    let db = builder.connect().await.map_err(|e| e.to_string())?;
    if definition.version().is_err() {
        return Ok(json!({ "seed": seed, "passphrase": PASSPHRASE, "entry": empty_entry(), "rows": [] }));
    }
    let resource = db.create_resource(definition.clone()).await.map_err(|e| e.to_string())?;
    let mut rows = Vec::new();
    for at in 0..RECORDS {
        let mut record = generator::record(&mut random, &definition.attributes, false);
        record.insert("id".into(), json!(format!("id{at}")));
        let Ok(stored) = resource.insert(Value::Object(record)).await else { continue };
        let updated = match at % 2 {
            0 => stored,
            _ => {
                let patch = generator::record(&mut random, &definition.attributes, false);
                resource.update(&stored.id, Value::Object(patch)).await.unwrap_or(stored)
            }
        };
        rows.push(row(&memory, &updated.id, &updated.attributes, "r")?);
    }
    let catalog: Value = serde_json::from_slice(&memory.snapshot()["s3db.json"].body).map_err(|e| e.to_string())?;
    Ok(json!({ "seed": seed, "passphrase": PASSPHRASE, "entry": catalog["resources"]["r"], "rows": rows }))
}

fn row(memory: &Memory, id: &str, written: &Map<String, Value>, resource: &str) -> Result<Value, String> {
    let objects = memory.snapshot();
    let object = objects.get(&format!("resource={resource}/data/id={id}")).ok_or("the record is not stored")?;
    Ok(json!({
        "id": id,
        "written": written,
        "headers": object.meta.headers,
        "content_type": object.meta.content_type,
        "body_base64": base64::engine::general_purpose::STANDARD.encode(&object.body),
    }))
}

fn empty_entry() -> Value {
    json!({ "currentVersion": "v0", "versions": { "v0": {
        "attributes": {}, "behavior": "user-managed", "partitions": {}, "timestamps": false,
        "hash": s3db_format::resource::definition_hash(&Map::new(), Behavior::UserManaged, &Map::new(), false),
    } } })
}
