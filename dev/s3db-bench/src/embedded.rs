//! The embedded store beside plain SQLite with the same durability.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use s3db::{Database, Resource, ResourceDefinition};
use serde_json::json;

use crate::Outcome;
use crate::measure::{AT_ONCE, ROUNDS, median, on, print, round};

const KIB: usize = 1_000;

pub(crate) async fn run(operations: usize) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let db = Database::connect(format!("file:{}", folder.path().join("s3db").display())).await?;
    let definition = ResourceDefinition::new("rows").attribute("text", "string");
    let rows = db.create_resource(definition).await?;
    let sqlite = Arc::new(Mutex::new(open(&folder.path().join("plain.sqlite"))?));
    let (mut ours, mut theirs, mut our_gets, mut their_gets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for turn in 0..ROUNDS {
        ours.push(round(operations, AT_ONCE, on(&rows, turn * operations, insert)).await?);
        theirs.push(round(operations / 8, AT_ONCE, on(&sqlite, turn * operations, put)).await?);
        our_gets.push(round(operations, AT_ONCE, on(&rows, turn * operations, get)).await?);
        their_gets
            .push(round(operations, AT_ONCE, on(&sqlite, 0, move |s, n| read(s, turn * operations + n / 8))).await?);
    }
    println!("embedded store, {AT_ONCE} at once, records of 1 KB, every insert durable when it is answered");
    print("inserts, one SQLite transaction each", &median(ours.clone())?, "SQLite, FULL, WAL", &median(theirs)?);
    let batches = batches(&folder.path().join("batch.sqlite"), operations)?;
    let ours = median(ours)?.per_second();
    println!("inserts, {AT_ONCE} in one SQLite transaction: {batches:.0}/s, ratio {:.2}", ours / batches);
    print("gets", &median(our_gets)?, "SQLite", &median(their_gets)?);
    Ok(())
}

async fn insert(rows: Resource, n: usize) -> Outcome<()> {
    rows.insert(json!({"id": format!("r{n:08}"), "text": "x".repeat(KIB)})).await?;
    Ok(())
}

async fn get(rows: Resource, n: usize) -> Outcome<()> {
    rows.get(&format!("r{n:08}")).await?;
    Ok(())
}

fn open(path: &Path) -> Outcome<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch("CREATE TABLE rows (key TEXT PRIMARY KEY, body BLOB) WITHOUT ROWID")?;
    Ok(connection)
}

async fn put(sqlite: Arc<Mutex<Connection>>, n: usize) -> Outcome<()> {
    with(&sqlite, move |connection| insert_row(connection, n)).await
}

async fn read(sqlite: Arc<Mutex<Connection>>, n: usize) -> Outcome<()> {
    with(&sqlite, move |connection| {
        let mut select = connection.prepare_cached("SELECT body FROM rows WHERE key = ?")?;
        let body: Vec<u8> = select.query_row([format!("r{n:08}")], |row| row.get(0))?;
        if body.len() == KIB { Ok(()) } else { Err("a row of another size".into()) }
    })
    .await
}

/// Works on the connection off the async threads, as a server does.
async fn with(
    sqlite: &Arc<Mutex<Connection>>,
    work: impl FnOnce(&Connection) -> Outcome<()> + Send + 'static,
) -> Outcome<()> {
    let sqlite = Arc::clone(sqlite);
    tokio::task::spawn_blocking(move || work(&*sqlite.lock().map_err(|_| "another thread panicked")?)).await?
}

fn insert_row(connection: &Connection, n: usize) -> Outcome<()> {
    let mut insert = connection.prepare_cached("INSERT INTO rows VALUES (?, ?)")?;
    insert.execute((format!("r{n:08}"), vec![b'x'; KIB]))?;
    Ok(())
}

/// Inserts a second, with as many in one transaction as ours come at once.
fn batches(path: &Path, operations: usize) -> Outcome<f64> {
    let mut connection = open(path)?;
    let begun = std::time::Instant::now();
    for batch in 0..operations / AT_ONCE {
        let transaction = connection.transaction()?;
        for n in 0..AT_ONCE {
            insert_row(&transaction, batch * AT_ONCE + n)?;
        }
        transaction.commit()?;
    }
    Ok((operations / AT_ONCE * AT_ONCE) as f64 / begun.elapsed().as_secs_f64())
}
