//! The operations of S3 over the memory store. Whatever a condition decides is decided under the
//! store's own lock, in one step with the write.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use s3db_store::memory::Memory;
use s3db_store::{Copy, ErrorKind, List, ObjectMeta, Precondition, Put, Store, StoreError};
use s3s::dto::*;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use crate::listing::by_names;
use crate::{BUCKET, Behaviour, Conditions};

const METADATA_BYTES: usize = 2048;
const KEY_BYTES: usize = 1024;

pub(crate) struct Backend {
    memory: Arc<Memory>,
    behaviour: Behaviour,
    conditional_writes: AtomicU64,
    uploads: Mutex<HashMap<String, Upload>>,
    last_upload: AtomicU64,
}

/// An upload in parts.
struct Upload {
    put: Put,
    parts: BTreeMap<i32, Bytes>,
}

impl Backend {
    pub(crate) fn new(memory: Arc<Memory>, behaviour: Behaviour) -> Self {
        Self {
            memory,
            behaviour,
            conditional_writes: AtomicU64::new(0),
            uploads: Mutex::default(),
            last_upload: AtomicU64::new(0),
        }
    }

    fn uploads(&self) -> MutexGuard<'_, HashMap<String, Upload>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The precondition that the headers of a write stand for, as this server takes them.
    fn precondition<T>(&self, request: &S3Request<T>) -> Precondition {
        let header = |name: &str| request.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let (if_match, if_none_match) = (header("if-match"), header("if-none-match"));
        if if_match.is_none() && if_none_match.is_none() {
            return Precondition::None;
        }
        let number = self.conditional_writes.fetch_add(1, Ordering::SeqCst) + 1;
        let ignored = match self.behaviour.conditions {
            Conditions::Held | Conditions::Unquoted => false,
            Conditions::Ignored => true,
            Conditions::IgnoredEvery(n) => number.is_multiple_of(n),
        };
        match if_match {
            _ if ignored => Precondition::None,
            Some(etag) if etag.starts_with('"') && self.behaviour.conditions == Conditions::Unquoted => {
                Precondition::Matches(etag)
            }
            Some(etag) => Precondition::Matches(etag.trim_matches('"').to_owned()),
            None => Precondition::Absent,
        }
    }

    async fn put(&self, key: &str, put: Put, precondition: Precondition) -> S3Result<ETag> {
        if key.len() > KEY_BYTES {
            return Err(s3_error!(KeyTooLongError, "the key has {} bytes", key.len()));
        }
        let metadata: usize = put.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if metadata > METADATA_BYTES {
            return Err(s3_error!(MetadataTooLarge, "the metadata has {metadata} bytes"));
        }
        self.memory.put(key, put, precondition).await.map(ETag::Strong).map_err(refused)
    }
}

fn check_bucket(bucket: &str) -> S3Result<()> {
    if bucket == BUCKET { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
}

fn refused(error: StoreError) -> S3Error {
    let code = match error.kind {
        ErrorKind::NotFound => S3ErrorCode::NoSuchKey,
        ErrorKind::Precondition => S3ErrorCode::PreconditionFailed,
        ErrorKind::Invalid => S3ErrorCode::InvalidRange,
        _ => S3ErrorCode::InternalError,
    };
    S3Error::with_message(code, error.message)
}

async fn whole(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(body) = body else { return Ok(Bytes::new()) };
    let collected = body.try_fold(BytesMut::new(), |mut all, part| async move {
        all.extend_from_slice(&part);
        Ok(all)
    });
    Ok(collected.await.map_err(|e| s3_error!(IncompleteBody, "{e}"))?.freeze())
}

fn headers(metadata: Option<Metadata>) -> BTreeMap<String, String> {
    metadata.unwrap_or_default().into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
}

fn modified(meta: &ObjectMeta) -> Timestamp {
    Timestamp::from(UNIX_EPOCH + Duration::from_millis(u64::try_from(meta.modified_ms).unwrap_or_default()))
}

fn length(bytes: u64) -> Option<i64> {
    i64::try_from(bytes).ok()
}

#[async_trait::async_trait]
impl S3 for Backend {
    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        check_bucket(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let precondition = self.precondition(&request);
        let input = request.input;
        check_bucket(&input.bucket)?;
        let put = Put {
            body: whole(input.body).await?,
            headers: headers(input.metadata),
            content_type: input.content_type,
            storage_class: input.storage_class.map(|class| class.as_str().to_owned()),
        };
        let e_tag = Some(self.put(&input.key, put, precondition).await?);
        Ok(S3Response::new(PutObjectOutput { e_tag, ..Default::default() }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        let object = self.memory.get(&input.key, None).await.map_err(refused)?;
        let size = object.meta.size;
        let range = input.range.map(|range| range.check(size)).transpose().map_err(|_| s3_error!(InvalidRange))?;
        let content_range = range.as_ref().map(|r| format!("bytes {}-{}/{size}", r.start, r.end.saturating_sub(1)));
        let body = match range {
            Some(range) => object.body.slice(range.start as usize..range.end as usize),
            None => object.body,
        };
        let modified = modified(&object.meta);
        let output = GetObjectOutput {
            content_length: length(body.len() as u64),
            body: Some(StreamingBlob::wrap(futures::stream::once(async move { Ok::<_, std::io::Error>(body) }))),
            content_range,
            content_type: object.meta.content_type,
            e_tag: Some(ETag::Strong(object.meta.etag)),
            last_modified: Some(modified),
            metadata: Some(object.meta.headers.into_iter().collect()),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        let meta = self.memory.head(&input.key).await.map_err(refused)?;
        let output = HeadObjectOutput {
            content_length: length(meta.size),
            last_modified: Some(modified(&meta)),
            content_type: meta.content_type,
            e_tag: Some(ETag::Strong(meta.etag)),
            metadata: Some(meta.headers.into_iter().collect()),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let precondition = self.precondition(&request);
        check_bucket(&request.input.bucket)?;
        let precondition = if self.behaviour.no_conditional_delete { Precondition::None } else { precondition };
        self.memory.delete(&request.input.key, precondition).await.map_err(refused)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        check_bucket(&request.input.bucket)?;
        let keys: Vec<String> = request.input.delete.objects.into_iter().map(|object| object.key).collect();
        if keys.len() > List::MAX_KEYS {
            return Err(s3_error!(MalformedXML, "{} keys in one request", keys.len()));
        }
        self.memory.delete_many(&keys).await.map_err(refused)?;
        Ok(S3Response::new(DeleteObjectsOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        let list = List {
            prefix: input.prefix.clone().unwrap_or_default(),
            start_after: input.start_after,
            token: input.continuation_token,
            delimiter: input.delimiter.as_deref().and_then(|d| d.chars().next()),
            max_keys: input.max_keys.and_then(|n| usize::try_from(n).ok()).unwrap_or(List::MAX_KEYS),
        };
        let listed = match self.behaviour.lists_by_names {
            true => by_names(&*self.memory, list).await,
            false => self.memory.list(list).await,
        };
        let page = listed.map_err(refused)?;
        let contents = page.entries.into_iter().map(|entry| {
            let meta = ObjectMeta { modified_ms: entry.modified_ms, ..ObjectMeta::default() };
            Object {
                key: Some(entry.key),
                e_tag: Some(ETag::Strong(entry.etag)),
                size: length(entry.size),
                last_modified: Some(modified(&meta)),
                ..Default::default()
            }
        });
        let output = ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix,
            contents: Some(contents.collect()),
            common_prefixes: Some(page.prefixes.into_iter().map(|p| CommonPrefix { prefix: Some(p) }).collect()),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next,
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn copy_object(&self, request: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        let source = request.headers.get("x-amz-copy-source-if-match").and_then(|v| v.to_str().ok());
        let source = source.map_or(Precondition::None, |etag| Precondition::Matches(etag.trim_matches('"').to_owned()));
        let input = request.input;
        check_bucket(&input.bucket)?;
        let CopySource::Bucket { key: from, .. } = input.copy_source else { return Err(s3_error!(InvalidArgument)) };
        let replaces = input.metadata_directive.is_some_and(|d| d.as_str() == MetadataDirective::REPLACE);
        if *from == *input.key && !replaces {
            return Err(s3_error!(InvalidRequest, "an object can be copied onto itself only with new metadata"));
        }
        let copy = Copy {
            headers: replaces.then(|| headers(input.metadata)),
            content_type: if replaces { input.content_type } else { None },
            source,
        };
        let etag = self.memory.copy(&from, &input.key, copy).await.map_err(refused)?;
        let result = CopyObjectResult { e_tag: Some(ETag::Strong(etag)), ..Default::default() };
        Ok(S3Response::new(CopyObjectOutput { copy_object_result: Some(result), ..Default::default() }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        let id = format!("upload-{}", self.last_upload.fetch_add(1, Ordering::SeqCst));
        let put = Put { headers: headers(input.metadata), content_type: input.content_type, ..Put::default() };
        self.uploads().insert(id.clone(), Upload { put, parts: BTreeMap::new() });
        let output = CreateMultipartUploadOutput { upload_id: Some(id), ..Default::default() };
        Ok(S3Response::new(output))
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let input = request.input;
        let part = whole(input.body).await?;
        let etag = format!("part-{}-{}", input.part_number, part.len());
        let mut uploads = self.uploads();
        let upload = uploads.get_mut(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        upload.parts.insert(input.part_number, part);
        Ok(S3Response::new(UploadPartOutput { e_tag: Some(ETag::Strong(etag)), ..Default::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let precondition = match self.behaviour.no_conditional_multipart {
            true => Precondition::None,
            false => self.precondition(&request),
        };
        let input = request.input;
        let (put, parts) = {
            let uploads = self.uploads();
            let upload = uploads.get(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
            (upload.put.clone(), upload.parts.clone())
        };
        let mut body = BytesMut::new();
        for part in parts.values() {
            body.extend_from_slice(part);
        }
        let etag = self.put(&input.key, Put { body: body.freeze(), ..put }, precondition).await?;
        self.uploads().remove(&input.upload_id);
        let output = CompleteMultipartUploadOutput { e_tag: Some(etag), ..Default::default() };
        Ok(S3Response::new(output))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.uploads().remove(&request.input.upload_id);
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}
