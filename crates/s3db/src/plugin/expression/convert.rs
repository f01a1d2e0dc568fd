//! JSON to the values of the language and back.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cel::common::types::{
    CelBool, CelBytes, CelDouble, CelDuration, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelTimestamp,
    CelUInt,
};
use cel::common::value::Val;
use serde_json::{Map, Number, Value};

use super::check::Need;
use super::{MAX_DEPTH, explain, time};

/// How deep lists and objects may be nested in a variable.
pub(crate) const MAX_JSON_DEPTH: usize = 128;

/// A variable as a value, with the parts of it that are needed.
///
/// Texts are borrowed from the JSON. `now` becomes a timestamp.
pub(crate) fn variable<'v>(name: &str, json: &'v Value, need: &Need) -> Result<Box<dyn Val + 'v>, String> {
    if name == "now" {
        let text = json.as_str().ok_or("the variable 'now' is not an RFC 3339 text")?;
        return time::timestamp(text).map_err(|error| format!("the variable 'now': {error}"));
    }
    value(json, need, MAX_JSON_DEPTH).ok_or_else(|| {
        format!("the variable '{name}' has more than {MAX_JSON_DEPTH} lists and objects inside one another")
    })
}

/// The parts of `json` that are needed, or nothing when it is deeper than `depth`.
fn value<'v>(json: &'v Value, need: &Need, depth: usize) -> Option<Box<dyn Val + 'v>> {
    Some(match json {
        Value::Null => Box::new(CelNull),
        Value::Bool(flag) => Box::new(CelBool::from(*flag)),
        Value::Number(number) => self::number(number),
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(items) => {
            let depth = depth.checked_sub(1)?;
            // Selecting a field of a list is an error whatever is in it.
            let items: &[Value] = if *need == Need::Whole { items } else { &[] };
            let items: Option<Vec<_>> = items.iter().map(|item| value(item, need, depth)).collect();
            Box::new(CelList::from(items?))
        }
        Value::Object(object) => {
            let depth = depth.checked_sub(1)?;
            let entry = |key: &'v String, json: &'v Value, need: &Need| {
                Some((CelMapKey::String(CelString::from(key.as_str())), value(json, need, depth)?))
            };
            let entries: Option<HashMap<_, _>> = match need {
                Need::Whole => object.iter().map(|(key, json)| entry(key, json, need)).collect(),
                Need::Fields(fields) => fields
                    .iter()
                    .filter_map(|(field, need)| object.get_key_value(field).map(|(key, json)| entry(key, json, need)))
                    .collect(),
            };
            Box::new(CelMap::from(entries?))
        }
    })
}

/// A JSON number as `int`, `uint` or `double`, the first that holds it.
fn number<'v>(number: &Number) -> Box<dyn Val + 'v> {
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(int), _, _) => Box::new(CelInt::from(int)),
        (_, Some(uint), _) => Box::new(CelUInt::from(uint)),
        (_, _, double) => Box::new(CelDouble::from(double.unwrap_or(f64::NAN))),
    }
}

/// A result as JSON.
pub(crate) fn to_json(value: &dyn Val) -> Result<Value, String> {
    // A result nests what it was given under what the expression wrote.
    json(value, MAX_JSON_DEPTH + MAX_DEPTH)
}

/// A result, at most `depth` deep, as JSON.
fn json(value: &dyn Val, depth: usize) -> Result<Value, String> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err("the result has too many lists and maps inside one another".to_owned());
    };
    if let Some(text) = value.downcast_ref::<CelString>() {
        Ok(Value::from(text.inner()))
    } else if let Some(flag) = value.downcast_ref::<CelBool>() {
        Ok(Value::from(*flag.inner()))
    } else if let Some(int) = value.downcast_ref::<CelInt>() {
        Ok(Value::from(*int.inner()))
    } else if let Some(uint) = value.downcast_ref::<CelUInt>() {
        Ok(Value::from(*uint.inner()))
    } else if let Some(double) = value.downcast_ref::<CelDouble>() {
        let number = Number::from_f64(*double.inner());
        number.map(Value::Number).ok_or_else(|| format!("the result {} is not a number JSON can hold", double.inner()))
    } else if value.downcast_ref::<CelNull>().is_some() {
        Ok(Value::Null)
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        list.inner().iter().map(|item| json(item.as_ref(), depth)).collect()
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        object(map, depth)
    } else if let Some(time) = value.downcast_ref::<CelTimestamp>() {
        Ok(Value::from(time.inner().naive_utc().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()))
    } else if let Some(duration) = value.downcast_ref::<CelDuration>() {
        Ok(Value::from(duration.inner().num_milliseconds()))
    } else if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        Ok(Value::from(STANDARD.encode(bytes.inner())))
    } else {
        Err(format!("{} is not a value; compare it, or write string(…)", explain::described(value)))
    }
}

/// A map as a JSON object, its keys as text and in order.
fn object(map: &CelMap, depth: usize) -> Result<Value, String> {
    // The map iterates in an order of its own, another one each time.
    let mut entries: Vec<_> = map.inner().iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    let mut object = Map::with_capacity(entries.len());
    for (key, value) in entries {
        let key = match key {
            CelMapKey::String(text) => text.inner().to_owned(),
            CelMapKey::Int(int) => int.inner().to_string(),
            CelMapKey::UInt(uint) => uint.inner().to_string(),
            CelMapKey::Bool(flag) => flag.inner().to_string(),
        };
        if object.contains_key(&key) {
            return Err(format!("two keys of the result read '{}' as text", explain::clipped(&key)));
        }
        object.insert(key, json(value.as_ref(), depth)?);
    }
    Ok(Value::Object(object))
}
