//! The validation mini-language: `"string|min:2|max:100"` as data.
//!
//! Parsing follows FORMAT.md section 13 (fastest-validator as driven by s3db.js): split at `|`, trim,
//! the first word is the type, `key:value` is an option, a bare word is `true`, `no-word` is `false`.
//! Nothing is ever evaluated as code.

use crate::error::DefinitionError;
use crate::escape;
use crate::pattern::Pattern;

/// What a value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    String,
    /// A number (with the flag `integer`: a whole one).
    Number,
    /// `true` or `false`.
    Boolean,
    /// An e-mail address.
    Email,
    /// A URL with the scheme `http` or `https`.
    Url,
    /// A UUID.
    Uuid,
    /// A MAC address.
    Mac,
    /// A number with a Luhn check digit.
    Luhn,
    /// An amount of money as text.
    Currency,
    /// An instant or a calendar day.
    Date,
    /// A list.
    Array,
    /// An object that is stored whole.
    Object,
    /// Anything.
    Any,
    /// Any JSON value, kept with its type.
    Json,
    /// Text, encrypted at rest.
    Secret,
    /// A number, encrypted at rest.
    SecretNumber,
    /// Anything, encrypted at rest as text.
    SecretAny,
    /// Equal to a fixed value or to another field.
    Equal,
    /// Must be missing.
    Forbidden,
    /// A list, kept whole.
    Tuple,
    /// An object, kept whole.
    Record,
    /// Accepted without a check.
    Custom,
}

const KINDS: [(&str, Kind); 22] = [
    ("string", Kind::String),
    ("number", Kind::Number),
    ("boolean", Kind::Boolean),
    ("email", Kind::Email),
    ("url", Kind::Url),
    ("uuid", Kind::Uuid),
    ("mac", Kind::Mac),
    ("luhn", Kind::Luhn),
    ("currency", Kind::Currency),
    ("date", Kind::Date),
    ("array", Kind::Array),
    ("object", Kind::Object),
    ("any", Kind::Any),
    ("json", Kind::Json),
    ("secret", Kind::Secret),
    ("secretNumber", Kind::SecretNumber),
    ("secretAny", Kind::SecretAny),
    ("equal", Kind::Equal),
    ("forbidden", Kind::Forbidden),
    ("tuple", Kind::Tuple),
    ("record", Kind::Record),
    ("custom", Kind::Custom),
];

/// Words of ours that are written to the catalog in a form that s3db.js accepts.
const OWN_WORDS: [&str; 3] = ["integer", "enum", "ip"];

/// Every option word that means something, for "did you mean".
pub(crate) const OPTIONS: [&str; 51] = [
    "required",
    "optional",
    "nullable",
    "default",
    "min",
    "max",
    "length",
    "empty",
    "pattern",
    "contains",
    "in",
    "ip",
    "alpha",
    "alphanum",
    "alphadash",
    "numeric",
    "hex",
    "base64",
    "singleLine",
    "convert",
    "trim",
    "lowercase",
    "uppercase",
    "localeLowercase",
    "localeUppercase",
    "padStart",
    "padEnd",
    "padChar",
    "trimLeft",
    "trimRight",
    "normalize",
    "equal",
    "notEqual",
    "integer",
    "decimal",
    "positive",
    "negative",
    "mode",
    "version",
    "items",
    "unique",
    "minProps",
    "maxProps",
    "value",
    "field",
    "strict",
    "remove",
    "currencySymbol",
    "thousandSeparator",
    "decimalSeparator",
    "enc",
];

impl Kind {
    /// The kind that a type word names, case-sensitively.
    pub fn from_word(word: &str) -> Option<Self> {
        KINDS.iter().find(|(w, _)| *w == word).map(|(_, k)| *k)
    }

    /// The type word.
    pub fn word(self) -> &'static str {
        KINDS.iter().find(|(_, k)| *k == self).map_or("any", |(w, _)| w)
    }

    /// Whether values are encrypted at rest.
    pub fn is_secret(self) -> bool {
        matches!(self, Kind::Secret | Kind::SecretNumber | Kind::SecretAny)
    }
}

/// An option's value after parsing.
#[derive(Debug, Clone, PartialEq)]
pub enum OptionValue {
    /// A bare word, `no-word`, or the texts `true` and `false`.
    Flag(bool),
    /// Anything that reads as a number.
    Number(f64),
    /// Any other text.
    Text(String),
}

/// One parsed rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The type.
    pub kind: Kind,
    options: Vec<(String, OptionValue, String)>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) items: Option<Kind>,
}

impl Rule {
    /// Parses the text of a rule as it stands in a catalog.
    ///
    /// # Errors
    /// An unknown type, a limit that is no number, a pattern that is no regular expression.
    ///
    /// ```
    /// use s3db_format::rule::{Kind, Rule};
    /// let rule = Rule::parse("string|min:2|optional").unwrap();
    /// assert_eq!(rule.kind, Kind::String);
    /// assert_eq!(rule.number("min"), Some(2.0));
    /// assert!(Rule::parse("strin").unwrap_err().to_string().contains("did you mean 'string'"));
    /// ```
    pub fn parse(text: &str) -> Result<Self, DefinitionError> {
        let mut words = text.split('|').map(str::trim);
        let (kind, mut options) = parse_type(words.next().unwrap_or_default())?;
        let words: Vec<&str> = words.filter(|w| !w.is_empty()).collect();
        let escaped = words.contains(&escape::MARK);
        for word in words {
            if word != escape::MARK {
                options.push(parse_option(word, escaped));
            }
        }
        // `integer` is no type of the catalog: whole items are numbers with the flag.
        if options.iter().any(|(word, _, raw)| word == "items" && raw == "integer") {
            options.retain(|(word, _, _)| word != "items");
            options.extend([parse_option("items:number", false), parse_option("integer:true", false)]);
        }
        let mut rule = Rule { kind, options, pattern: None, items: None };
        rule.check_limits()?;
        rule.pattern = rule.text("pattern").map(|p| Pattern::parse(&p)).transpose()?;
        rule.items = rule.parse_items()?;
        Ok(rule)
    }

    fn check_limits(&self) -> Result<(), DefinitionError> {
        for word in ["min", "max", "length", "minProps", "maxProps"] {
            if let Some((_, value, raw)) = self.options.iter().find(|(w, _, _)| w == word)
                && !matches!(value, OptionValue::Number(_))
            {
                return Err(DefinitionError::new(format!("'{word}:{raw}' needs a number, as in '{word}:2'")));
            }
        }
        Ok(())
    }

    fn parse_items(&self) -> Result<Option<Kind>, DefinitionError> {
        let Some(word) = self.text("items") else { return Ok(None) };
        if OWN_WORDS.contains(&word.as_str()) {
            return Err(DefinitionError::new(format!(
                "'{word}' cannot be the type of an array's items; use items:string"
            )));
        }
        let kind = Kind::from_word(&word).ok_or_else(|| unknown_type(&word))?;
        if kind.is_secret() {
            return Err(DefinitionError::new(
                "the items of an array cannot be secrets; use a 'secretAny' attribute that holds the list as text",
            ));
        }
        Ok(Some(kind))
    }

    /// Whether a bare option is on.
    pub fn flag(&self, word: &str) -> bool {
        self.flag_value(word) == Some(true)
    }

    /// A flag's value, `None` if the rule does not say.
    pub(crate) fn flag_value(&self, word: &str) -> Option<bool> {
        self.options.iter().rev().find(|(w, _, _)| w == word).and_then(|(_, v, _)| match v {
            OptionValue::Flag(b) => Some(*b),
            _ => None,
        })
    }

    /// A numeric option.
    pub fn number(&self, word: &str) -> Option<f64> {
        self.options.iter().rev().find(|(w, _, _)| w == word).and_then(|(_, v, _)| match v {
            OptionValue::Number(n) => Some(*n),
            _ => None,
        })
    }

    /// An option's text as it was written, escapes taken back.
    pub fn text(&self, word: &str) -> Option<String> {
        self.options.iter().rev().find(|(w, _, raw)| w == word && !raw.is_empty()).map(|(_, _, raw)| raw.clone())
    }

    /// Whether a missing value passes.
    pub fn is_optional(&self) -> bool {
        self.flag("optional") || self.kind == Kind::Forbidden
    }

    /// Whether null passes.
    pub fn is_nullable(&self) -> bool {
        self.is_optional() || self.flag("nullable") || self.text("default").as_deref() == Some("null")
    }

    /// The allowed texts of an enumeration.
    pub fn one_of(&self) -> Option<Vec<String>> {
        let list = self.text("in")?;
        Some(list.split(',').map(|s| s.trim().to_owned()).collect())
    }

    /// The option words that mean nothing to us.
    pub(crate) fn unknown_options(&self) -> Vec<&str> {
        self.options.iter().map(|(w, _, _)| w.as_str()).filter(|w| !OPTIONS.contains(w)).collect()
    }
}

type Parsed = (String, OptionValue, String);

/// The first word: a type, `type[]`, or one of our own words.
fn parse_type(word: &str) -> Result<(Kind, Vec<Parsed>), DefinitionError> {
    if let Some(item) = word.strip_suffix("[]") {
        let items = parse_option(&format!("items:{item}"), false);
        return Ok((Kind::Array, vec![items]));
    }
    if let Some(values) = word.strip_prefix("enum:") {
        return Ok((Kind::String, vec![parse_option(&format!("in:{values}"), false)]));
    }
    match word {
        "integer" => Ok((Kind::Number, vec![parse_option("integer:true", false)])),
        "ip" => Ok((Kind::String, vec![parse_option("ip:true", false)])),
        "enum" => Err(DefinitionError::new("'enum' needs its values, as in 'enum:a,b,c'")),
        _ => Kind::from_word(word).map(|k| (k, Vec::new())).ok_or_else(|| unknown_type(word)),
    }
}

fn parse_option(word: &str, escaped: bool) -> Parsed {
    let Some((key, value)) = word.split_once(':') else {
        return match word.strip_prefix("no-") {
            Some(key) => (key.to_owned(), OptionValue::Flag(false), String::new()),
            None => (word.to_owned(), OptionValue::Flag(true), String::new()),
        };
    };
    let raw = value.trim();
    let raw = if escaped { escape::unescape(raw) } else { raw.to_owned() };
    let parsed = match raw.as_str() {
        "true" => OptionValue::Flag(true),
        "false" => OptionValue::Flag(false),
        text => match text.parse::<f64>() {
            Ok(n) if n.is_finite() => OptionValue::Number(n),
            _ => OptionValue::Text(raw.clone()),
        },
    };
    (key.trim().to_owned(), parsed, raw)
}

fn unknown_type(word: &str) -> DefinitionError {
    let known = KINDS.iter().map(|(w, _)| *w).chain(OWN_WORDS);
    let hint = crate::error::did_you_mean(word, known.clone())
        .unwrap_or_else(|| format!("known types: {}", known.collect::<Vec<_>>().join(", ")));
    DefinitionError::new(format!("'{word}' is not a type; {hint}"))
}
