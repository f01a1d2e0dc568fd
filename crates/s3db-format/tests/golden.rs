//! Every record of every golden bucket reads back as it was written, except what s3db.js destroyed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "this file is a test"
)]

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use s3db_format::catalog::Catalog;
use s3db_format::record::{StoredObject, decode};
use s3db_format::secret::{SecretKey, salt_of};
use s3db_format::{js, keys, resource, value};
use serde_json::{Map, Value};

/// Headers, content type, body.
type Stored = (BTreeMap<String, String>, String, Vec<u8>);

struct Bucket {
    name: String,
    json: Value,
    objects: BTreeMap<String, Stored>,
}

fn buckets() -> Vec<Bucket> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    let buckets: Vec<Bucket> = paths.iter().map(|p| load(p)).collect();
    assert!(buckets.len() >= 12, "golden buckets are missing");
    buckets
}

fn load(path: &Path) -> Bucket {
    let json = parse_javascript_json(&std::fs::read_to_string(path).unwrap());
    let prefix = match json["key_prefix"].as_str().unwrap() {
        "" => String::new(),
        p => format!("{p}/"),
    };
    let objects = json["objects"].as_array().unwrap().iter().map(|o| {
        let key = o["key"].as_str().unwrap().strip_prefix(&prefix).unwrap().to_owned();
        let headers = o["metadata"].as_object().unwrap().iter();
        let headers = headers.map(|(k, v)| (k.to_lowercase(), v.as_str().unwrap().to_owned())).collect();
        let body = base64::engine::general_purpose::STANDARD.decode(o["body_base64"].as_str().unwrap()).unwrap();
        (key, (headers, o["content_type"].as_str().unwrap_or_default().to_owned(), body))
    });
    Bucket { name: path.file_name().unwrap().to_string_lossy().into_owned(), objects: objects.collect(), json }
}

/// JSON of JavaScript may hold lone surrogates, which no Rust text can: they become U+FFFD.
fn parse_javascript_json(text: &str) -> Value {
    let pairs = regex::Regex::new(r"(?i)(\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2})|\\ud[89a-f][0-9a-f]{2}").unwrap();
    let mended = pairs
        .replace_all(text, |c: &regex::Captures<'_>| c.get(1).map_or("\\ufffd".to_owned(), |m| m.as_str().to_owned()));
    serde_json::from_str(&mended).unwrap()
}

/// Takes the marks of values that JSON cannot hold away; `None` is undefined.
fn untag(value: &Value) -> Option<Value> {
    match value {
        Value::Object(m) if m.contains_key("$js") => match m["$js"].as_str().unwrap() {
            "undefined" => None,
            "-0" => Some(Value::from(0)),
            "Date" => Some(m["iso"].clone()),
            _ => Some(value.clone()),
        },
        Value::Object(m) => Some(Value::Object(m.iter().filter_map(|(k, v)| Some((k.clone(), untag(v)?))).collect())),
        Value::Array(a) => Some(a.iter().map(|v| untag(v).unwrap_or(Value::Null)).collect()),
        other => Some(other.clone()),
    }
}

fn differences(path: &str, a: Option<&Value>, b: Option<&Value>, out: &mut Vec<(String, Value, Value)>) {
    match (a, b) {
        (Some(Value::Object(x)), Some(Value::Object(y))) => {
            let names: std::collections::BTreeSet<_> = x.keys().chain(y.keys()).collect();
            for name in names {
                let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                differences(&inner, x.get(name), y.get(name), out);
            }
        }
        (Some(x), Some(y)) if value::same_json(x, y) => {}
        (None, None) => {}
        _ => out.push((path.to_owned(), a.cloned().unwrap_or_default(), b.cloned().unwrap_or_default())),
    }
}

fn is_excused(divergences: &[&Value], path: &str, written: &Value, got: &Value) -> bool {
    divergences.iter().any(|d| {
        let known = d["path"].as_str().unwrap();
        let reason = d["reason"].as_str().unwrap();
        let flat = |p: &str| p.to_lowercase().replace('.', "_");
        let related = known == path
            || known.starts_with(&format!("{path}."))
            || path.starts_with(&format!("{known}."))
            || flat(known) == flat(path);
        let coerced = matches!(reason, "numeric-string-coerced" | "json-looking-string-parsed")
            && known == path
            && js::to_text(written) == js::to_text(got);
        related && d["recoverable"] == Value::Bool(false) || coerced
    })
}

#[test]
fn every_golden_record_reads_back_as_it_was_written() {
    let (mut records, mut exact) = (0, 0);
    let mut wrong = Vec::new();
    for bucket in buckets() {
        let catalog = Catalog::parse(&bucket.objects[keys::CATALOG].2).unwrap();
        let mut secret_keys: BTreeMap<[u8; 16], SecretKey> = BTreeMap::new();
        for (name, rows) in bucket.json["written"].as_object().unwrap() {
            let resource = catalog.resource(name).unwrap();
            for (id, written) in rows.as_object().unwrap() {
                let Some((headers, content_type, body)) = bucket.objects.get(&keys::record(name, id)) else { continue };
                records += 1;
                let object = StoredObject { headers, content_type: Some(content_type), body };
                let mut decoded = decode(resource, object).unwrap();
                for field in decoded.secrets.clone() {
                    let passphrase = bucket.json["passphrase"].as_str().unwrap();
                    let salt = salt_of(&field.ciphertext).unwrap();
                    let key = secret_keys.entry(salt).or_insert_with(|| SecretKey::derive(passphrase, &salt));
                    let plain = key.open(&field.ciphertext).unwrap();
                    decoded.reveal(&field, plain);
                }
                let written = untag(written).unwrap();
                if resource.current().timestamps && written.get("createdAt").is_none() {
                    decoded.attributes.shift_remove("createdAt");
                    decoded.attributes.shift_remove("updatedAt");
                }
                let all = bucket.json["divergences"].as_array().unwrap();
                let divergences: Vec<&Value> =
                    all.iter().filter(|d| d["resource"] == *name.as_str() && d["id"] == *id.as_str()).collect();
                let mut found = Vec::new();
                differences("", Some(&written), Some(&Value::Object(decoded.attributes)), &mut found);
                exact += usize::from(found.is_empty());
                for (path, a, b) in found {
                    if !is_excused(&divergences, &path, &a, &b) {
                        wrong.push(format!("{} {name}/{id} {path}: written {a}, read {b}", bucket.name));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {records} records are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!((records, exact >= 199), (230, true), "{exact} records were exact");
}

#[test]
fn golden_hashes_and_reference_keys_are_those_of_s3dbjs() {
    let mut references = 0;
    for bucket in buckets() {
        let catalog = Catalog::parse(&bucket.objects[keys::CATALOG].2).unwrap();
        for (name, r) in catalog.resources() {
            let v = r.current();
            let hash = resource::definition_hash(&v.attributes, v.behavior, &v.partitions_json, v.timestamps);
            assert_eq!(hash, v.hash, "{} {name}", bucket.name);
        }
        for (name, rows) in bucket.json["expected"].as_object().unwrap() {
            let Some(r) = catalog.resource(name) else { continue };
            for (id, row) in rows.as_object().unwrap() {
                let Some((headers, ..)) = bucket.objects.get(&keys::record(name, id)) else { continue };
                let Some(Value::Object(row)) = untag(row) else { continue };
                for partition in r.partitions() {
                    let Some(values) = partition.values(&row, &headers["_v"]) else { continue };
                    let key = partition.reference_key(name, &values, id);
                    assert!(bucket.objects.contains_key(&key), "{}: {key}", bucket.name);
                    references += 1;
                }
            }
        }
    }
    assert!(references >= 100, "only {references} references were compared");
}

#[test]
fn damaged_golden_objects_are_errors_or_records_but_never_panics() {
    let mut refused = 0;
    for bucket in buckets() {
        let catalog = Catalog::parse(&bucket.objects[keys::CATALOG].2).unwrap();
        for (key, (headers, content_type, body)) in &bucket.objects {
            let Some((name, r)) = catalog.resources().iter().find(|(n, _)| keys::record_id(n, key).is_some()) else {
                continue;
            };
            assert!(!name.is_empty());
            for cut in [body.len() / 2, body.len().saturating_sub(1)] {
                let object = StoredObject { headers, content_type: Some(content_type), body: &body[..cut] };
                refused += usize::from(decode(r, object).is_err());
            }
            for header in headers.keys() {
                for damage in ["", "\u{1}", "u:%ff", "b:!!!!", "{", "v999"] {
                    let mut damaged = headers.clone();
                    damaged.insert(header.clone(), damage.to_owned());
                    let object = StoredObject { headers: &damaged, content_type: Some(content_type), body };
                    refused += usize::from(decode(r, object).is_err());
                }
            }
        }
        let bytes = &bucket.objects[keys::CATALOG].2;
        assert!(Catalog::parse(&bytes[..bytes.len() - 3]).unwrap_err().to_string().contains("nothing was changed"));
    }
    assert!(refused > 200, "only {refused} damaged records were refused");
}

/// Unit vectors of the peer's own functions, where a developer has them: `S3DB_FORMAT_VECTORS=FILE`.
#[test]
fn the_peers_unit_vectors_hold() {
    let Ok(path) = std::env::var("S3DB_FORMAT_VECTORS") else {
        println!(
            "not run: S3DB_FORMAT_VECTORS names no file; the statements of docs/format.md are tested in tests/statements.rs"
        );
        return;
    };
    let v = parse_javascript_json(&std::fs::read_to_string(path).unwrap());
    let list = |name: &str| v[name].as_array().unwrap().clone();
    for c in list("base62_int") {
        let Some(n) = c["n"].as_f64() else { continue };
        assert_eq!(s3db_format::base62::encode_integer(n), c["encoded"].as_str().unwrap(), "{c}");
    }
    for c in list("base62_decimal") {
        let Some(n) = c["n"].as_f64() else { continue };
        assert_eq!(js::number_text(n), c["js_tostring"].as_str().unwrap());
        let code = s3db_format::base62::encode_decimal(n);
        assert_eq!(s3db_format::base62::decode_decimal(&code), Some(n), "{c} {code}");
        if !c["encoded"].as_str().unwrap().is_empty() {
            assert_eq!(code, c["encoded"].as_str().unwrap());
        }
    }
    for c in list("header_encode") {
        let Some(text) = c["value"].as_str() else { continue };
        let ours = s3db_format::header::encode(text);
        let guarded = ours.starts_with("b:") && c["encoded"] == c["value"];
        assert!(ours == c["encoded"].as_str().unwrap() || guarded, "{c} {ours}");
        assert_eq!(s3db_format::header::decode(&ours), s3db_format::header::HeaderValue::Text(text.to_owned()));
    }
    for c in list("split_items") {
        assert_eq!(serde_json::json!(s3db_format::items::split(c["stored"].as_str().unwrap())), c["items"]);
    }
    for c in list("key_maps") {
        let schema = s3db_format::schema::Schema::new(c["attributes"].as_object().unwrap(), true);
        let map: Map<String, Value> = schema.paths().iter().map(|m| (m.path.clone(), m.key.clone().into())).collect();
        assert_eq!(Value::Object(map), c["map"]);
    }
    for c in list("secrets") {
        let salt = salt_of(c["stored"].as_str().unwrap()).unwrap();
        let key = SecretKey::derive(c["passphrase"].as_str().unwrap(), &salt);
        assert_eq!(key.open(c["stored"].as_str().unwrap()).unwrap(), c["plaintext"].as_str().unwrap());
    }
    for c in list("partition_keys") {
        let fields = c["fields"].as_object().unwrap().iter().map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned()));
        let partition = s3db_format::partition::Partition::new(c["partition"].as_str().unwrap(), fields);
        let data = untag(&c["data"]).unwrap();
        let key = partition
            .values(data.as_object().unwrap(), "v0")
            .map(|v| partition.reference_key("r", &v, c["id"].as_str().unwrap()));
        assert_eq!(key.map_or(Value::Null, Value::String), c["key"], "{c}");
    }
    let names: Vec<String> = list("locale_sort").iter().map(|v| v.as_str().unwrap().to_owned()).collect();
    let mut shuffled = names.clone();
    shuffled.reverse();
    let sorted = s3db_format::partition::Partition::new("p", shuffled.into_iter().map(|n| (n, String::new())));
    assert_eq!(sorted.fields().iter().map(|(n, _)| n.clone()).collect::<Vec<_>>(), names);
}
