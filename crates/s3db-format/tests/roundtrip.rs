//! What is written is read back equal, for random definitions and records, and no decoder panics.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "this file is a test"
)]

#[path = "../../../dev/generator/mod.rs"]
mod generator;

use std::collections::{BTreeMap, HashMap};

use generator::Random;
use proptest::prelude::*;
use s3db_format::catalog::Catalog;
use s3db_format::record::{Content, Draft, StoredObject, decode, encode};
use s3db_format::resource::{Behavior, ResourceDefinition};
use s3db_format::revision::Stamp;
use s3db_format::secret::SecretKey;
use s3db_format::validate::{Mode, validate};
use s3db_format::{base62, catalog, header, items, js, limits, value};
use serde_json::{Map, Value, json};

fn stamp() -> Stamp {
    let mut stamp = Stamp::first("01HZZZZZZZZZZZZZZZZZZZZZZ0".into()).next("01HZZZZZZZZZZZZZZZZZZZZZZ1".into(), None);
    stamp.index.insert("byX".into(), "01HZZZZZZZZZZZZZZZZZZZZZZ0".into());
    stamp
}

/// Derivation is slow on purpose, so one key serves all.
static KEY: std::sync::LazyLock<SecretKey> = std::sync::LazyLock::new(|| SecretKey::derive("p", &[7; 16]));

fn seal(resource: &catalog::Resource, record: &Map<String, Value>) -> HashMap<String, String> {
    let mut sealed = HashMap::new();
    for path in resource.current().schema.secrets() {
        if let Some(value) = s3db_format::partition::get_path(record, path).filter(|v| !v.is_null()) {
            sealed.insert(path.to_owned(), KEY.seal(&[7; 16], &[9; 12], &js::to_text(value)).unwrap());
        }
    }
    sealed
}

fn open(decoded: &mut s3db_format::record::Decoded) {
    for field in decoded.secrets.clone() {
        let plain = KEY.open(&field.ciphertext).unwrap();
        decoded.reveal(&field, plain);
    }
}

fn resource_of(definition: &ResourceDefinition) -> std::sync::Arc<catalog::Resource> {
    let version = definition.version().unwrap_or_else(|e| panic!("{e:?}"));
    let mut catalog = Catalog::default();
    catalog.add_version(&definition.name, &version, 0, "2026-11-22T21:00:00.000Z");
    let read = Catalog::parse(&catalog.to_bytes("rev", "now")).unwrap();
    assert!(read.resource(&definition.name).unwrap().problems().is_empty());
    std::sync::Arc::clone(read.resource(&definition.name).unwrap())
}

fn round_trip(seed: u64, behavior: Behavior) -> bool {
    let mut random = Random(seed);
    let width = if behavior.reads_body() { 50 } else { 12 };
    let mut definition = ResourceDefinition::new("r").behavior(behavior);
    definition.attributes = generator::attributes(&mut random, width);
    definition.timestamps = false;
    if definition.version().is_err() {
        // Only the width of a behaviour without a body may be refused.
        assert!(!behavior.reads_body(), "{:?}", definition.version().unwrap_err());
        return false;
    }
    let resource = resource_of(&definition);
    let given = generator::record(&mut random, &definition.attributes, true);
    let record = match validate(&resource.current().schema, &given, Mode::Insert, &|_| false) {
        Ok(record) => record,
        Err(errors) => panic!("seed {seed}: {errors:?}\n{given:?}"),
    };
    let sealed = seal(&resource, &record);
    let stamp = stamp();
    let content = random.chance(10).then_some(Content { body: b"\x00\x01bytes", content_type: "application/json" });
    let draft = Draft { id: "x", attributes: &record, sealed: &sealed, stamp: &stamp, content };
    let encoded = match encode(resource.current(), &draft) {
        Ok(encoded) => encoded,
        Err(s3db_format::FormatError::TooLarge { .. }) => return false,
        Err(error) => panic!("seed {seed}: {error}"),
    };
    for (name, text) in &encoded.headers {
        assert!(
            text.bytes().all(|b| (0x20..0x7f).contains(&b)),
            "seed {seed}: header {name} is not visible ASCII: {text:?}"
        );
        assert!(text.trim() == text && *name == name.to_lowercase(), "seed {seed}: HTTP would change {name}: {text:?}");
    }
    let size: usize = encoded.headers.iter().map(|(n, v)| n.len() + v.len()).sum();
    assert!(size <= limits::HEADER_BYTES, "seed {seed}: {size} bytes of headers");
    let object =
        StoredObject { headers: &encoded.headers, content_type: Some(&encoded.content_type), body: &encoded.body };
    let mut decoded = decode(&resource, object).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    open(&mut decoded);
    // SeaweedFS drops headers without a value.
    let kept: BTreeMap<String, String> =
        encoded.headers.iter().filter(|(_, v)| !v.is_empty()).map(|(n, v)| (n.clone(), v.clone())).collect();
    let mut through_weed = decode(&resource, StoredObject { headers: &kept, ..object }).unwrap();
    open(&mut through_weed);
    assert!(
        value::same_json(&Value::Object(through_weed.attributes.clone()), &Value::Object(decoded.attributes.clone())),
        "seed {seed} {behavior:?}: without empty headers {}",
        json!(through_weed.attributes)
    );
    let mut wanted = record.clone();
    for (path, text) in &encoded.truncated {
        s3db_format::record::set_path(&mut wanted, path, json!(text));
    }
    assert!(
        value::same_json(&Value::Object(decoded.attributes.clone()), &Value::Object(wanted.clone())),
        "seed {seed} {behavior:?}:\nwritten {}\nread    {}\nheaders {:?}\nbody {}",
        json!(wanted),
        json!(decoded.attributes),
        encoded.headers,
        String::from_utf8_lossy(&encoded.body)
    );
    assert_eq!(decoded.stamp.as_ref(), Some(&stamp), "seed {seed}");
    assert_eq!(decoded.has_content, content.is_some(), "seed {seed}");
    assert_eq!(decoded.truncated, !encoded.truncated.is_empty());
    true
}

#[test]
fn random_records_of_random_definitions_are_read_back_equal() {
    let mut written = 0;
    for behavior in Behavior::ALL {
        written += (0..600).filter(|seed| round_trip(*seed, behavior)).count();
    }
    assert!(written > 1500, "only {written} records could be written");
}

#[test]
fn bodies_of_two_writes_of_one_record_differ() {
    for behavior in Behavior::ALL {
        let resource = resource_of(&ResourceDefinition::new("r").attribute("a", "string").behavior(behavior));
        let record = json!({"a": "same"});
        let body = |rev: &str| {
            let (stamp, sealed) = (Stamp::first(rev.to_owned()), HashMap::new());
            let draft = Draft {
                id: "x",
                attributes: record.as_object().unwrap(),
                sealed: &sealed,
                stamp: &stamp,
                content: None,
            };
            encode(resource.current(), &draft).unwrap().body
        };
        assert_ne!(body("01HZZZZZZZZZZZZZZZZZZZZZZ0"), body("01HZZZZZZZZZZZZZZZZZZZZZZ1"), "{behavior:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_survives_a_header(text in any::<String>()) {
        let coded = header::encode(&text);
        prop_assert!(coded.bytes().all(|b| (0x20..0x7f).contains(&b)));
        prop_assert_eq!(header::decode(&coded), header::HeaderValue::Text(text));
    }

    #[test]
    fn header_decoding_takes_anything(text in any::<String>()) {
        header::decode(&text);
        header::decode(&format!("u:{text}"));
        header::decode(&format!("b:{text}"));
    }

    #[test]
    fn items_survive_joining(list in proptest::collection::vec(any::<String>(), 2..6)) {
        prop_assert_eq!(items::split(&items::join(list.iter().map(String::as_str))), list);
    }

    #[test]
    fn integers_survive_base62(n in -9_007_199_254_740_991_i64..=9_007_199_254_740_991) {
        prop_assert_eq!(base62::decode_integer(&base62::encode_integer(n as f64)), Some(n as f64));
    }

    #[test]
    fn decimals_survive_base62(n in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
        // Above 2^53 the digits are what doubles give; records keep what that loses exactly elsewhere.
        if n.abs() <= js::MAX_SAFE_INTEGER {
            prop_assert_eq!(base62::decode_decimal(&base62::encode_decimal(n)), Some(n));
        }
        prop_assert_eq!(js::number_text(n).parse::<f64>().unwrap(), n);
    }

    #[test]
    fn arbitrary_objects_never_panic(
        headers in proptest::collection::btree_map("(_v|_map|_overflow|_rev|_revs|_idx|_x|_truncated|id|_hascontent|[0-9a-z]|[a-z]{3})", "(v0|v1|true|b:[A-Za-z0-9+/=]{0,12}|u:.{0,8}|\\{.{0,20}|.{0,30})", 0..8),
        body in proptest::collection::vec(any::<u8>(), 0..64),
        json_body in "(\\{\"(0|_rev|_revs|_idx|_x|_v)\":(1|\"a\"|\\[\\]|\\{\\}|null)\\}|.{0,20})",
        kind in proptest::option::of("(application/json|text/plain|)"),
        which in 0..5_usize,
    ) {
        let definition = ResourceDefinition::new("r")
            .behavior(Behavior::ALL[which])
            .attribute("s", "string").attribute("n", "number").attribute("l", "array|items:string")
            .attribute("p", "secret").attribute("o", json!({"$$type": "object", "x": "integer"}));
        let resource = resource_of(&definition);
        let headers: BTreeMap<String, String> = headers;
        for body in [body.as_slice(), json_body.as_bytes()] {
            let _may_be_refused = decode(&resource, StoredObject { headers: &headers, content_type: kind.as_deref(), body });
        }
    }

    #[test]
    fn arbitrary_catalogs_never_panic(text in "\\{?\"?(version|resources|versions|attributes)?\"?:?.{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _may_be_refused = (Catalog::parse(text.as_bytes()), Catalog::parse(&bytes));
    }

    #[test]
    fn arbitrary_rules_never_panic(text in "(string|number|array|secret|enum|date)?[|:a-z0-9\\[\\](){}*+?^$%., -]{0,40}") {
        if let Ok(normal) = s3db_format::definition::normalise(json!({"a": text}).as_object().unwrap()) {
            // What was taken once is taken again, unchanged.
            prop_assert_eq!(s3db_format::definition::normalise(&normal).unwrap(), normal);
        }
    }

    #[test]
    fn arbitrary_partition_keys_never_panic(value in any::<String>(), id in any::<String>(), key in any::<String>()) {
        let partition = s3db_format::partition::Partition::new("p", [("d".to_owned(), "date|maxlength:10".to_owned()), ("s".to_owned(), "string".to_owned())]);
        let record = json!({"d": value, "s": value});
        let values = partition.values(record.as_object().unwrap(), "v0").unwrap();
        let ours = partition.index_key("r", &values, &id, "REV");
        let entry = partition.parse_index_key("r", &ours).unwrap();
        prop_assert_eq!((entry.values, entry.id, entry.revision.as_str()), (values, id, "REV"));
        partition.parse_index_key("r", &key);
        partition.parse_index_key("r", &format!("s3db/tmp/index/r/p/{key}"));
    }
}
