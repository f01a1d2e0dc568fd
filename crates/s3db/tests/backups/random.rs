//! Random databases and histories: a chain restores at each of its tips what the database was then.

use std::sync::Arc;

use s3db::backup::{BackupPlugin, BackupType, Compression, DestinationSettings, EncryptionSettings, RestoreOptions};
use s3db::store::Quirks;
use s3db::{Behavior, Database, Resource, ResourceDefinition, ResourceUpdate};
use serde_json::{Value, json};

use crate::world::{Objects, World, assert_equal, backups, objects};

/// A repeatable sequence.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.roll(from.len() as u64)).unwrap()]
    }

    fn text(&mut self) -> String {
        let words = ["", "x", "ü", "日本", "a\"b", "null", "b:y", "line\nfeed", "\u{1F600}", "long "];
        let count = self.roll(4);
        (0..count).map(|_| self.pick(&words)).collect::<String>().repeat(usize::try_from(1 + self.roll(40)).unwrap())
    }

    fn value(&mut self, depth: u32) -> Value {
        match self.roll(if depth == 0 { 4 } else { 6 }) {
            0 => json!(self.text()),
            1 => json!(self.roll(1 << 40)),
            2 => json!(self.roll(2) == 0),
            3 => Value::Null,
            4 => (0..self.roll(4))
                .map(|n| (format!("k{n}"), self.value(depth - 1)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            _ => (0..self.roll(4)).map(|_| self.value(depth - 1)).collect::<Vec<_>>().into(),
        }
    }
}

const NAMES: [&str; 4] = ["users", "users-old", "users.x", "z"];

async fn resource(db: &Database, dice: &mut Dice, name: &str) -> Resource {
    if let Ok(there) = db.resource(name).await {
        return there;
    }
    let behavior = dice.pick(&[Behavior::UserManaged, Behavior::BodyOverflow, Behavior::BodyOnly]);
    let definition = ResourceDefinition::new(name)
        .attribute("a", "string|optional")
        .attribute("b", "json|optional")
        .attribute("c", "secret|optional")
        .behavior(behavior)
        .partition("byA", [("a", "string|maxlength:3")]);
    db.create_resource(definition).await.unwrap()
}

/// A step of a history. Refusals are part of it.
async fn step(db: &Database, dice: &mut Dice) {
    let name = dice.pick(&NAMES);
    let r = resource(db, dice, name).await;
    let id = dice.pick(&["1", "10", "2", "a.b", "ü", "x-y", "~"]);
    let record = json!({"id": id, "a": dice.text(), "b": dice.value(2), "c": dice.text()});
    let done = match dice.roll(10) {
        0..4 => r.upsert(record).await.map(drop),
        4..6 => r.update(id, json!({"b": dice.value(2)})).await.map(drop),
        6..8 => r.delete(id).await,
        8 => r.set_content(id, dice.text().into_bytes().repeat(3), "text/plain").await,
        _ => match dice.roll(6) {
            0 => db.drop_resource(name).await.map(drop),
            1 => {
                let update = ResourceUpdate::new().attribute(format!("more{}", dice.roll(3)), "number|optional");
                db.update_resource(name, update).await.map(drop)
            }
            _ => r.delete_content(id).await,
        },
    };
    // Not every step is possible: the record may be missing, or too large for its behaviour.
    drop(done);
}

struct Setting {
    folder: tempfile::TempDir,
    compression: Compression,
    encryption: Option<EncryptionSettings>,
    in_folder: bool,
}

impl Setting {
    fn plugin(&self, world: &World) -> BackupPlugin {
        let path = self.folder.path().join("{date}/{type}-{time}");
        let builder = match self.in_folder {
            true => BackupPlugin::builder()
                .clock(world.clock.clone())
                .destination(DestinationSettings::filesystem(path.display().to_string())),
            false => world.builder(),
        };
        let builder = builder.compression(self.compression).folder(self.folder.path());
        match &self.encryption {
            Some(encryption) => builder.encryption(encryption.clone()).build().unwrap(),
            None => builder.build().unwrap(),
        }
    }
}

async fn history(seed: u64) -> usize {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let quirks = dice.pick(&[Quirks::default(), Quirks::S3, Quirks { lists_by_name: true, ..Quirks::S3 }]);
    let world = World::new(quirks);
    let folder = tempfile::tempdir().unwrap();
    let encrypted = dice.roll(3) == 0;
    let encryption = encrypted.then(|| EncryptionSettings {
        recipients: vec![crate::encryption::identity(folder.path(), "k")],
        identity_files: vec!["k.key".into()],
        ..EncryptionSettings::default()
    });
    let compression = dice.pick(&[Compression::None, Compression::Gzip, Compression::Brotli, Compression::Zstd]);
    let setting = Setting { folder, compression, encryption, in_folder: dice.roll(2) == 0 };
    let db = world.connect(world.source.clone(), setting.plugin(&world)).await;
    let mut tips: Vec<(String, Objects)> = Vec::new();
    for _ in 0..4 + dice.roll(4) {
        for _ in 0..dice.roll(25) {
            step(&db, &mut dice).await;
            if dice.roll(5) == 0 {
                world.pass(1 + dice.roll(5)).await;
            }
        }
        let kind =
            dice.pick(&[BackupType::Full, BackupType::Incremental, BackupType::Incremental, BackupType::Differential]);
        let made = backups(&db).backup(kind).await.unwrap();
        tips.push((made.id, objects(&world.source)));
    }
    for (id, wanted) in &tips {
        let store = world.store();
        let copy = world.connect(store.clone(), setting.plugin(&world)).await;
        backups(&copy).restore(id, &RestoreOptions::default()).await.unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
        assert_equal(&objects(&store), wanted, &format!("seed {seed}: {id}"));
        let report = copy.doctor(false, &|_, _| ()).await.unwrap();
        assert!(report.is_healthy(), "seed {seed}: {report:?}");
    }
    let _kept = Arc::new(setting);
    tips.len()
}

#[tokio::test(start_paused = true)]
async fn a_restore_gives_back_what_the_database_was_at_each_backup() {
    let first = std::env::var("S3DB_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = first.map_or(1..61, |seed: u64| seed..seed + 1);
    let mut restored = 0;
    for seed in seeds {
        restored += history(seed).await;
    }
    println!("{restored} of {restored} tips of random chains were restored byte for byte");
}
