//! Opening the SQLite file of a directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{file_error, sqlite_error};
use crate::{ErrorKind, Result, StoreError};

/// Marks the file as ours: "s3db" in ASCII.
const APPLICATION_ID: i64 = 0x7333_6462;
const SCHEMA_VERSION: i64 = 1;
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS objects (
        key TEXT PRIMARY KEY NOT NULL,
        etag TEXT NOT NULL,
        size INTEGER NOT NULL,
        modified INTEGER NOT NULL,
        content_type TEXT,
        headers TEXT NOT NULL,
        file TEXT,
        body BLOB
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY CHECK (id = 1), value INTEGER NOT NULL);
    INSERT OR IGNORE INTO counter (id, value) VALUES (1, 0);
";

pub(super) fn file_in(directory: &Path) -> PathBuf {
    directory.join("s3db.sqlite3")
}

/// Opens the writer's connection, making the store where that is allowed.
pub(super) fn open(directory: &Path, create: bool) -> Result<Connection> {
    let file = file_in(directory);
    if directory.exists() && !directory.is_dir() {
        return Err(StoreError::new(ErrorKind::Invalid, format!("{} is a file, not a directory", directory.display())));
    }
    if create {
        std::fs::create_dir_all(directory).map_err(|e| file_error("make the directory", directory, &e))?;
    } else if !file.is_file() {
        return Err(StoreError::new(
            ErrorKind::NotFound,
            format!("there is no store in the directory {}", directory.display()),
        ));
    }
    refuse_network(directory)?;
    let connection = connect(directory, false)?;
    // Two processes that make one store at once take turns here. A store that is there is opened
    // without a turn, so that a reader waits for no writer.
    let turn = super::turn::Turn::new(directory)?;
    let _held = if is_ready(&connection) { None } else { Some(turn.take()?) };
    // Whoever does not make a store must not take what is left of one for an empty one.
    let unmade = connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).is_ok_and(|v| v == 0);
    if unmade && !create {
        let message = "the store's file is empty: it was cut, or its creation was never finished";
        return Err(at(directory, StoreError::new(ErrorKind::Corrupt, message)));
    }
    prepare(&connection).map_err(|e| match e {
        Prepare::Sqlite(e) => at(directory, sqlite_error(&e)),
        Prepare::Other(e) => e,
    })?;
    Ok(connection)
}

/// Opens one more connection.
pub(super) fn connect(directory: &Path, read_only: bool) -> Result<Connection> {
    let access = if read_only {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    } else {
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
    };
    let connection = Connection::open_with_flags(file_in(directory), access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .and_then(|c| c.busy_timeout(BUSY_TIMEOUT).map(|()| c))
        .map_err(|e| at(directory, cannot_open(directory, &e)))?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// SQLite says "unable to open" for missing permissions too: the file system knows better.
fn cannot_open(directory: &Path, error: &rusqlite::Error) -> StoreError {
    let file = file_in(directory);
    let probe = if file.exists() {
        std::fs::OpenOptions::new().read(true).write(true).open(&file).map(|_| ())
    } else {
        std::fs::read_dir(directory).map(|_| ())
    };
    match probe {
        Err(io) if io.kind() == std::io::ErrorKind::PermissionDenied => file_error("open", &file, &io),
        _ => sqlite_error(error),
    }
}

fn at(directory: &Path, error: StoreError) -> StoreError {
    StoreError::new(error.kind, format!("{} (directory {})", error.message, directory.display()))
}

enum Prepare {
    Sqlite(rusqlite::Error),
    Other(StoreError),
}

impl From<rusqlite::Error> for Prepare {
    fn from(error: rusqlite::Error) -> Self {
        Prepare::Sqlite(error)
    }
}

fn is_ready(connection: &Connection) -> bool {
    let version = connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    let journal = connection.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0));
    version.is_ok_and(|v| v == SCHEMA_VERSION) && journal.is_ok_and(|j| j.eq_ignore_ascii_case("wal"))
}

fn prepare(connection: &Connection) -> std::result::Result<(), Prepare> {
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if application != 0 && application != APPLICATION_ID {
        return Err(Prepare::Other(StoreError::new(
            ErrorKind::Corrupt,
            "the file s3db.sqlite3 belongs to another program",
        )));
    }
    if version > SCHEMA_VERSION {
        let message =
            format!("the store has schema version {version}, this program knows {SCHEMA_VERSION}; use a newer s3db");
        return Err(Prepare::Other(StoreError::new(ErrorKind::Unsupported, message)));
    }
    if !is_ready(connection) {
        connection.pragma_update(None, "journal_mode", "WAL")?;
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    if version < SCHEMA_VERSION {
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        ))?;
    }
    Ok(())
}

/// The locks of a WAL do not work over a network.
fn refuse_network(directory: &Path) -> Result<()> {
    const NETWORK: [(u32, &str); 5] =
        [(0x6969, "NFS"), (0x517b, "SMB"), (0xff53_4d42, "CIFS"), (0xfe53_4d42, "SMB2"), (0x0102_1997, "9P")];
    let stat = rustix::fs::statfs(directory)
        .map_err(|e| file_error("look at the file system of", directory, &std::io::Error::from(e)))?;
    let magic = stat.f_type as u32;
    match NETWORK.iter().find(|(known, _)| *known == magic) {
        Some((_, name)) => Err(StoreError::new(
            ErrorKind::Unsupported,
            format!(
                "the directory {} lies on a network file system ({name}), where several processes cannot lock; use a local disk or an S3 server",
                directory.display()
            ),
        )),
        None => Ok(()),
    }
}
