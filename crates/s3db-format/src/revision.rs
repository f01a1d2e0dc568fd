//! The token that every record of ours carries.
//!
//! An ETag is a digest of the body, so a record that lives in headers alone would keep its ETag
//! through every update. The token in the body makes each write's ETag new, and the list of the ones
//! before it lets a writer whose answer was lost find out whether its write took place.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::limits;

/// The body member, or header, that holds the token.
pub(crate) const REV: &str = "_rev";
/// The tokens before it, newest first.
pub(crate) const REVS: &str = "_revs";
/// The revision under which each partition's current index key was put.
pub(crate) const INDEX: &str = "_idx";
/// Values that the attribute's own encoding cannot hold, by dotted path.
pub(crate) const EXACT: &str = "_x";
/// A delete that is under way in shared mode.
pub(crate) const DELETED: &str = "_deleted";

/// The revision of an index key that was made for a record without a stamp.
pub const UNSTAMPED: &str = "0";

/// A record's token with its history and its index revisions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The token of this write.
    pub rev: String,
    /// The tokens of the writes before it, newest first: eight, and more while it is written often.
    pub past: Vec<String>,
    /// Partition name → revision of its current index key.
    pub index: BTreeMap<String, String>,
}

impl Stamp {
    /// The stamp of a new record.
    pub fn first(rev: String) -> Self {
        Self { rev, ..Self::default() }
    }

    /// The stamp of a write over a record that carried none, so that its history is unknown.
    pub fn over_unstamped(rev: String, index: BTreeMap<String, String>) -> Self {
        Self { rev, past: vec![UNSTAMPED.to_owned()], index }
    }

    /// The stamp of the write that follows this one. Beyond the eight before it, it keeps the tokens
    /// that are not older than `recent`, a token of a time: a writer that waits long for its refusal,
    /// while many others write, still finds the one that it was based on.
    pub fn next(&self, rev: String, recent: Option<&str>) -> Self {
        let is_recent = |token: &String| recent.is_some_and(|recent| token.as_str() >= recent);
        let before = std::iter::once(&self.rev).chain(&self.past).take(limits::RECENT_REVISIONS);
        let kept = before.enumerate().take_while(|(at, token)| *at < limits::PAST_REVISIONS || is_recent(token));
        let past = kept.map(|(_, token)| token.clone()).collect();
        Self { rev, past, index: self.index.clone() }
    }

    /// Whether this record came to be by the write with the token, now or earlier.
    pub fn contains(&self, rev: &str) -> bool {
        self.rev == rev || self.past.iter().any(|p| p == rev)
    }

    /// Whether the list of tokens goes back to the record's insert.
    pub fn is_complete(&self) -> bool {
        self.past.len() < limits::PAST_REVISIONS && !self.contains(UNSTAMPED)
    }

    /// The revision of a partition's current index key.
    pub fn index_revision(&self, partition: &str) -> &str {
        self.index.get(partition).map_or(UNSTAMPED, String::as_str)
    }

    /// The members of a JSON body.
    pub(crate) fn body_members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert(REV.into(), json!(self.rev));
        members.insert(REVS.into(), json!(self.past));
        if !self.index.is_empty() {
            members.insert(INDEX.into(), json!(self.index));
        }
        members
    }

    /// The headers of an object whose body is not ours to write in.
    pub(crate) fn headers(&self) -> Vec<(String, String)> {
        // Headers have little room.
        let past = self.past.get(..limits::PAST_REVISIONS).unwrap_or(&self.past);
        let mut headers = vec![(REV.to_owned(), self.rev.clone()), (REVS.to_owned(), past.join(","))];
        if !self.index.is_empty() {
            headers.push((INDEX.to_owned(), crate::header::encode(&json!(self.index).to_string())));
        }
        headers.retain(|(_, value)| !value.is_empty());
        headers
    }

    /// Reads a stamp from a JSON body.
    pub(crate) fn from_body(body: &Map<String, Value>) -> Option<Self> {
        let rev = body.get(REV)?.as_str()?.to_owned();
        let texts = |v: &Value| v.as_array().map(|a| a.iter().filter_map(|t| Some(t.as_str()?.to_owned())).collect());
        let past = body.get(REVS).and_then(texts).unwrap_or_default();
        Some(Self { rev, past, index: index_of(body.get(INDEX)) })
    }

    /// Reads a stamp from decoded headers.
    pub(crate) fn from_headers(header: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let rev = header(REV)?;
        let past = header(REVS).unwrap_or_default();
        let past = past.split(',').filter(|p| !p.is_empty()).map(str::to_owned).collect();
        let index = header(INDEX).and_then(|text| serde_json::from_str(&text).ok());
        Some(Self { rev, past, index: index_of(index.as_ref()) })
    }
}

fn index_of(value: Option<&Value>) -> BTreeMap<String, String> {
    let members = value.and_then(Value::as_object).cloned().unwrap_or_default();
    members.into_iter().filter_map(|(k, v)| Some((k, v.as_str()?.to_owned()))).collect()
}

/// The token in an object's headers, where its body is not ours to write in.
pub fn token_in_headers(headers: &BTreeMap<String, String>) -> Option<&str> {
    headers.get(REV).map(String::as_str)
}

/// A token as white space for the end of a body that 9.2.0 must read as plain JSON.
pub(crate) fn white_space(rev: &str) -> String {
    const BLANKS: [char; 4] = [' ', '\n', '\t', '\r'];
    let blank = |bits: u8| BLANKS.get(usize::from(bits & 3)).copied().unwrap_or(' ');
    rev.bytes().flat_map(|b| [b >> 6, b >> 4, b >> 2, b]).map(blank).collect()
}
