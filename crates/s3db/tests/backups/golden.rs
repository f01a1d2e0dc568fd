//! Backups that earlier builds wrote are read for ever: one of each kind, of each compression, and encrypted.

use std::path::{Path, PathBuf};

use s3db::Database;
use s3db::backup::{BackupPlugin, RestoreOptions, VerifyLevel};
use serde_json::Value;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/backups")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

#[tokio::test]
async fn golden_backups_are_verified_and_restored() {
    let mut restored = 0;
    for name in ["none", "gzip", "brotli", "zstd", "encrypted"] {
        let folder = tempfile::tempdir().unwrap();
        // A reader leaves a lock while it reads.
        copy(&golden().join(name), folder.path());
        let text = std::fs::read_to_string(folder.path().join("expected.json")).unwrap();
        let expected: Value = serde_json::from_str(&text).unwrap();
        for (id, resources) in expected.as_object().unwrap() {
            for by_passphrase in [false, true] {
                let builder = BackupPlugin::builder().from(folder.path().display().to_string());
                let builder = match by_passphrase {
                    true => builder.read_passphrase("golden backup passphrase"),
                    false => builder.identity_file(golden().join("golden.key")),
                };
                let db = Database::builder("memory://").plugin(builder.build().unwrap()).connect().await.unwrap();
                let plugin = db.plugin::<BackupPlugin>().unwrap();
                let verified = plugin.verify(id, VerifyLevel::Full).await.unwrap();
                assert!(verified.valid && verified.opened, "{name} {id}: {verified:?}");
                let target = format!("memory://golden-{name}-{id}-{by_passphrase}");
                let copy = Database::builder(target).passphrase("golden passphrase").connect().await.unwrap();
                plugin.restore_into(&copy, id, &RestoreOptions::default()).await.unwrap();
                for (resource, rows) in resources.as_object().unwrap() {
                    let resource = copy.resource(resource).await.unwrap();
                    for row in rows.as_array().unwrap() {
                        let found = resource.get(row["id"].as_str().unwrap()).await.unwrap().to_json();
                        assert_eq!(found, *row, "{name} {id}");
                    }
                    let count = resource.count_where(&s3db::Query::all()).await.unwrap();
                    assert_eq!(count, rows.as_array().unwrap().len(), "{name} {id}");
                }
                restored += 1;
                // A passphrase takes a second, so one backup is opened by it.
                if name != "encrypted" || !id.starts_with("backup_incremental") {
                    break;
                }
            }
        }
    }
    assert_eq!(restored, 5 * 3 + 1);
}
