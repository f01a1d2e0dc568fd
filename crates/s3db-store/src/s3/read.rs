//! Requests that change nothing.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use aws_smithy_types::DateTime;

use super::Bucket;
use crate::{Entry, List, Object, ObjectMeta, Page, Result};

impl Bucket {
    pub(super) async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Object> {
        let mut request = self.client.get_object().bucket(&self.name).key(self.key(key));
        if let Some(range) = &range {
            // An HTTP range names its last byte.
            request = request.range(format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        }
        let answer = request.send().await.map_err(|e| self.doing("read of", key).failed(e))?;
        let meta = ObjectMeta {
            etag: unquoted(answer.e_tag),
            size: whole_size(answer.content_range.as_deref(), answer.content_length),
            modified_ms: answer.last_modified.map_or(0, to_ms),
            content_type: answer.content_type,
            headers: in_order(answer.metadata),
        };
        let body = answer.body.collect().await.map_err(|e| self.doing("read of", key).cut(&e))?;
        Ok(Object { body: body.into_bytes(), meta })
    }

    pub(super) async fn head(&self, key: &str) -> Result<ObjectMeta> {
        let request = self.client.head_object().bucket(&self.name).key(self.key(key));
        let answer = request.send().await.map_err(|e| self.doing("look at", key).failed(e))?;
        Ok(ObjectMeta {
            etag: unquoted(answer.e_tag),
            size: answer.content_length.and_then(|n| u64::try_from(n).ok()).unwrap_or_default(),
            modified_ms: answer.last_modified.map_or(0, to_ms),
            content_type: answer.content_type,
            headers: in_order(answer.metadata),
        })
    }

    pub(super) async fn list(&self, list: List) -> Result<Page> {
        let prefix = self.key(&list.prefix);
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.name)
            .prefix(&prefix)
            .max_keys(i32::try_from(list.max_keys.clamp(1, List::MAX_KEYS)).unwrap_or(1000))
            .set_delimiter(list.delimiter.map(String::from))
            .set_start_after(list.start_after.filter(|_| list.token.is_none()).map(|after| self.key(&after)))
            .set_continuation_token(list.token);
        let answer = request.send().await.map_err(|e| self.doing("listing of", &list.prefix).failed(e))?;
        let entries = answer.contents.unwrap_or_default().into_iter().filter_map(|object| {
            Some(Entry {
                key: self.own_key(object.key?)?,
                etag: unquoted(object.e_tag),
                size: object.size.and_then(|n| u64::try_from(n).ok()).unwrap_or_default(),
                modified_ms: object.last_modified.map_or(0, to_ms),
            })
        });
        let prefixes = answer.common_prefixes.unwrap_or_default().into_iter();
        let truncated = answer.is_truncated.unwrap_or_default();
        Ok(Page {
            entries: entries.collect(),
            prefixes: prefixes.filter_map(|p| self.own_key(p.prefix?)).collect(),
            next: answer.next_continuation_token.filter(|_| truncated),
        })
    }
}

/// An ETag as we hold it: without quotes.
pub(super) fn unquoted(etag: Option<String>) -> String {
    let etag = etag.unwrap_or_default();
    etag.trim_start_matches("W/").trim_matches('"').to_owned()
}

fn in_order(headers: Option<HashMap<String, String>>) -> BTreeMap<String, String> {
    headers.unwrap_or_default().into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
}

fn to_ms(time: DateTime) -> i64 {
    time.to_millis().unwrap_or_default()
}

/// Bytes of the whole body, where only a range of it was read.
fn whole_size(content_range: Option<&str>, content_length: Option<i64>) -> u64 {
    let whole = content_range.and_then(|range| range.rsplit('/').next()).and_then(|size| size.parse().ok());
    whole.or_else(|| content_length.and_then(|n| u64::try_from(n).ok())).unwrap_or_default()
}
