//! Requests that change something. Each is sent once; whoever calls decides about another attempt.

use std::time::Duration;

use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    CompletedMultipartUpload, CompletedPart, Delete, MetadataDirective, ObjectIdentifier, StorageClass,
};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Bucket;
use super::read::unquoted;
use crate::{Copy, ErrorKind, Precondition, Put, Result, StoreError};

/// Bodies from this size on are sent in parts.
pub(super) const MULTIPART_BYTES: usize = 32 << 20;
const PART_BYTES: usize = 16 << 20;
const PARTS_AT_ONCE: usize = 4;
/// The slowest upload that is waited for, in bytes per second.
const SLOWEST: u64 = 256 << 10;

/// Characters of a key that stand for themselves in the name of a copy's source.
const SOURCE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A precondition as two headers.
#[derive(Debug, Default)]
pub(super) struct Condition {
    pub(super) if_none_match: Option<String>,
    pub(super) if_match: Option<String>,
}

impl Bucket {
    pub(super) async fn put(&self, key: &str, put: Put, condition: Condition) -> Result<String> {
        check(key, self.prefix.len(), &put)?;
        let timeouts = self.patience(put.body.len());
        let answer = self
            .client
            .put_object()
            .bucket(&self.name)
            .key(self.key(key))
            .set_metadata(Some(put.headers.into_iter().collect()))
            .set_content_type(put.content_type)
            .set_storage_class(put.storage_class.as_deref().map(StorageClass::from))
            .set_if_none_match(condition.if_none_match)
            .set_if_match(condition.if_match)
            .body(ByteStream::from(put.body))
            .customize()
            .config_override(aws_sdk_s3::config::Builder::new().timeout_config(timeouts))
            .send()
            .await
            .map_err(|e| self.doing("write of", key).failed(e))?;
        Ok(unquoted(answer.e_tag))
    }

    /// Sends a body in parts. Nothing is visible before the last request, which carries the
    /// condition; a crash before it leaves parts that the bucket's lifecycle rule removes.
    pub(super) async fn put_in_parts(&self, key: &str, put: Put, condition: Condition) -> Result<String> {
        check(key, self.prefix.len(), &put)?;
        let body = put.body.clone();
        let upload = self.begin(key, put).await?;
        let parts = match self.send_parts(key, &upload, &body).await {
            Ok(parts) => parts,
            Err(error) => {
                self.abort(key, &upload).await;
                // Parts are not the object: nothing of it was written.
                let kind = if error.kind == ErrorKind::Unknown { ErrorKind::Unavailable } else { error.kind };
                return Err(StoreError { kind, ..error });
            }
        };
        let completed = self
            .client
            .complete_multipart_upload()
            .bucket(&self.name)
            .key(self.key(key))
            .upload_id(&upload)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .set_if_none_match(condition.if_none_match)
            .set_if_match(condition.if_match)
            .send()
            .await
            .map_err(|e| self.doing("write of", key).failed(e));
        match completed {
            Ok(answer) => Ok(unquoted(answer.e_tag)),
            Err(error) => {
                if error.kind != ErrorKind::Unknown {
                    self.abort(key, &upload).await;
                }
                Err(error)
            }
        }
    }

    async fn begin(&self, key: &str, put: Put) -> Result<String> {
        let request = self
            .client
            .create_multipart_upload()
            .bucket(&self.name)
            .key(self.key(key))
            .set_metadata(Some(put.headers.into_iter().collect()))
            .set_content_type(put.content_type)
            .set_storage_class(put.storage_class.as_deref().map(StorageClass::from));
        let begun = request.send().await.map_err(|e| self.doing("write of", key).failed(e))?;
        begun.upload_id.ok_or_else(|| {
            StoreError::new(ErrorKind::Unsupported, format!("write of '{key}': the server began no upload in parts"))
        })
    }

    async fn send_parts(&self, key: &str, upload: &str, body: &Bytes) -> Result<Vec<CompletedPart>> {
        let starts = (0..body.len()).step_by(PART_BYTES).zip(1i32..);
        let sent = stream::iter(starts).map(|(start, number)| {
            let part = body.slice(start..body.len().min(start + PART_BYTES));
            async move {
                let request = self
                    .client
                    .upload_part()
                    .bucket(&self.name)
                    .key(self.key(key))
                    .upload_id(upload)
                    .part_number(number)
                    .body(ByteStream::from(part))
                    .customize()
                    .config_override(aws_sdk_s3::config::Builder::new().timeout_config(self.patience(PART_BYTES)));
                let answer = request.send().await.map_err(|e| self.doing("write of", key).failed(e))?;
                Ok(CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag).build())
            }
        });
        sent.buffered(PARTS_AT_ONCE).try_collect().await
    }

    async fn abort(&self, key: &str, upload: &str) {
        let request = self.client.abort_multipart_upload().bucket(&self.name).key(self.key(key)).upload_id(upload);
        if let Err(error) = request.send().await {
            let error = self.doing("write of", key).failed(error);
            tracing::warn!(%error, "the parts of an upload that failed are left over");
        }
    }

    pub(super) async fn delete(&self, key: &str, condition: Condition) -> Result<()> {
        let request = self.client.delete_object().bucket(&self.name).key(self.key(key));
        let request = request.set_if_match(condition.if_match);
        request.send().await.map_err(|e| self.doing("delete of", key).failed(e))?;
        Ok(())
    }

    pub(super) async fn delete_many(&self, keys: &[String]) -> Result<()> {
        let Some(first) = keys.first() else { return Ok(()) };
        let invalid = |e: aws_sdk_s3::error::BuildError| StoreError::new(ErrorKind::Invalid, e.to_string());
        let identifiers = keys.iter().map(|key| ObjectIdentifier::builder().key(self.key(key)).build());
        let identifiers = identifiers.collect::<std::result::Result<Vec<_>, _>>().map_err(invalid)?;
        let delete = Delete::builder().set_objects(Some(identifiers)).quiet(true).build().map_err(invalid)?;
        let request = self.client.delete_objects().bucket(&self.name).delete(delete);
        let answer = request.send().await.map_err(|e| self.doing("delete of", first).failed(e))?;
        let failed = answer.errors.unwrap_or_default();
        let Some(error) = failed.iter().find(|e| e.code() != Some("NoSuchKey")) else { return Ok(()) };
        let denied = error.code() == Some("AccessDenied");
        let kind = if denied { ErrorKind::Denied } else { ErrorKind::Unknown };
        let (key, reason) =
            (error.key().unwrap_or(first), error.message().or(error.code()).unwrap_or("no reason given"));
        Err(StoreError::new(kind, format!("delete of {} objects, '{key}' among them: {reason}", failed.len())))
    }

    pub(super) async fn copy(&self, from: &str, to: &str, mut copy: Copy, source: Condition) -> Result<String> {
        let replaces = copy.headers.is_some() || copy.content_type.is_some();
        if replaces && (copy.headers.is_none() || copy.content_type.is_none()) {
            // Replacing one of the two would drop the other.
            let meta = self.head(from).await?;
            copy.headers.get_or_insert(meta.headers);
            copy.content_type = copy.content_type.or(meta.content_type);
        }
        let name = format!("{}/{}", self.name, utf8_percent_encode(&self.key(from), SOURCE));
        let directive = if replaces { MetadataDirective::Replace } else { MetadataDirective::Copy };
        let answer = self
            .client
            .copy_object()
            .bucket(&self.name)
            .key(self.key(to))
            .copy_source(name)
            .metadata_directive(directive)
            .set_metadata(copy.headers.map(|headers| headers.into_iter().collect()))
            .set_content_type(copy.content_type)
            .set_copy_source_if_match(source.if_match)
            .send()
            .await
            .map_err(|e| self.doing("copy of", from).failed(e))?;
        Ok(unquoted(answer.copy_object_result.and_then(|result| result.e_tag)))
    }

    /// How long an upload of this size may take.
    fn patience(&self, bytes: usize) -> TimeoutConfig {
        let upload = Duration::from_secs(bytes as u64 / SLOWEST);
        TimeoutConfig::builder().operation_attempt_timeout(self.request_timeout + upload).build()
    }
}

/// Refuses what S3 would refuse, where not every server does.
fn check(key: &str, prefix: usize, put: &Put) -> Result<()> {
    const KEY_BYTES: usize = 1024;
    const METADATA_BYTES: usize = 2048;
    let invalid = |message: String| Err(StoreError::new(ErrorKind::Invalid, message));
    let length = prefix + key.len();
    if length > KEY_BYTES {
        return invalid(format!("the object key '{key}' has {length} bytes with its prefix, at most {KEY_BYTES} fit"));
    }
    let metadata: usize = put.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if metadata > METADATA_BYTES {
        return invalid(format!("the headers of '{key}' have {metadata} bytes, at most {METADATA_BYTES} fit"));
    }
    Ok(())
}

/// The two forms of a precondition's ETag.
pub(super) fn condition(precondition: Precondition, quoted: bool) -> Condition {
    match precondition {
        Precondition::None => Condition::default(),
        Precondition::Absent => Condition { if_none_match: Some("*".to_owned()), if_match: None },
        Precondition::Matches(etag) if quoted => {
            Condition { if_none_match: None, if_match: Some(format!("\"{etag}\"")) }
        }
        Precondition::Matches(etag) => Condition { if_none_match: None, if_match: Some(etag) },
    }
}
