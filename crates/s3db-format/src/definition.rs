//! Definitions as people write them, brought into the form that stands in the catalog.
//!
//! The catalog's form is what s3db.js 9.2.0 accepts: `integer` becomes `number|integer:true`,
//! `enum:a,b` becomes `string|in:a,b`, `ip` becomes `string|ip:true`, and `{type: "string", min: 3}`
//! becomes `string|min:3`. Values that 9.2.0 would misread are escaped.

use serde_json::{Map, Value};

use crate::error::{DefinitionError, did_you_mean};
use crate::escape;
use crate::js;
use crate::limits;
use crate::rule::{Kind, OPTIONS, Rule};
use crate::value::Codec;

/// Brings attributes into the catalog's form.
///
/// # Errors
/// All problems at once, each naming its attribute.
///
/// ```
/// use s3db_format::definition::normalise;
/// use serde_json::json;
/// let given = json!({"age": "integer|min:0", "plan": {"type": "enum", "values": ["free", "pro"]}});
/// let stored = normalise(given.as_object().unwrap()).unwrap();
/// assert_eq!(stored["age"], "number|integer:true|min:0");
/// assert_eq!(stored["plan"], "string|in:free,pro");
/// ```
pub fn normalise(attributes: &Map<String, Value>) -> Result<Map<String, Value>, Vec<DefinitionError>> {
    let mut problems = Vec::new();
    let normal = level(attributes, "", 1, &mut problems);
    if problems.is_empty() { Ok(normal) } else { Err(problems) }
}

fn level(
    attributes: &Map<String, Value>,
    prefix: &str,
    depth: usize,
    problems: &mut Vec<DefinitionError>,
) -> Map<String, Value> {
    let mut normal = Map::new();
    for (name, definition) in attributes {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let result = if name.starts_with("$$") {
            Ok(definition.clone())
        } else {
            check_name(name).and_then(|()| attribute(definition, &path, depth, problems))
        };
        match result {
            Ok(value) => {
                normal.insert(name.clone(), value);
            }
            Err(error) => problems.push(if error.field.is_empty() { error.at(&path) } else { error }),
        }
    }
    normal
}

fn check_name(name: &str) -> Result<(), DefinitionError> {
    let complaint = match () {
        () if name.is_empty() => "an attribute needs a name",
        () if name.contains('.') => "a name cannot hold a '.'; write a nested object instead",
        () if name.starts_with('_') => "names that begin with '_' are the database's own",
        () if name.contains("$$") => "names cannot hold '$$'",
        () if name.chars().any(char::is_control) => "names cannot hold control characters",
        () => return Ok(()),
    };
    Err(DefinitionError::new(complaint))
}

fn attribute(
    definition: &Value,
    path: &str,
    depth: usize,
    problems: &mut Vec<DefinitionError>,
) -> Result<Value, DefinitionError> {
    match definition {
        Value::String(text) => rule_text(text).map(Value::String),
        Value::Object(children) => match object_form(children)? {
            Some(text) => rule_text(&text).map(Value::String),
            None if depth >= limits::DEPTH => {
                Err(DefinitionError::new(format!("attributes are nested deeper than {} levels", limits::DEPTH)))
            }
            None if children.keys().all(|k| k.starts_with("$$")) => Err(DefinitionError::new(
                "a nested object needs attributes; use \"object\" or \"json\" for free content",
            )),
            None => Ok(Value::Object(level(children, path, depth + 1, problems))),
        },
        Value::Array(rules) if !rules.is_empty() => alternatives(rules),
        other => Err(DefinitionError::new(format!(
            "{other} is no definition; use a rule such as \"string|min:2\" or a nested object"
        ))),
    }
}

fn alternatives(rules: &[Value]) -> Result<Value, DefinitionError> {
    let one = |rule: &Value| match rule {
        Value::String(text) => rule_text(text).map(Value::String),
        other => Err(DefinitionError::new(format!("{other} is no rule text"))),
    };
    rules.iter().map(one).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

/// Checks a rule's text and rewrites what 9.2.0 would misread.
fn rule_text(text: &str) -> Result<String, DefinitionError> {
    let rule = Rule::parse(text)?;
    if let Some(word) = rule.unknown_options().first() {
        let hint = did_you_mean(word, OPTIONS).unwrap_or_else(|| "remove it".into());
        return Err(DefinitionError::new(format!("'{word}' is no option of a rule; {hint}")));
    }
    let normal = if text.split('|').any(|w| w.trim() == escape::MARK) { text.to_owned() } else { rewrite(text) };
    check_default(&rule)?;
    check_codec(&normal, rule.kind)?;
    Ok(normal)
}

fn rewrite(text: &str) -> String {
    let words: Vec<&str> = text.split('|').map(str::trim).collect();
    let escaping = words.iter().skip(1).chain(words.first().filter(|w| w.starts_with("enum:")));
    let escaping = escaping
        .filter(|w| !is_structural(w))
        .any(|w| w.split_once(':').is_some_and(|(_, value)| escape::is_needed(value.trim())));
    let mut normal: Vec<String> = Vec::with_capacity(words.len() + 1);
    for (at, word) in words.iter().enumerate() {
        let word = match *word {
            first if at == 0 => catalog_type(first),
            "items:integer" => WHOLE_ITEMS.to_owned(),
            other => other.to_owned(),
        };
        normal.push(if escaping { escape_value(&word) } else { word });
    }
    if escaping {
        normal.push(escape::MARK.to_owned());
    }
    normal.join("|")
}

/// How the catalog says that the items of an array are integers.
const WHOLE_ITEMS: &str = "items:number|integer:true";

/// Options whose values are words of the language itself.
fn is_structural(word: &str) -> bool {
    word.starts_with("items:") || word.starts_with("integer:")
}

fn catalog_type(word: &str) -> String {
    if word == "integer[]" {
        return format!("array|{WHOLE_ITEMS}");
    }
    if let Some(item) = word.strip_suffix("[]") {
        return format!("array|items:{item}");
    }
    match word {
        "integer" => "number|integer:true".to_owned(),
        "ip" => "string|ip:true".to_owned(),
        _ => match word.strip_prefix("enum:") {
            Some(values) => format!("string|in:{values}"),
            None => word.to_owned(),
        },
    }
}

fn escape_value(word: &str) -> String {
    if is_structural(word) {
        return word.to_owned();
    }
    if let Some((head, rest)) = word.split_once('|') {
        return format!("{head}|{}", escape_value(rest));
    }
    match word.split_once(':') {
        Some((key, value)) => format!("{key}:{}", escape::escape(value.trim())),
        None => word.to_owned(),
    }
}

fn check_default(rule: &Rule) -> Result<(), DefinitionError> {
    let Some(default) = rule.text("default") else { return Ok(()) };
    if default != "null" && crate::validate::default_value(rule).is_none() {
        return Err(DefinitionError::new(format!("the default '{default}' is no {} value", rule.kind.word())));
    }
    Ok(())
}

/// 9.2.0 picks the encoder by words in the text; ours must be the one that the type means.
fn check_codec(text: &str, kind: Kind) -> Result<(), DefinitionError> {
    let codec = Codec::of(&Value::String(text.to_owned()));
    let fits = match kind {
        Kind::Array => matches!(codec, Codec::Strings | Codec::Integers | Codec::Decimals | Codec::Json),
        Kind::Number => matches!(codec, Codec::Integer | Codec::Decimal),
        Kind::Boolean => codec == Codec::Boolean,
        Kind::Json | Kind::Object => codec == Codec::Json,
        Kind::Secret | Kind::SecretAny => codec == Codec::Secret { number: false },
        Kind::SecretNumber => codec == Codec::Secret { number: true },
        _ => matches!(codec, Codec::Text | Codec::Date | Codec::Whole),
    };
    if fits {
        return Ok(());
    }
    Err(DefinitionError::new(format!(
        "'{text}' holds a word that names another type; s3db.js would store the value as that type"
    )))
}

/// The rule text of an object-form definition, `None` if the object is a nested one.
///
/// `type` must be a bare type word and every other member an option with a plain value; anything
/// else is a nested object that has an attribute called `type`.
fn object_form(members: &Map<String, Value>) -> Result<Option<String>, DefinitionError> {
    let Some(word) = members.get("type").and_then(Value::as_str) else { return Ok(None) };
    let known = Kind::from_word(word).is_some() || matches!(word, "integer" | "ip" | "enum");
    let options_only = members.iter().all(|(name, value)| {
        name == "type" || name == "values" || OPTIONS.contains(&name.as_str()) && !is_rule_like(name, value)
    });
    if !known || !options_only {
        return Ok(None);
    }
    let mut words = vec![if word == "enum" { "string".to_owned() } else { catalog_type(word) }];
    let mut escaping = false;
    for (name, value) in members.iter().filter(|(name, _)| *name != "type") {
        let (key, text) = option_text(name, value)?;
        escaping |= text.as_deref().is_some_and(escape::is_needed) && !matches!(key, "items" | "integer");
        words.push(text.map_or_else(|| key.to_owned(), |t| format!("{key}:{t}")));
    }
    if word == "enum" && !members.contains_key("values") && !members.contains_key("in") {
        return Err(DefinitionError::new(
            "'enum' needs its 'values', as in {\"type\": \"enum\", \"values\": [\"a\", \"b\"]}",
        ));
    }
    if escaping {
        words = words.iter().map(|w| escape_value_of(w)).collect();
        words.push(escape::MARK.to_owned());
    }
    Ok(Some(words.join("|")))
}

/// Escapes the value of one `key:value` word that may itself hold a `|`.
fn escape_value_of(word: &str) -> String {
    match word.split_once(':') {
        Some((key, value)) if !is_structural(word) && !key.contains('|') => format!("{key}:{}", escape::escape(value)),
        _ => word.to_owned(),
    }
}

/// `{type: "string", value: "string"}` is a nested object with two attributes.
fn is_rule_like(name: &str, value: &Value) -> bool {
    let free_text = matches!(name, "default" | "pattern" | "contains" | "items" | "mode" | "field" | "value");
    !free_text && value.as_str().is_some_and(|text| Rule::parse(text).is_ok())
}

fn option_text<'a>(name: &'a str, value: &Value) -> Result<(&'a str, Option<String>), DefinitionError> {
    let key = if name == "values" { "in" } else { name };
    let text = match value {
        Value::Bool(true) => None,
        Value::Bool(false) => Some("false".to_owned()),
        Value::Number(n) => Some(js::number_text(js::as_f64(n))),
        Value::String(text) => Some(text.clone()),
        Value::Array(items) if key == "in" => Some(list_text(items)?),
        other if key == "default" => Some(other.to_string()),
        other => return Err(DefinitionError::new(format!("'{name}' cannot be {other}"))),
    };
    let text = if key == "default" && text.is_none() { Some("true".to_owned()) } else { text };
    Ok((key, text))
}

fn list_text(items: &[Value]) -> Result<String, DefinitionError> {
    let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
    match texts {
        Some(texts) if texts.iter().all(|t| !t.contains(',') && !t.is_empty()) => Ok(texts.join(",")),
        _ => Err(DefinitionError::new("the values of an enum are texts without a comma")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_catalogs_form_is_its_own() {
        let given = json!({
            "a": "enum:array,secret,number", "b": "integer|min:1", "c": "string|default:json object", "d": "ip",
            "e": { "type": "string", "min": 3, "default": "a|b" }, "f": { "$$type": "object|optional", "g": "string|pattern:^array$" },
            "h": ["string", "number"], "i": "array|items:integer", "j": "secret|min:8", "k": "string|in:boolean,x",
        });
        let stored = normalise(given.as_object().unwrap()).unwrap();
        assert_eq!(normalise(&stored).unwrap(), stored);
    }
}
