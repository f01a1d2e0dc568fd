//! The catalog of the target: merged first where there is one, written last where there is none.

use bytes::Bytes;
use s3db_format::keys;
use s3db_store::{ErrorKind as StoreKind, Precondition, Put};

use super::super::capture::line_of;
use super::plan::Plan;
use super::target::{Target, merge};
use crate::error::{Error, ErrorKind, Result};

/// Brings versions, and the pause, into a catalog that is there.
pub(super) async fn merge_first(into: &Target<'_>, plan: &Plan) -> Result<()> {
    let inner = &into.db.inner;
    let since = inner.now();
    inner
        .change_catalog(|catalog| {
            let before = catalog.to_bytes("", "");
            merge(plan, catalog);
            if into.pause && catalog.paused().is_none() {
                catalog.set_paused(Some(&since));
            }
            Ok((catalog.to_bytes("", "") != before).then_some(()))
        })
        .await
        .map(drop)
}

/// Writes the catalog where there was none. Nobody saw a record before.
pub(super) async fn write_last(into: &Target<'_>, plan: &Plan) -> Result<()> {
    let inner = &into.db.inner;
    let original = plan.catalog_line.as_ref().filter(|_| into.keeps_catalog_bytes(plan));
    let put = match original {
        Some(line) => Put {
            body: line.small_body()?,
            content_type: line.content_type.clone(),
            headers: line.headers.clone(),
            ..Put::default()
        },
        None => Put {
            body: Bytes::from(into.catalog.to_bytes(&inner.ulid(), &inner.now())),
            content_type: Some("application/json".into()),
            ..Put::default()
        },
    };
    let precondition = into.catalog_etag.clone().map_or(Precondition::Absent, Precondition::Matches);
    let written = inner.again(|| inner.store.put(keys::CATALOG, put.clone(), precondition.clone())).await;
    match written {
        Ok(_) => {}
        Err(error) if matches!(error.kind, StoreKind::Precondition | StoreKind::NotFound) => {
            let there = inner.read(keys::CATALOG).await?;
            if there.as_ref().map(|object| &object.body) != Some(&put.body) {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("{} got a catalog while it was restored", into.db.location()),
                )
                .guide("stop its writers, and run the restore again: it goes on"));
            }
        }
        Err(error) => return Err(error.into()),
    }
    inner.fresh_catalog().await.map(drop)
}

/// Whether the catalog of the target is that of the backup, byte for byte, where it should be.
pub(super) async fn is_as_backed_up(into: &Target<'_>, plan: &Plan) -> Result<bool> {
    let Some(line) = plan.catalog_line.as_ref().filter(|_| into.keeps_catalog_bytes(plan)) else { return Ok(true) };
    let found = into.db.inner.read(keys::CATALOG).await?;
    Ok(found.is_some_and(|object| line_of(keys::CATALOG.to_owned(), &object).sha256 == line.sha256))
}
