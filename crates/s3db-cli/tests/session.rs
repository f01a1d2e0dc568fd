//! The command line as a user sees it: stdout, stderr and exit code under snapshot.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "this file is a test"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

struct Session {
    folder: tempfile::TempDir,
    passphrase: Option<&'static str>,
    transcript: String,
}

impl Session {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            passphrase: Some("snapshot passphrase"),
            transcript: String::new(),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3db"));
        command.current_dir(self.path()).args(arguments).stdin(Stdio::null()).env_clear();
        if let Some(passphrase) = self.passphrase {
            command.env("S3DB_PASSPHRASE", passphrase);
        }
        command
    }

    /// Runs a command and adds it to the transcript.
    fn run(&mut self, arguments: &[&str]) -> &mut Self {
        let output = self.command(arguments).output().unwrap();
        let quoted: Vec<String> = arguments
            .iter()
            .map(|a| if a.contains([' ', '{', '"']) { format!("'{a}'") } else { (*a).to_owned() })
            .collect();
        writeln!(self.transcript, "$ s3db {}", quoted.join(" ")).unwrap();
        self.transcript.push_str(&String::from_utf8_lossy(&output.stdout));
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            writeln!(self.transcript, "! {line}").unwrap();
        }
        match output.status.code() {
            Some(0) => {}
            code => {
                writeln!(self.transcript, "[exit {}]", code.map_or("killed".to_owned(), |c| c.to_string())).unwrap()
            }
        }
        self.transcript.push('\n');
        self
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    /// The transcript without what differs from run to run.
    fn finish(&self) -> String {
        let mut text = self.transcript.replace(&self.path().display().to_string(), "[folder]");
        for (pattern, plain) in [
            (r#""rev":"[^"]+""#, r#""rev":"[rev]""#),
            (r#""modified":"[^"]+""#, r#""modified":"[time]""#),
            (r"revision [0-9A-Z]{26}-[0-9a-f]+", "revision [rev]"),
            (r#""found":"[0-9A-Z]{26}-[0-9a-f]+""#, r#""found":"[rev]""#),
            (r#""id":"[A-Za-z0-9_-]{22}""#, r#""id":"[made id]""#),
        ] {
            text = regex::Regex::new(pattern).unwrap().replace_all(&text, plain).into_owned();
        }
        text
    }
}

const USERS: &str = r#"{"name": "string|min:2", "email": "email|optional", "country": "string|optional", "password": "secret|min:8|optional"}"#;

fn with_users() -> Session {
    let mut session = Session::new();
    session.run(&["init", "--quiet"]).run(&[
        "resource",
        "create",
        "users",
        "--attributes",
        USERS,
        "--partition",
        "byCountry=country",
        "--quiet",
        "--output",
        "table",
    ]);
    assert_eq!(session.transcript.matches("[exit").count(), 0, "{}", session.transcript);
    session.transcript.clear();
    session
}

#[test]
fn the_first_five_minutes() {
    let mut s = Session::new();
    s.run(&["list", "users"])
        .run(&["init"])
        .run(&["init"])
        .run(&["status", "--output", "table"])
        .run(&[
            "resource",
            "create",
            "users",
            "--attributes",
            USERS,
            "--partition",
            "byCountry=country",
            "--output",
            "table",
        ])
        .run(&["insert", "users", r#"{"id": "ana", "name": "Ana", "country": "BR", "password": "ana-s3cret"}"#])
        .run(&[
            "insert",
            "users",
            r#"[{"id": "ben", "name": "Ben", "country": "DE"}, {"id": "chi", "name": "千尋", "country": "JP"}]"#,
        ])
        .run(&["list", "users", "--output", "table"])
        .run(&[
            "list",
            "users",
            "--partition",
            "byCountry",
            "--values",
            r#"{"country": "BR"}"#,
            "--fields",
            "name,country",
            "--json",
        ])
        .run(&["list", "users", "--limit", "2"])
        .run(&["list", "users", "--limit", "2", "--after", "ben"])
        .run(&["get", "users", "ana"])
        .run(&["get", "users", "ana", "nobody", "ben"])
        .run(&["update", "users", "ana", r#"{"country": "PT"}"#])
        .run(&["upsert", "users", r#"{"id": "dora", "name": "Dora"}"#])
        .run(&["count", "users"])
        .run(&["count", "users", "--json"])
        .run(&["delete", "users", "ben", "nobody"])
        .run(&["export", "users"])
        .run(&["export", "users", "--with-secrets"])
        .run(&["resource", "list", "--output", "table"])
        .run(&["resource", "show", "users", "--json"])
        .run(&["resource", "drop", "users"])
        .run(&["status", "--output", "table"])
        .run(&["resource", "drop", "users", "--yes"]);
    insta::assert_snapshot!(s.finish());
}

#[test]
fn errors_name_the_thing_and_the_way_out() {
    let mut s = with_users();
    s.run(&["insert", "users", r#"{"name": "A", "emial": "x", "email": "nowhere"}"#])
        .run(&["insert", "users", r#"{"name": "A"}"#, "--json"])
        .run(&["insert", "users", "{name: Ana}"])
        .run(&["insert", "users", r#""just text""#])
        .run(&["insert", "users", "@missing.json"])
        .run(&["insert", "user", r#"{"name": "Ana"}"#])
        .run(&["insert", "users", r#"{"id": "a/b", "name": "Ana"}"#])
        .run(&["insert", "users", r#"{"id": "x", "name": "Ana"}"#])
        .run(&["insert", "users", r#"{"id": "x", "name": "Ana"}"#])
        .run(&["get", "users", "nobody"])
        .run(&["update", "users", "x", r#"{"name": "Eva"}"#, "--expected-rev", "01HZZZZZZZZZZZZZZZZZZZZZZ0-1"])
        .run(&["update", "users", "x", r#"{"id": "y"}"#])
        .run(&["list", "users", "--partition", "byCuntry", "--values", "{}"])
        .run(&["list", "users", "--partition", "byCountry", "--values", r#"{"land": "BR"}"#])
        .run(&["resource", "create", "users", "--attributes", r#"{"name": "string"}"#])
        .run(&[
            "resource",
            "create",
            "x",
            "--attributes",
            r#"{"a": "strin", "b": "string|min:abc", "c": "string|pattern:(", "d": {}, "e": "string|secrt"}"#,
        ])
        .run(&["resource", "create", "x", "--attributes", r#"{"a": "string"}"#, "--behavior", "body-onyl"])
        .run(&["resource", "create", "x", "--attributes", r#"{"a": "string"}"#, "--partition", "byB=b"])
        .run(&["list", "users", "--fields", "nmae"])
        .run(&["lst", "users", "--json"])
        .run(&["--url", "ftp://host/x", "status"])
        .run(&["--url", "file:./nowhere", "status"])
        .run(&["--url", "file:./data?regoin=x", "status"])
        .run(&["--url", "s3://KEY:SECRET@bucket?regoin=x", "status"])
        .run(&["--url", "data", "status"]);
    s.passphrase = None;
    s.run(&["insert", "users", r#"{"name": "Ana", "password": "12345678"}"#]);
    insta::assert_snapshot!(s.finish());
}

#[test]
fn an_import_says_what_became_of_each_line() {
    let mut s = with_users();
    s.write("users.jsonl", "{\"id\": \"a\", \"name\": \"Ana\"}\n{\"id\": \"b\", \"name\": \"Ben\"\n\n{\"id\": \"a\", \"name\": \"Again\"}\n{\"id\": \"c\", \"name\": \"C\"}\n{\"id\": \"d\", \"name\": \"Dora\"}\n");
    s.run(&["import", "users", "users.jsonl"]).run(&["list", "users"]);
    s.run(&["import", "users", "users.jsonl", "--on-error", "stop"]).run(&[
        "import",
        "users",
        "users.jsonl",
        "--on-error",
        "skip",
    ]);
    s.write("array.json", "[{\"id\": \"e\", \"name\": \"Eva\"}, 5]");
    s.run(&["import", "users", "array.json"]).run(&["import", "users", "nowhere.jsonl"]);
    s.write("late.jsonl", "{\"id\": \"g\", \"name\": \"G\"}\n{\"id\": \"g\", \"name\": \"Greta\"}\n{\"id\": \"g\", \"name\": \"Gustav\"}\n");
    s.run(&["import", "users", "late.jsonl"]).run(&["get", "users", "g", "nobody", "--json"]);
    s.run(&["insert", "users", r#"{"id": "-x", "name": "Hyphen"}"#])
        .run(&["list", "users", "--limit", "1", "--after", "-x"]);
    s.write("one.json", "{\n  \"id\": \"f\",\n  \"name\": \"Franz\"\n}\n");
    s.run(&["insert", "users", "@one.json"]);
    insta::assert_snapshot!(s.finish());
}

#[test]
fn the_configuration_is_checked_and_shown() {
    let mut s = Session::new();
    s.run(&["--url", "file:./mydb", "init"]).run(&["status"]);
    std::fs::remove_file(s.path().join("s3db.toml")).unwrap();
    s.run(&["config", "check"]).run(&["config", "show"]);
    s.write("s3db.toml", "ulr = \"file:./data\"\n");
    s.run(&["config", "check"]).run(&["list", "users"]);
    s.write("s3db.toml", "url = \"http://KEY:SECRET@127.0.0.1:1/bucket/prefix\"\npassphraseFile = \"missing\"\n");
    s.run(&["config", "show"]).run(&["status"]);
    s.passphrase = None;
    s.run(&["config", "check"]);
    s.write("s3db.toml", "[backup]\ncompression = \"zstd\"\n");
    s.run(&["config", "check"]).run(&["--config", "other.toml", "config", "check"]);
    insta::assert_snapshot!(s.finish());
}

#[test]
fn secrets_are_rotated_and_a_wrong_passphrase_is_told() {
    let mut s = with_users();
    s.run(&["insert", "users", r#"{"id": "ana", "name": "Ana", "password": "ana-s3cret"}"#]);
    s.write("new", "the new one\n");
    s.passphrase = Some("wrong");
    s.run(&["get", "users", "ana"]).run(&["list", "users", "--fields", "name"]);
    s.passphrase = Some("snapshot passphrase");
    s.run(&["secrets", "rotate", "--new-passphrase-file", "new"]).run(&["get", "users", "ana"]);
    s.passphrase = Some("the new one");
    s.run(&["get", "users", "ana"]);
    insta::assert_snapshot!(s.finish());
}

#[test]
fn a_golden_bucket_becomes_a_store_by_copy() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden");
    let mut s = Session::new();
    for name in ["05-partitions.json", "12-plugins.json"] {
        std::fs::copy(golden.join(name), s.path().join(name)).unwrap();
    }
    s.run(&["copy", "file:./05-partitions.json", "file:./data"])
        .run(&["copy", "file:./05-partitions.json", "file:./data"])
        .run(&["--url", "file:./data", "status", "--output", "table"])
        .run(&["--url", "file:./data", "list", "orders", "--partition", "byRegion", "--values", r#"{"region": "US"}"#])
        .run(&["--url", "file:./data", "resource", "reindex", "orders"])
        .run(&["--url", "file:./data", "list", "orders", "--partition", "byRegion", "--values", r#"{"region": "US"}"#])
        .run(&["--url", "file:./data", "update", "orders", "o1", r#"{"region": "EU"}"#])
        .run(&["--url", "file:./data", "count", "orders", "--partition", "byRegion", "--values", r#"{"region": "EU"}"#])
        .run(&["copy", "file:./12-plugins.json", "file:./some", "--resource", "users", "--resource", "nothing"])
        .run(&["copy", "file:./12-plugins.json", "file:./some", "--resource", "users"])
        .run(&["--url", "file:./some", "resource", "list"]);
    insta::assert_snapshot!(s.finish());
}

#[test]
fn doctor_says_what_it_would_do_and_does_it() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden");
    let mut s = Session::new();
    std::fs::copy(golden.join("05-partitions.json"), s.path().join("old.json")).unwrap();
    s.run(&["copy", "file:./old.json", "file:./data"])
        .run(&["--url", "file:./data", "doctor", "--output", "table"])
        .run(&["--url", "file:./data", "doctor", "--repair", "--output", "table"])
        .run(&["--url", "file:./data", "doctor", "--output", "table"])
        .run(&["--url", "file:./data", "doctor", "--json"])
        .run(&["--url", "file:./data", "--shared", "status", "--output", "table"])
        .run(&["--url", "file:./data", "--shared", "update", "orders", "o1", r#"{"region": "EU"}"#])
        .run(&["--url", "file:./data", "insert", "orders", r#"{"id": "x", "region": "EU"}"#])
        .run(&["--url", "file:./data", "doctor", "--end-sharing", "--json"])
        .run(&["--url", "file:./data", "doctor", "--repair", "--end-sharing"])
        .run(&["--url", "file:./nowhere", "doctor"]);
    insta::assert_snapshot!(s.finish());
}

#[test]
fn the_demo_runs_and_the_help_has_examples() {
    let mut s = Session::new();
    s.run(&["demo"]);
    let mut demo = s.finish();
    for (pattern, plain) in [
        (r"came second \d+ times", "came second [n] times"),
        (r" [0-9-]+T[0-9:.]+Z   success   process \d\n", ""),
        (r"  (\d+) instants, (\d+) records", "  [as many] instants and records"),
        (r"\d+ of \d+ objects", "[n] of [n] objects"),
        (r"\d+ objects written, \d+ compared", "[n] objects written, [n] compared"),
        (r"Put back: \d+ files", "Put back: [n] files"),
    ] {
        demo = regex::Regex::new(pattern).unwrap().replace_all(&demo, plain).into_owned();
    }
    s.transcript.clear();
    s.run(&["--help"]).run(&["resource", "create", "--help"]).run(&["lst"]);
    insta::assert_snapshot!(demo + &s.finish());
    for shell in ["bash", "zsh", "fish"] {
        assert!(s.command(&["completions", shell]).output().unwrap().stdout.len() > 1000);
    }
    assert!(s.command(&["man", "pages"]).status().unwrap().success());
    assert!(s.path().join("pages/s3db.1").exists());
}

const JOBS: &str = r#"
url = "file:./s3db-data"

[scheduler]
timezone = "America/Sao_Paulo"

[jobs.cleanup]
schedule = "0 3 * * *"
retries = 2
description = "sessions that have expired"
[jobs.cleanup.action]
kind = "delete_where"
resource = "sessions"
where = { expiresAt = { "$lt" = "$now" } }

[jobs.broken]
schedule = "0 0 1 1 *"
retries = 0
enabled = false
action = { kind = "insert", resource = "nowhere", record = { a = 1 } }
"#;

/// What differs from run to run in what jobs print.
fn without_times(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, plain) in [
        (r"_m_[0-9A-Z]{26}", "_m_[ulid]"),
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{3}Z|Z)?( [+-]\d{4})?", "[time]"),
        (r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \[time\]", "[local time]"),
        (r#""(duration|average|p50|p95|p99)":[0-9.]+"#, r#""$1":[n]"#),
        (r" \d+ ms ", " [n] ms "),
        (r"process \d+ [0-9A-Z]{26}", "process [id]"),
        (r" +\n", "\n"),
    ] {
        text = regex::Regex::new(pattern).unwrap().replace_all(&text, plain).into_owned();
    }
    text
}

#[test]
fn jobs_are_run_looked_at_and_switched() {
    let mut s = Session::new();
    s.write("s3db.toml", JOBS);
    s.write(
        "more.json",
        r#"{"load": {"schedule": "30 3 * * *", "dependsOn": ["cleanup"], "action": {"kind": "cleanup_backups"}}}"#,
    );
    s.run(&["init", "--quiet"])
        .run(&["config", "check"])
        .run(&[
            "resource",
            "create",
            "sessions",
            "--attributes",
            r#"{"expiresAt": "number"}"#,
            "--quiet",
            "--output",
            "table",
        ])
        .run(&["insert", "sessions", r#"[{"id": "old", "expiresAt": 1}, {"id": "new", "expiresAt": 99999999999999}]"#]);
    s.transcript.clear();
    s.run(&["run", "--dry-run", "--hours", "24", "--output", "jsonl"])
        .run(&["job", "list", "--output", "table"])
        .run(&["job", "run", "cleanup", r#"{"why": "a test"}"#])
        .run(&["list", "sessions"])
        .run(&["job", "run", "broken"])
        .run(&["job", "history", "cleanup"])
        .run(&["job", "history", "broken", "--output", "table"])
        .run(&["job", "stats", "cleanup"])
        .run(&["job", "disable", "cleanup"])
        .run(&["job", "disable", "cleanup"])
        .run(&["job", "next", "cleanup", "-n", "2"])
        .run(&["job", "enable", "cleanup"])
        .run(&["job", "add", "more.json"])
        .run(&["job", "add", "more.json"])
        .run(&["job", "show", "load"])
        .run(&["job", "remove", "load"])
        .run(&["job", "remove", "load"])
        .run(&["job", "backfill", "cleanup", "2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"])
        .run(&["run", "--once", "cleanup"])
        .run(&["pause"])
        .run(&["job", "run", "cleanup"])
        .run(&["resume"]);
    insta::assert_snapshot!(without_times(&s.finish()));
}

#[test]
fn jobs_refuse_with_the_thing_and_the_way_out() {
    let mut s = Session::new();
    s.run(&["init", "--quiet"]);
    s.transcript.clear();
    s.write(
        "bad.json",
        r#"{"a": {"schedule": "61 * * * *", "action": {"kind": "delete_were"}}, "b": {"schedule": "@daily", "timezone": "Mars", "retries": -1, "action": {"kind": "exec", "command": ["ls"]}}}"#,
    );
    s.write("circle.json", r#"{"x": {"schedule": "@daily", "dependsOn": ["y"], "action": {"kind": "cleanup_backups"}}, "y": {"schedule": "@daily", "dependsOn": ["x"], "action": {"kind": "cleanup_backups"}}}"#);
    s.run(&["job", "list"])
        .run(&["job", "show", "nothing"])
        .run(&["job", "run", "nothing"])
        .run(&["job", "cancel", "nothing_1"])
        .run(&["job", "history", "nothing"])
        .run(&["job", "add"])
        .run(&["job", "add", "missing.json"])
        .run(&["job", "add", "bad.json"])
        .run(&["job", "add", "circle.json"])
        .run(&["job", "add", "circle.json", "--json"])
        .run(&["job", "backfill", "a", "yesterday", "today"])
        .run(&["run", "--metrics", "0.0.0.0:9464"])
        .run(&["run", "--once", "nothing"])
        .run(&["cron", "validate", "0 0 31 2 *"])
        .run(&["cron", "validate", "0 0 * * MONDAY"])
        .run(&["cron", "next", "0 0 31 2 *"])
        .run(&[
            "cron",
            "next",
            "30 2 * * *",
            "--tz",
            "America/New_York",
            "--from",
            "2026-03-07T00:00:00Z",
            "-n",
            "3",
            "--json",
        ])
        .run(&[
            "cron",
            "next",
            "30 2 * * *",
            "--tz",
            "America/New_York",
            "--from",
            "2026-03-07T00:00:00Z",
            "-n",
            "2",
            "--dst",
            "skip",
            "--output",
            "table",
        ])
        .run(&["cron", "next", "* * * * *", "--tz", "Nowhere"]);
    s.write(
        "s3db.toml",
        "url = \"file:./s3db-data\"\n[jobs.a]\nschedule = \"99 * * * *\"\naction = { kind = \"backup\" }\n",
    );
    s.run(&["config", "check"]).run(&["run"]).run(&["job", "list"]);
    insta::assert_snapshot!(without_times(&s.finish()));
}

#[test]
fn the_schema_of_the_configuration_is_the_published_one() {
    let s = Session::new();
    let printed = String::from_utf8(s.command(&["config", "schema"]).output().unwrap().stdout).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/s3db.schema.json");
    if std::env::var_os("S3DB_UPDATE").is_some() {
        std::fs::write(&path, &printed).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), printed, "run with S3DB_UPDATE=1 and look at the difference");
}

#[test]
fn permissions_that_are_missing_are_told() {
    let mut s = with_users();
    std::fs::write(s.path().join("file"), "no directory").unwrap();
    s.run(&["--url", "file:./file", "resource", "create", "x", "--attributes", r#"{"a": "string"}"#]);
    for name in ["s3db.sqlite3-wal", "s3db.sqlite3-shm"] {
        let _absent = std::fs::remove_file(s.path().join("s3db-data").join(name));
    }
    std::fs::write(
        s.path().join("s3db-data/s3db.sqlite3"),
        "this is no database, and it is long enough to be looked at",
    )
    .unwrap();
    s.run(&["list", "users"]);
    std::fs::write(s.path().join("s3db-data/s3db.sqlite3"), "").unwrap();
    s.run(&["list", "users"]);
    insta::assert_snapshot!(s.finish());
}

#[test]
fn queries_are_explained_and_change_what_they_take() {
    let mut s = with_users();
    s.write(
        "users.jsonl",
        "{\"id\":\"ana\",\"name\":\"Ana\",\"country\":\"BR\"}\n{\"id\":\"ben\",\"name\":\"Ben\",\"country\":\"DE\"}\n{\"id\":\"cleo\",\"name\":\"Cleo, \\\"C\\\"\",\"country\":\"BR\"}\n{\"id\":\"dora\",\"name\":\"null\"}\n",
    );
    s.run(&["import", "users", "users.jsonl"])
        .run(&["list", "users", "--where", r#"{"name": {"$gte": "B"}, "country": {"$in": ["BR", "DE"]}}"#])
        .run(&["list", "users", "--where", r#"{"country": "BR"}"#, "--explain", "--output", "table"])
        .run(&["list", "users", "--where", r#"{"country": "BR"}"#, "--fields", "id,country"])
        .run(&["list", "users", "--order-by", "country:desc,name", "--limit", "2"])
        .run(&["count", "users", "--where", r#"{"country": {"$exists": false}}"#, "--json"])
        .run(&["list", "users", "--where", r#"{"nane": "Ana"}"#])
        .run(&["list", "users", "--where", r#"{"$or": [{"name": {"$regx": "A"}}]}"#])
        .run(&["list", "users", "--order-by", "password"])
        .run(&["list", "users", "--after", "x", "--order-by", "name"])
        .run(&["update", "users", r#"{"country": "PT"}"#, "--where", r#"{"country": "BR"}"#])
        .run(&["update", "users", r#"{"country": "PT"}"#, "--where", r#"{"country": "BR"}"#, "--dry-run"])
        .run(&["update", "users", r#"{"country": "PT"}"#, "--where", r#"{"country": "BR"}"#, "--yes"])
        .run(&["update", "users", r#"{"name": "x"}"#, "--where", r#"{"id": "ben"}"#, "--yes"])
        .run(&["delete", "users", "--where", r#"{"country": "DE"}"#, "--yes"])
        .run(&["export", "users", "--format", "csv"]);
    let csv = s.command(&["export", "users", "--format", "csv"]).output().unwrap().stdout;
    s.write("users.csv", &String::from_utf8(csv).unwrap());
    s.run(&["resource", "create", "copies", "--attributes", USERS, "--quiet", "--output", "table"]).run(&[
        "import",
        "copies",
        "users.csv",
    ]);
    let rows = |s: &Session, resource: &str| s.command(&["export", resource]).output().unwrap().stdout;
    assert_eq!(rows(&s, "users"), rows(&s, "copies"), "a round trip by CSV");
    s.write("wrong.csv", "id,nane\nx,Xaver\n");
    s.run(&["import", "copies", "wrong.csv"]);
    insta::assert_snapshot!(s.finish());
}

#[test]
fn definitions_are_changed() {
    let mut s = with_users();
    s.run(&["insert", "users", r#"{"id": "ana", "name": "Ana", "country": "BR"}"#])
        .run(&["resource", "update", "users", "--attributes", r#"{"age": "number|optional"}"#, "--output", "table"])
        .run(&["resource", "update", "users", "--attributes", r#"{"age": "number|optional"}"#, "--output", "table"])
        .run(&["resource", "update", "users", "--partition", "byAge=age:number", "--no-index", "--output", "table"])
        .run(&["update", "users", "ana", r#"{"age": 30}"#])
        .run(&["list", "users", "--where", r#"{"age": 30}"#])
        .run(&["resource", "update", "users", "--attributes", r#"{"age": "numbr"}"#])
        .run(&["resource", "update", "users", "--remove-attribute", "country"])
        .run(&["resource", "update", "users", "--partition", "byAge=agee"])
        .run(&["resource", "update", "userz", "--remove-attribute", "country"]);
    insta::assert_snapshot!(s.finish());
}

const ORDER: &str = include_str!("../../../examples/order.json");

/// A folder with the order machine, its two resources, and an entity.
fn with_order() -> Session {
    let mut session = Session::new();
    session.write("order.json", ORDER);
    session
        .run(&["init", "--quiet"])
        .run(&["resource", "create", "mails", "--attributes", r#"{"to": "string", "text": "string"}"#, "--quiet"])
        .run(&["resource", "create", "inventory", "--attributes", r#"{"quantity": "number|min:0"}"#, "--quiet"])
        .run(&["insert", "inventory", r#"{"id": "prod1", "quantity": 1}"#])
        .run(&["machine", "define", "order.json"])
        .run(&[
            "machine",
            "init",
            "order",
            "o1",
            r#"{"customer": "ana@example.org", "productId": "prod1", "quantity": 2}"#,
        ]);
    assert_eq!(session.transcript.matches("[exit").count(), 0, "{}", session.transcript);
    session.transcript.clear();
    session
}

/// Hides what differs from run to run in the outputs of machines.
fn machine_snapshot(session: &Session) -> String {
    let mut text = session.finish();
    for (pattern, plain) in [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "[time]"),
        (r"01[0-9A-HJKMNP-TV-Z]{24}", "[transition]"),
        (r#""id":"[0-9a-f]{22}""#, r#""id":"[made from the token]""#),
        (r#""ageMs":\d+"#, r#""ageMs":[age]"#),
        (r"\b\d+s\b", "[age]"),
    ] {
        text = regex::Regex::new(pattern).unwrap().replace_all(&text, plain).into_owned();
    }
    text
}

#[test]
fn an_order_goes_its_way() {
    let mut s = with_order();
    s.run(&["machine", "define", "order.json", "--output", "table"])
        .run(&["machine", "list", "--output", "table"])
        .run(&["machine", "events", "order", "o1", "--json"])
        .run(&["machine", "send", "order", "o1", "CONFIRM", "--actor", "ana", "--idempotency-key", "k1"])
        .run(&["machine", "send", "order", "o1", "CONFIRM", "--actor", "ana", "--idempotency-key", "k1"])
        .run(&["list", "mails"])
        .run(&["machine", "send", "order", "o1", "SHIP"])
        .run(&["machine", "send", "order", "o1", "PREPARE", "--json"])
        .run(&["machine", "send", "order", "o1", "SHIP", "--json"])
        .run(&["update", "inventory", "prod1", r#"{"quantity": 5}"#])
        .run(&["machine", "events", "order", "o1", "--passing", "--output", "table"])
        .run(&["machine", "send", "order", "o1", "SHIP", r#"{"parcel": "X1"}"#])
        .run(&["machine", "state", "order", "o1"])
        .run(&["machine", "history", "order", "o1", "--output", "table"])
        .run(&["machine", "history", "order", "o1", "--limit", "1", "--json"])
        .run(&["machine", "entities", "order", "--state", "shipped"])
        .run(&["machine", "counts", "order", "--json"])
        .run(&["machine", "stuck", "order", "--older-than", "1d", "--json"])
        .run(&["machine", "verify", "order", "o1", "--output", "table"])
        .run(&["machine", "verify", "order", "--json"])
        .run(&["machine", "visualize", "order", "--entity", "o1", "--format", "mermaid"])
        .run(&["machine", "visualize", "order"])
        .run(&["machine", "sweep"])
        .run(&["machine", "prune", "order", "--done", "--older-than", "1d", "--dry-run"])
        .run(&["machine", "delete", "order", "o1"])
        .run(&["machine", "state", "order", "o1"]);
    insta::assert_snapshot!(machine_snapshot(&s));
}

#[test]
fn machines_refuse_with_the_thing_and_the_way_out() {
    let mut s = with_order();
    s.write("bad.json", r#"{"machines": {"m": {"initialState": "a", "states": {"a": {"onn": {}, "on": {"E": "nowhere"}, "entry": "typo"}}}, "n": {"states": {}}}}"#);
    s.run(&["machine", "validate", "bad.json", "--output", "table"])
        .run(&["machine", "define", "bad.json", "--json"])
        .run(&["machine", "define"])
        .run(&["machine", "define", "none.json"])
        .run(&["machine", "send", "ordr", "o1", "CONFIRM"])
        .run(&["machine", "send", "order", "o2", "CONFIRM"])
        .run(&["machine", "send", "order", "o1", "CONFRIM", "--json"])
        .run(&["machine", "send", "order", "o1", "CONFIRM", "[1]"])
        .run(&["machine", "send", "order", "o1", "CONFIRM", "--expected-version", "7", "--json"])
        .run(&["machine", "send", "order", "o1", "after:5m"])
        .run(&["machine", "init", "order", "o1"])
        .run(&["machine", "entities", "order", "--state", "shiped"])
        .run(&["machine", "stuck", "order", "--older-than", "soon"])
        .run(&["machine", "migrate", "order", "--to", "7"])
        .run(&["machine", "migrate", "order", "--to", "1", "--map", r#"{"pendin": "confirmed"}"#])
        .run(&["machine", "show", "order", "--version", "3"])
        .run(&["machine", "simulate", "order", "CONFIRM", "SHIP", "--output", "table"])
        .run(&["machine", "sweep", "--watch", "--every", "0"])
        .run(&["machine", "send", "order", "o1", "CANCEL"])
        .run(&["machine", "send", "order", "o1", "CANCEL", "--json"]);
    insta::assert_snapshot!(machine_snapshot(&s));
}

const BACKUP_SETTINGS: &str = "url = \"file:./data\"\n[backup]\nretention = { last = 1 }\n[[backup.destinations]]\ntype = \"filesystem\"\npath = \"./backups\"\n";

/// A database with two users and a destination.
fn with_destination() -> Session {
    let mut s = Session::new();
    s.write("s3db.toml", BACKUP_SETTINGS);
    s.run(&["init", "--quiet"]).run(&["resource", "create", "users", "--attributes", USERS, "--quiet"]);
    s.run(&["insert", "users", r#"[{"id": "ana", "name": "Ana"}, {"id": "ben", "name": "Ben"}]"#]);
    s.transcript.clear();
    s
}

/// The ids of backups as they were made.
fn backup_ids(s: &Session) -> Vec<String> {
    let output = s.command(&["backup", "list", "--output", "jsonl"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let id = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    text.lines().rev().map(id).collect()
}

/// A transcript without what differs from run to run.
fn backup_snapshot(s: &Session) -> String {
    let mut text = s.finish();
    for (pattern, plain) in [
        (r"backup_(full|incremental|differential)_\d{8}T\d{9}Z_[a-z2-7]{6}", "[$1 backup]"),
        (r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{3}Z)?", "[time]"),
        (r"\d{4}-\d{2}-\d{2}", "[day]"),
        (r"\b[0-9A-Z]{26}\b", "[ulid]"),
        (r"\b[0-9a-f]{64}\b", "[sha256]"),
        (r"\d+(\.\d+)? (KiB|B)\b", "[size]"),
        (r"\d+(\.\d+)? m?s\b", "[duration]"),
        (r#""(size|duration|logicalSize|bytes)":\s*\d+"#, r#""$1": 0"#),
        (r"instead of \d+", "instead of [n]"),
        (r"─+", "─"),
        (r" {2,}", "  "),
    ] {
        text = regex::Regex::new(pattern).unwrap().replace_all(&text, plain).into_owned();
    }
    text
}

#[test]
fn a_backup_is_made_verified_restored_and_cleaned_up() {
    let mut s = with_destination();
    s.run(&["backup", "create", "--output", "table"])
        .run(&["delete", "users", "ben"])
        .run(&["insert", "users", r#"{"id": "eva", "name": "Eva"}"#])
        .run(&["backup", "create", "--type", "incremental", "--json"]);
    let ids = backup_ids(&s);
    let (full, changes) = (ids[0].as_str(), ids[1].as_str());
    s.run(&["backup", "list", "--output", "table"])
        .run(&["backup", "show", changes, "--output", "table"])
        .run(&["backup", "verify", changes, "--json"])
        .run(&["backup", "verify", changes, "--level", "drill", "--output", "table"])
        .run(&["backup", "restore", changes, "--into", "file:./copy", "--dry-run", "--output", "table"])
        .run(&["backup", "restore", changes, "--into", "file:./copy", "--output", "table"])
        .run(&["--url", "file:./copy", "list", "users"])
        .run(&["--url", "file:./copy", "resume"])
        .run(&["backup", "restore", full, "--resource", "users", "--rename", "users=old", "--json"])
        .run(&["list", "old", "--fields", "name"])
        .run(&["backup", "pin", full])
        .run(&["backup", "unpin", full])
        .run(&["backup", "cleanup", "--dry-run", "--output", "table"])
        .run(&["backup", "delete", changes, "--yes"])
        .run(&["backup", "list", "--from", "backups", "--output", "table"])
        .run(&["pause"])
        .run(&["resume"]);
    insta::assert_snapshot!(backup_snapshot(&s));
}

#[test]
fn backups_refuse_with_the_thing_and_the_way_out() {
    let mut s = with_destination();
    s.run(&["backup", "create", "--quiet", "--output", "table"]);
    let id = backup_ids(&s).remove(0);
    s.run(&["backup", "restore", &id])
        .run(&["backup", "restore", &id, "--json"])
        .run(&["backup", "restore", &id, "--resource", "user"])
        .run(&["backup", "restore", &id, "--rename", "users"])
        .run(&["backup", "restore", &id, "--id", "zoe", "--mode", "overwrite"])
        .run(&["backup", "restore", "--at", "yesterday"])
        .run(&["backup", "restore", "--at", "2020-01-01T00:00:00Z"])
        .run(&["backup", "restore"])
        .run(&["backup", "show", "backup_full_x"])
        .run(&["backup", "delete", &id])
        .run(&["backup", "cancel", &id])
        .run(&["backup", "verify", &id, "--from", "nowhere"])
        .run(&["backup", "verify", &id, "--identity", "none.key"]);
    let segment = s.path().join("backups").join(&id).join("segments/1.jsonl.gz");
    std::fs::write(&segment, b"damaged").unwrap();
    s.run(&["backup", "verify", &id, "--output", "table"])
        .run(&["backup", "restore", &id, "--into", "file:./copy"])
        .run(&["backup", "list", "--output", "table"]);
    assert!(!s.path().join("copy").exists(), "nothing was made for a restore that was refused");
    s.write("s3db.toml", "url = \"file:./data\"\n");
    s.run(&["backup", "create"]).run(&["backup", "list"]);
    s.write("s3db.toml", &BACKUP_SETTINGS.replace("last", "lst"));
    s.run(&["backup", "create"]);
    insta::assert_snapshot!(backup_snapshot(&s));
}
