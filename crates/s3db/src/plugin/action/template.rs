//! JSON in which texts that begin with `=` are expressions.

use serde_json::{Map, Value};

use crate::plugin::expression::Expression;
use crate::plugin::problem::Problems;

/// JSON with expressions in it, compiled once.
#[derive(Debug)]
pub(crate) enum Template {
    Value(Value),
    Expression(Expression),
    List(Vec<Template>),
    Object(Vec<(String, Template)>),
}

impl Template {
    /// Compiles; what cannot be is told by its path.
    pub(crate) fn compile(value: &Value, variables: &[&str], path: &str, problems: &mut Problems) -> Self {
        match value {
            Value::String(text) => match text.strip_prefix('=') {
                None => Self::Value(value.clone()),
                Some(source) => match Expression::compile(source, variables) {
                    Ok(expression) => Self::Expression(expression),
                    Err(why) => {
                        problems.add(path, why);
                        Self::Value(Value::Null)
                    }
                },
            },
            Value::Array(items) => {
                let each = items.iter().enumerate();
                Self::List(
                    each.map(|(at, v)| Self::compile(v, variables, &format!("{path}[{at}]"), problems)).collect(),
                )
            }
            Value::Object(members) => {
                let each = members.iter();
                Self::Object(
                    each.map(|(k, v)| (k.clone(), Self::compile(v, variables, &format!("{path}.{k}"), problems)))
                        .collect(),
                )
            }
            plain => Self::Value(plain.clone()),
        }
    }

    /// The value for these variables. Blocking.
    pub(crate) fn render(&self, variables: &Map<String, Value>) -> Result<Value, String> {
        Ok(match self {
            Self::Value(value) => value.clone(),
            Self::Expression(expression) => expression.evaluate(variables)?,
            Self::List(items) => {
                Value::Array(items.iter().map(|item| item.render(variables)).collect::<Result<_, String>>()?)
            }
            Self::Object(members) => {
                let each = members.iter().map(|(k, v)| Ok((k.clone(), v.render(variables)?)));
                Value::Object(each.collect::<Result<_, String>>()?)
            }
        })
    }
}
