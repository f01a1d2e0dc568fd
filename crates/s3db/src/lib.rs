//! s3db: a document database that lives in an S3 bucket or a local directory.
//!
//! There is no server to keep alive: every process that has the bucket or the directory is a full
//! member. Writes are compare-and-swap, partitions never lose a row, secrets are encrypted at rest,
//! and the layout is the one that the JavaScript library s3db.js 9.2.0 writes.
//!
//! ```
//! use s3db::{Database, ResourceDefinition};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> s3db::Result<()> {
//! let db = Database::builder("memory://crate-example").passphrase("correct horse").connect().await?;
//! let users = db
//!     .create_resource(
//!         ResourceDefinition::new("users")
//!             .attribute("name", "string|min:2|max:100")
//!             .attribute("email", "email")
//!             .attribute("password", "secret|min:8")
//!             .partition("byName", [("name", "string|maxlength:1")]),
//!     )
//!     .await?;
//!
//! let ana = users.insert(json!({"id": "ana", "name": "Ana", "email": "ana@example.org", "password": "s3cret-pw"})).await?;
//! assert_eq!(ana.id, "ana");
//! users.update("ana", json!({"name": "Anna"})).await?;
//! assert_eq!(users.get("ana").await?.attributes["name"], "Anna");
//!
//! let refused = users.insert(json!({"id": "ana", "name": "A", "email": "nowhere"})).await.unwrap_err();
//! assert_eq!(refused.details().unwrap()["fields"].as_array().unwrap().len(), 3);
//! # Ok(()) }
//! ```
//!
//! Each verb says what it costs in requests; `docs/requests.md` has the table.

mod access;
pub mod config;
mod csv;
mod database;
mod doctor;
mod entropy;
mod error;
mod events;
mod hooks;
mod lease;
mod merge;
mod plugin;
mod query;
mod resource;
mod secrets;
mod typed;
mod url;

pub use async_trait::async_trait;
pub use csv::CsvColumns;
pub use database::{CopyOptions, CopyReport, Database, DatabaseBuilder, DropReport, Pause, Status, UpdateReport};
pub use doctor::{Checked, DoctorReport, Finding, FindingKind};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use error::{Error, ErrorKind, Result};
pub use events::{Delivery, Event, EventKind, Events};
pub use hooks::{HookPoint, HookResult};
pub use lease::{Lease, LeaseOptions, LeaseRecord};
pub use plugin::{Plugin, backup, scheduler, state_machine};
pub use query::duration::parse_duration;
pub use query::plan::Considered;
pub use query::{OrderBy, Query};
pub use resource::{
    BulkFailure, BulkReport, ChangeReport, Content, DeleteReport, Explanation, InsertOptions, Inserted, Meta,
    NumberedPage, OnError, Page, Record, Records, ReindexProgress, ReindexReport, Requests, Resource, RotateReport,
    RowFailure, Snapshot, UpdateOptions,
};
pub use s3db_format::FieldError;
pub use s3db_format::catalog::Resource as CatalogEntry;
pub use s3db_format::date::{instant, rfc3339};
pub use s3db_format::error::did_you_mean;
pub use s3db_format::resource::{Behavior, ResourceDefinition};
pub use s3db_format::update::ResourceUpdate;
pub use s3db_store as store;
pub use s3db_store::{Probe, Swap};
pub use typed::{Stored, TypedResource};
pub use url::{Bucket, Location, mask};

/// Every future of the library can be spawned on a runtime of several threads.
#[cfg(test)]
mod tests {
    use super::*;

    fn is_send<T: Send>(_: T) {}

    #[test]
    fn futures_can_be_spawned() {
        fn check(db: &Database, users: &Resource) {
            is_send(db.create_resource(ResourceDefinition::new("x")));
            is_send(db.drop_resource("x"));
            is_send(db.update_resource("x", ResourceUpdate::new()));
            is_send(db.status());
            is_send(db.doctor(true, &|_, _| ()));
            is_send(db.lease("x", &LeaseOptions::new("x")));
            is_send(db.copy_to(db, &CopyOptions { resources: Vec::new() }, &|_| ()));
            is_send(db.rotate_secrets("x", &|_| ()));
            is_send(users.insert(serde_json::Value::Null));
            is_send(users.insert_many(Vec::new(), OnError::Stop));
            is_send(users.insert_stream(futures::stream::empty(), InsertOptions::default()));
            is_send(users.update("x", serde_json::Value::Null));
            is_send(users.upsert(serde_json::Value::Null));
            is_send(users.get_many(&[]));
            is_send(users.list(&Query::all()));
            is_send(users.stream(&Query::all()));
            is_send(users.count_where(&Query::all()));
            is_send(users.explain(&Query::all()));
            is_send(users.update_where(&Query::all(), serde_json::Value::Null, &|_| ()));
            is_send(users.delete_where(&Query::all(), &|_| ()));
            is_send(users.delete("x"));
            is_send(users.delete_many(&[]));
            is_send(users.set_content("x", "x", "x"));
            is_send(users.reindex(&|_| ()));
        }
        let _compiles = check;
    }

    #[test]
    fn futures_of_backups_can_be_spawned() {
        use backup::{BackupPlugin, BackupType, RestoreOptions, VerifyLevel};
        fn check(backups: &BackupPlugin, db: &Database) {
            is_send(backups.cleanup(true));
            is_send(backups.delete("x"));
            is_send(backups.pin("x"));
            is_send(backups.rekey(None));
            is_send(backups.cancel("x"));
            is_send(backups.metrics());
            is_send(backups.list_backups(&Default::default()));
            is_send(backups.verify("x", VerifyLevel::Drill));
            is_send(backups.backup(BackupType::Full));
            is_send(backups.restore_into(db, "x", &RestoreOptions::default()));
        }
        let _compiles = check;
    }
}
