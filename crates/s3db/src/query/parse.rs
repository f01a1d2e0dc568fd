//! Reading a filter from JSON.

use s3db_format::catalog;
use s3db_format::error::did_you_mean;
use s3db_format::pattern::Pattern;
use s3db_format::rule::Kind;
use s3db_format::schema::Attribute;
use serde_json::{Map, Value, json};

use super::duration;
use super::filter::{Field, Filter, Node, Test};
use super::value::{Offset, Operand, Texts};
use crate::error::{Error, ErrorKind, Result};
use crate::resource::check_field;

/// Levels of a filter.
const DEPTH: usize = 32;
const OPERATORS: [&str; 17] = [
    "$eq",
    "$ne",
    "$gt",
    "$gte",
    "$lt",
    "$lte",
    "$in",
    "$nin",
    "$exists",
    "$regex",
    "$options",
    "$contains",
    "$startsWith",
    "$not",
    "$and",
    "$or",
    "$nor",
];

/// Reads the filters of one resource.
pub(crate) struct Parser<'a> {
    pub(crate) resource: &'a catalog::Resource,
    /// The time that `$now` stands for.
    pub(crate) now_ms: i64,
}

impl Parser<'_> {
    /// Reads a filter.
    ///
    /// # Errors
    /// `Invalid`, naming the place in the filter.
    pub(crate) fn filter(&self, filter: &Value) -> Result<Filter> {
        Ok(Filter { root: self.node(filter, "where", DEPTH)? })
    }

    fn node(&self, filter: &Value, at: &str, depth: usize) -> Result<Node> {
        if depth == 0 {
            return Err(wrong(at, &format!("it is nested deeper than {DEPTH} levels"), "write it flatter"));
        }
        let Value::Object(members) = filter else {
            let hint = "write the fields' conditions, as in {\"age\": {\"$gte\": 18}}";
            return Err(wrong(at, &format!("{} is no JSON object", short(filter)), hint));
        };
        let parts = members.iter().map(|(name, value)| {
            let at = format!("{at}.{name}");
            match name.as_str() {
                "$and" => Ok(Node::All(self.nodes(value, &at, depth)?)),
                "$or" => Ok(Node::Any(self.nodes(value, &at, depth)?)),
                "$nor" => Ok(Node::None(self.nodes(value, &at, depth)?)),
                operator if operator.starts_with('$') => Err(misplaced(&at, operator)),
                path => self.field(path, value, &at, depth),
            }
        });
        let mut parts = parts.collect::<Result<Vec<Node>>>()?;
        Ok(if parts.len() == 1 { parts.remove(0) } else { Node::All(parts) })
    }

    fn nodes(&self, list: &Value, at: &str, depth: usize) -> Result<Vec<Node>> {
        match list.as_array().map(Vec::as_slice) {
            None | Some([]) => {
                Err(wrong(at, "it takes a list of filters", "as in {\"$or\": [{\"a\": 1}, {\"b\": 2}]}"))
            }
            Some(items) => {
                let nodes = items.iter().enumerate();
                nodes.map(|(n, item)| self.node(item, &format!("{at}[{n}]"), depth - 1)).collect()
            }
        }
    }

    fn field(&self, path: &str, condition: &Value, at: &str, depth: usize) -> Result<Node> {
        check_filter_field(self.resource, path).map_err(|e| e.context(at))?;
        let tests = match operators(condition) {
            Some(operators) => self.tests(operators, at, depth)?,
            None => vec![Test::Equal(self.operand(condition, at)?)],
        };
        Ok(Node::Field(Field { path: path.to_owned(), texts: texts_of(self.resource, path), tests }))
    }

    fn tests(&self, operators: &Map<String, Value>, at: &str, depth: usize) -> Result<Vec<Test>> {
        if depth == 0 {
            return Err(wrong(at, &format!("it is nested deeper than {DEPTH} levels"), "write it flatter"));
        }
        let mut tests = Vec::new();
        for (name, operand) in operators {
            let at = format!("{at}.{name}");
            tests.push(match name.as_str() {
                "$eq" => Test::Equal(self.operand(operand, &at)?),
                "$ne" => Test::NotEqual(self.operand(operand, &at)?),
                "$gt" => Test::Greater(self.scalar(operand, &at)?),
                "$gte" => Test::GreaterOrEqual(self.scalar(operand, &at)?),
                "$lt" => Test::Less(self.scalar(operand, &at)?),
                "$lte" => Test::LessOrEqual(self.scalar(operand, &at)?),
                "$in" => Test::In(self.operands(operand, &at)?),
                "$nin" => Test::NotIn(self.operands(operand, &at)?),
                "$exists" => Test::Exists(boolean(operand, &at)?),
                "$regex" => Test::Matches(Box::new(pattern(operand, operators.get("$options"), &at)?)),
                "$options" if operators.contains_key("$regex") => continue,
                "$options" => {
                    return Err(wrong(&at, "it goes with $regex", "write {\"$regex\": …, \"$options\": \"i\"}"));
                }
                "$contains" => Test::Contains(self.operand(operand, &at)?),
                "$startsWith" => Test::StartsWith(text(operand, &at)?),
                "$not" => Test::Not(self.negated(operand, &at, depth)?),
                other => return Err(unknown_operator(&at, other)),
            });
        }
        Ok(tests)
    }

    fn negated(&self, operand: &Value, at: &str, depth: usize) -> Result<Vec<Test>> {
        match operators(operand) {
            Some(operators) => self.tests(operators, at, depth - 1),
            None => Err(wrong(at, "it takes operators", "as in {\"$not\": {\"$gt\": 5}}; for values use $ne")),
        }
    }

    fn operands(&self, list: &Value, at: &str) -> Result<Vec<Operand>> {
        let Some(items) = list.as_array() else {
            return Err(wrong(at, "it takes a list of values", "as in {\"$in\": [\"a\", \"b\"]}"));
        };
        items.iter().enumerate().map(|(n, item)| self.operand(item, &format!("{at}[{n}]"))).collect()
    }

    fn scalar(&self, operand: &Value, at: &str) -> Result<Operand> {
        match operand {
            Value::Array(_) | Value::Object(_) => {
                Err(wrong(at, "it takes a number, a text, a boolean or null", "lists and objects have no order"))
            }
            _ => self.operand(operand, at),
        }
    }

    fn operand(&self, value: &Value, at: &str) -> Result<Operand> {
        let Some(rest) = value.as_str().and_then(|text| text.strip_prefix("$now")) else {
            return Ok(Operand::Json(value.clone()));
        };
        let hint = "write \"$now\", \"$now-7d\" or \"$now+1h30m\" (ms s m h d w)";
        let out_of_reach = || wrong(at, &format!("{value} is no instant"), hint);
        offset(rest).and_then(|offset| Operand::Now(offset).at(self.now_ms)).ok_or_else(out_of_reach)
    }
}

/// The operators in an object whose members are all such; an object of values is none.
fn operators(condition: &Value) -> Option<&Map<String, Value>> {
    let members = condition.as_object()?;
    members.keys().any(|name| name.starts_with('$')).then_some(members)
}

fn offset(rest: &str) -> Option<Offset> {
    let (back, by) = match rest.split_at_checked(1) {
        None => (false, std::time::Duration::ZERO),
        Some(("-", by)) => (true, duration::parse(by)?),
        Some(("+", by)) => (false, duration::parse(by)?),
        Some(_) => return None,
    };
    Some(Offset { back, by })
}

fn boolean(operand: &Value, at: &str) -> Result<bool> {
    operand.as_bool().ok_or_else(|| wrong(at, "it takes true or false", "as in {\"$exists\": true}"))
}

fn text(operand: &Value, at: &str) -> Result<String> {
    let text = operand.as_str().map(str::to_owned);
    text.ok_or_else(|| wrong(at, &format!("it takes a text, not {}", short(operand)), "quote it"))
}

fn pattern(operand: &Value, options: Option<&Value>, at: &str) -> Result<Pattern> {
    let text = text(operand, at)?;
    let options = options.map_or(Ok(""), |o| {
        let known = o.as_str().filter(|o| o.chars().all(|c| "imsx".contains(c)));
        known.ok_or_else(|| wrong(at, &format!("{o} are no options"), "use letters of \"imsx\""))
    })?;
    let text = if options.is_empty() { text } else { format!("(?{options}){text}") };
    Pattern::parse(&text).map_err(|e| wrong(at, &e.to_string(), "correct the pattern"))
}

/// A field that no version of the definition ever had is a typing error; list positions are none.
fn check_filter_field(resource: &catalog::Resource, path: &str) -> Result<()> {
    let is_position = |segment: &str| !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit());
    let plain: Vec<&str> = path.split('.').filter(|segment| !is_position(segment)).collect();
    match check_field(resource, path) {
        Err(_) if plain.len() < path.split('.').count() => check_field(resource, &plain.join(".")),
        checked => checked,
    }
}

/// How the texts of a field are taken: those of a `date` of any version as dates.
pub(crate) fn texts_of(resource: &catalog::Resource, path: &str) -> Texts {
    let is_date = |attribute: &Attribute| matches!(attribute, Attribute::Leaf(rule) if rule.kind == Kind::Date);
    let dates = resource.versions().iter().any(|v| v.schema.attribute(path).is_some_and(is_date));
    if dates { Texts::Dates } else { Texts::Plain }
}

fn misplaced(at: &str, operator: &str) -> Error {
    if OPERATORS.contains(&operator) {
        return wrong(at, "it belongs to a field", &format!("as in {{\"age\": {{\"{operator}\": …}}}}"));
    }
    unknown_operator(at, operator)
}

fn unknown_operator(at: &str, name: &str) -> Error {
    if !name.starts_with('$') {
        return wrong(at, "operators and values are mixed", "give either operators, or a value to be equal to ($eq)");
    }
    let hint = did_you_mean(name, OPERATORS).unwrap_or_else(|| format!("operators: {}", OPERATORS.join(" ")));
    wrong(at, &format!("'{name}' is no operator"), &hint)
}

fn wrong(at: &str, message: &str, hint: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("{at}: {message}"))
        .guide(hint.to_owned())
        .detail(json!({ "fields": [{ "field": at, "rule": "where", "message": message }] }))
}

/// A value cut to what an error can show.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
