//! Writing a record under its behaviour.
//!
//! Sizes are counted as they travel: encoded values and names together. Whatever a value's own
//! encoding cannot hold is kept exactly, in the body where s3db.js reads it, else under `_x`, which
//! s3db.js ignores.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Content, Draft, Encoded};
use crate::error::FormatError;
use crate::header;
use crate::limits;
use crate::resource::{Behavior, Version};
use crate::revision;
use crate::schema::{Attribute, MappedPath};
use crate::value::Codec;

const JSON_TYPE: &str = "application/json";
/// What the header that says that values continue in the body takes.
const OVERFLOW: usize = "_overflow".len() + "true".len();

/// Lays a record out as an object.
///
/// # Errors
/// [`FormatError::TooLarge`] where the behaviour has no place for the record.
pub fn encode(version: &Version, draft: &Draft<'_>) -> Result<Encoded, FormatError> {
    let fields = fields(version, draft)?;
    let layout = match draft.content {
        Some(content) => return with_content(version, draft, fields, content),
        None if version.behavior == Behavior::BodyOnly => body_only(version, draft, fields),
        None => Layout::split(version, fields).arrange(version)?,
    };
    let encoded = match version.behavior {
        Behavior::BodyOnly => layout.finish_white_space(draft),
        _ => layout.finish_with_stamp(draft),
    };
    if encoded.body.len() > limits::BODY_BYTES {
        return Err(FormatError::TooLarge {
            message: format!(
                "the record's body has {} bytes, at most {} are allowed; keep large data as content",
                encoded.body.len(),
                limits::BODY_BYTES
            ),
            size: encoded.body.len(),
            limit: limits::BODY_BYTES,
        });
    }
    Ok(encoded)
}

/// One value on its way to storage.
struct Field<'a> {
    path: String,
    mapped: Option<&'a MappedPath>,
    value: &'a Value,
    /// The text of a header or a JSON string; `None` where no text holds the value exactly.
    text: Option<String>,
}

impl Field<'_> {
    /// Whether a header can hold it: a text or null under a key that stays distinct.
    fn fits_header(&self, version: &Version) -> bool {
        let index = self.mapped.and_then(|m| version.schema.paths().iter().position(|p| p.path == m.path));
        index.is_some_and(|at| at < limits::HEADER_KEYS) && (self.text.is_some() || self.value.is_null())
    }

    fn header_value(&self) -> String {
        self.text.as_deref().map_or_else(|| "null".to_owned(), header::encode)
    }

    /// Some servers (SeaweedFS 4.48) drop a header without a value, so that such a value is kept once
    /// more, exactly.
    fn lost_where_empty(&self) -> Option<(String, Value)> {
        let value = if self.value.is_string() { json!("") } else { self.value.clone() };
        self.header_value().is_empty().then(|| (self.path.clone(), value))
    }

    fn header_size(&self) -> usize {
        self.mapped.map_or(0, |m| m.key.len()) + self.header_value().len()
    }

    /// The body member, `None` if s3db.js would not read it back as it is.
    fn body_member(&self) -> Option<(String, Value)> {
        let key = match self.mapped {
            Some(mapped) => mapped.key.clone(),
            None if self.path.len() > 2 && !self.path.starts_with('_') => self.path.clone(),
            None => return None,
        };
        match (&self.text, self.value) {
            (Some(text), _) => Some((key, Value::String(text.clone()))),
            (None, Value::String(_)) => None,
            (None, other) => Some((key, other.clone())),
        }
    }
}

/// Walks the record in the schema's order.
fn fields<'a>(version: &'a Version, draft: &'a Draft<'a>) -> Result<Vec<Field<'a>>, FormatError> {
    let mut found = Vec::new();
    walk(version.schema.root(), draft.attributes, "", &mut |path, value| {
        let mapped = version.schema.mapped(&path);
        let codec = mapped.map_or(Codec::Whole, |m| m.codec);
        let text = match (codec, value) {
            (Codec::Secret { .. }, Value::Null) => None,
            (Codec::Secret { .. }, _) => match draft.sealed.get(&path) {
                Some(ciphertext) => Some(ciphertext.clone()),
                None => {
                    return Err(FormatError::Secret { field: path, reason: crate::secret::SecretError::NotEncrypted });
                }
            },
            _ => codec.encode(value),
        };
        found.push(Field { path, mapped, value, text });
        Ok(())
    })?;
    Ok(found)
}

type Visit<'v, 'a> = dyn FnMut(String, &'a Value) -> Result<(), FormatError> + 'v;

fn walk<'a>(
    level: &[(String, Attribute)],
    record: &'a Map<String, Value>,
    prefix: &str,
    visit: &mut Visit<'_, 'a>,
) -> Result<(), FormatError> {
    let path_of = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
    for (name, attribute) in level {
        let Some(value) = record.get(name) else { continue };
        match (attribute, value) {
            (Attribute::Nested(nested), Value::Object(inner)) if !inner.is_empty() => {
                walk(&nested.children, inner, &path_of(name), visit)?;
            }
            _ => visit(path_of(name), value)?,
        }
    }
    for (name, value) in record {
        if !level.iter().any(|(known, _)| known == name) {
            visit(path_of(name), value)?;
        }
    }
    Ok(())
}

/// Where each value goes.
#[derive(Default)]
struct Layout<'a> {
    headers: Vec<Field<'a>>,
    body: Vec<Field<'a>>,
    exact: Map<String, Value>,
    whole_body: bool,
    truncated: Vec<String>,
    encoded: Encoded,
}

impl<'a> Layout<'a> {
    /// Sorts out what no header can hold.
    fn split(version: &Version, fields: Vec<Field<'a>>) -> Self {
        let mut layout = Self::default();
        for field in fields {
            if field.fits_header(version) {
                layout.headers.push(field);
            } else if version.behavior.reads_body() && field.body_member().is_some() {
                layout.body.push(field);
            } else {
                layout.exact.insert(field.path, field.value.clone());
            }
        }
        layout
    }

    fn size(&self, version: &Version) -> usize {
        let flag = if self.body.is_empty() { 0 } else { OVERFLOW };
        fixed_size(version) + flag + self.headers.iter().map(Field::header_size).sum::<usize>()
    }

    fn arrange(mut self, version: &Version) -> Result<Self, FormatError> {
        let limit = limit(version);
        let size = self.size(version);
        if size > limit {
            match version.behavior {
                Behavior::EnforceLimits => return Err(too_large(size, limit)),
                Behavior::TruncateData => self.truncate(version, limit)?,
                Behavior::BodyOverflow => self.overflow(version, limit),
                Behavior::UserManaged | Behavior::BodyOnly => {
                    self.whole_body = true;
                    let mut all = std::mem::take(&mut self.headers);
                    all.append(&mut self.body);
                    self.body = all;
                }
            }
        }
        // s3db.js reads the whole body of a user-managed record that has no attribute in headers.
        self.whole_body |= version.behavior == Behavior::UserManaged && self.headers.is_empty();
        self.encoded.headers.insert("_v".into(), version.name.clone());
        if !self.body.is_empty() && !self.whole_body {
            self.encoded.headers.insert("_overflow".into(), "true".into());
        }
        if !self.truncated.is_empty() {
            self.encoded.headers.insert("_truncated".into(), "true".into());
        }
        for field in &self.headers {
            self.exact.extend(field.lost_where_empty());
            if let Some(mapped) = field.mapped {
                self.encoded.headers.insert(header::name(&mapped.key), field.header_value());
            }
        }
        Ok(self)
    }

    /// The smallest values stay in headers, the others go to the body.
    fn overflow(&mut self, version: &Version, limit: usize) {
        let mut fields = std::mem::take(&mut self.headers);
        fields.sort_by_key(Field::header_size);
        let mut size = fixed_size(version) + OVERFLOW;
        for field in fields {
            size += field.header_size();
            if size <= limit { self.headers.push(field) } else { self.body.push(field) }
        }
    }

    /// Cuts the longest texts, whole characters at a time, until the record fits.
    fn truncate(&mut self, version: &Version, limit: usize) -> Result<(), FormatError> {
        let limit = limit - "_truncated".len() - "true".len();
        while self.size(version) > limit {
            let excess = self.size(version) - limit;
            let longest = self
                .headers
                .iter_mut()
                .filter(|f| {
                    f.mapped.is_some_and(|m| m.codec == Codec::Text) && f.text.as_ref().is_some_and(|t| !t.is_empty())
                })
                .max_by_key(|f| f.header_size());
            let Some(field) = longest else {
                return Err(FormatError::TooLarge {
                    message: format!(
                        "the record needs {} bytes of headers, {limit} are allowed, and no text is left to cut; shorten it or use body-overflow",
                        limit + excess
                    ),
                    size: limit + excess,
                    limit,
                });
            };
            cut(field, excess);
            if !self.truncated.contains(&field.path) {
                self.truncated.push(field.path.clone());
            }
        }
        Ok(())
    }

    fn body_map(&self) -> Map<String, Value> {
        self.body.iter().filter_map(Field::body_member).collect()
    }

    /// The token and what needs exact keeping as members of the JSON body.
    fn finish_with_stamp(mut self, draft: &Draft<'_>) -> Encoded {
        let mut body = self.body_map();
        if self.whole_body
            && let Some(version) = self.encoded.headers.get("_v")
        {
            body.insert("_v".into(), json!(version));
        }
        body.extend(draft.stamp.body_members());
        if !self.exact.is_empty() {
            body.insert(revision::EXACT.into(), Value::Object(self.exact));
        }
        self.encoded.body = Value::Object(body).to_string().into_bytes();
        self.encoded.content_type = JSON_TYPE.into();
        let left = |path: &String| self.headers.iter().find(|f| f.path == *path).and_then(|f| f.text.clone());
        self.encoded.truncated = self.truncated.iter().filter_map(|path| Some((path.clone(), left(path)?))).collect();
        self.encoded
    }

    /// The token as white space behind the JSON body, its text in headers.
    fn finish_white_space(mut self, draft: &Draft<'_>) -> Encoded {
        let mut body = self.body_map();
        if let Some(version) = self.encoded.headers.get("_v") {
            body.insert("_v".into(), json!(version));
        }
        if !self.exact.is_empty() {
            body.insert(revision::EXACT.into(), Value::Object(self.exact));
        }
        let mut text = Value::Object(body).to_string();
        text.push_str(&revision::white_space(&draft.stamp.rev));
        self.encoded.headers.extend(draft.stamp.headers());
        self.encoded.body = text.into_bytes();
        self.encoded.content_type = JSON_TYPE.into();
        self.encoded
    }
}

fn body_only<'a>(version: &Version, draft: &Draft<'_>, fields: Vec<Field<'a>>) -> Layout<'a> {
    let mut layout = Layout { whole_body: true, ..Layout::default() };
    for field in fields {
        if field.body_member().is_some() {
            layout.body.push(field);
        } else {
            layout.exact.insert(field.path, field.value.clone());
        }
    }
    let map: Map<String, Value> = version.schema.paths().iter().map(|m| (m.path.clone(), json!(m.key))).collect();
    // Escaped to ASCII the map needs no encoding of its own, which would triple its size.
    let map = header::encode(&ascii_json(&Value::Object(map)));
    let stamp: usize = draft.stamp.headers().iter().map(|(n, v)| n.len() + v.len()).sum();
    layout.encoded.headers.insert("_v".into(), version.name.clone());
    // Without the map s3db.js cannot read the record; with one that S3 refuses nobody could write it.
    if fixed_size(version) + "_map".len() + map.len() + stamp <= limits::HEADER_BYTES {
        layout.encoded.headers.insert("_map".into(), map);
    }
    layout
}

/// JSON text whose characters beyond ASCII are written as `\u` escapes.
fn ascii_json(value: &Value) -> String {
    let mut text = String::new();
    for unit in value.to_string().encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() && byte != 0x7f => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\u{unit:04x}")),
        }
    }
    text
}

fn with_content(
    version: &Version,
    draft: &Draft<'_>,
    fields: Vec<Field<'_>>,
    content: Content<'_>,
) -> Result<Encoded, FormatError> {
    let mut headers: BTreeMap<String, String> = draft.stamp.headers().into_iter().collect();
    headers.insert("_v".into(), version.name.clone());
    headers.insert("_hascontent".into(), "true".into());
    headers.insert("id".into(), header::encode(draft.id));
    let mut exact = Map::new();
    for field in fields {
        match field.mapped.filter(|_| field.fits_header(version)) {
            Some(mapped) => {
                exact.extend(field.lost_where_empty());
                headers.insert(header::name(&mapped.key), field.header_value());
            }
            None => {
                if field.mapped.is_some_and(|m| m.codec.is_secret()) {
                    return Err(FormatError::TooLarge {
                        message: format!(
                            "secret '{}' has no place beside content: only the first {} attributes do",
                            field.path,
                            limits::HEADER_KEYS
                        ),
                        size: version.schema.paths().len(),
                        limit: limits::HEADER_KEYS,
                    });
                }
                exact.insert(field.path, field.value.clone());
            }
        }
    }
    if !exact.is_empty() {
        headers.insert(revision::EXACT.into(), header::encode(&Value::Object(exact).to_string()));
    }
    let size: usize = headers.iter().map(|(n, v)| n.len() + v.len()).sum();
    if size > limits::HEADER_BYTES {
        return Err(FormatError::TooLarge {
            message: format!(
                "beside content the record must fit in headers: it needs {size} bytes, {} are allowed; keep the content in a record of its own",
                limits::HEADER_BYTES
            ),
            size,
            limit: limits::HEADER_BYTES,
        });
    }
    Ok(Encoded {
        headers,
        content_type: content.content_type.to_owned(),
        body: content.body.to_vec(),
        truncated: Vec::new(),
    })
}

/// `_v` and its value.
fn fixed_size(version: &Version) -> usize {
    "_v".len() + version.name.len()
}

/// What s3db.js leaves for values: it counts `_v` once more, and the timestamps under their names.
fn limit(version: &Version) -> usize {
    const TIMESTAMPS: usize = 2 * ("createdAt".len() + "2026-11-22T21:00:00.000Z".len());
    limits::HEADER_BYTES - fixed_size(version) - if version.timestamps { TIMESTAMPS } else { 0 }
}

fn too_large(size: usize, limit: usize) -> FormatError {
    FormatError::TooLarge {
        message: format!(
            "S3 metadata size exceeds 2KB limit. Current size: {size} bytes, effective limit: {limit} bytes, absolute limit: {} bytes; shorten the record or use body-overflow",
            limits::HEADER_BYTES
        ),
        size,
        limit,
    }
}

/// Shortens a text until its encoded form is `excess` bytes smaller, or it is empty.
fn cut(field: &mut Field<'_>, excess: usize) {
    let target = field.header_size().saturating_sub(excess);
    let Some(text) = field.text.take() else { return };
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    // The longest prefix whose encoded form fits; encoded length grows with the prefix but for the
    // switch between the two encodings, so a short walk down from the best guess settles it.
    let mut keep = ends.partition_point(|end| {
        field.text = Some(text.get(..*end).unwrap_or_default().to_owned());
        field.header_size() <= target
    });
    loop {
        let end = keep.checked_sub(1).and_then(|k| ends.get(k)).copied().unwrap_or(0);
        field.text = Some(text.get(..end).unwrap_or_default().to_owned());
        if end == 0 || field.header_size() <= target {
            return;
        }
        keep -= 1;
    }
}
