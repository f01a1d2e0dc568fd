//! Several real processes on one directory, and processes that are killed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "this file is a test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

fn s3db(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3db"));
    command.current_dir(folder).args(["--url", "file:./data", "--json"]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).env_clear();
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    s3db(folder, arguments).stdin(Stdio::null()).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
        panic!("{e}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    })
}

fn database() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let created = run(
        folder.path(),
        &[
            "resource",
            "create",
            "r",
            "--attributes",
            r#"{"n": "integer", "group": "string|optional"}"#,
            "--partition",
            "byGroup=group",
        ],
    );
    assert!(created.status.success(), "{created:?}");
    folder
}

fn lines(ids: std::ops::Range<usize>, group: &str) -> String {
    ids.map(|i| format!("{{\"id\": \"r{i:05}\", \"n\": {i}, \"group\": \"{group}\"}}\n")).collect()
}

#[test]
fn of_many_processes_that_insert_the_same_ids_each_id_has_one_winner() {
    let folder = database();
    let importers: Vec<Child> = (0..8)
        .map(|p| {
            let mut child = s3db(folder.path(), &["import", "r", "-"]).spawn().unwrap();
            child.stdin.take().unwrap().write_all(lines(0..150, &format!("g{p}")).as_bytes()).unwrap();
            child
        })
        .collect();
    let reports: Vec<Value> = importers.into_iter().map(|c| json(&c.wait_with_output().unwrap())).collect();
    let inserted: u64 = reports.iter().map(|r| r["inserted"].as_u64().unwrap()).sum();
    assert_eq!(inserted, 150);
    for failure in reports.iter().flat_map(|r| r["failed"].as_array().unwrap()) {
        assert_eq!(failure["error"]["kind"], "AlreadyExists", "{failure}");
    }
    let mut by_partition = 0;
    for (p, report) in reports.iter().enumerate() {
        let values = format!("{{\"group\": \"g{p}\"}}");
        let rows = json(&run(folder.path(), &["list", "r", "--partition", "byGroup", "--values", &values]));
        assert_eq!(rows.as_array().unwrap().len() as u64, report["inserted"].as_u64().unwrap());
        let keys = json(&run(folder.path(), &["count", "r", "--partition", "byGroup", "--values", &values]));
        by_partition += keys["count"].as_u64().unwrap();
    }
    assert_eq!(by_partition, 150, "losers left index keys behind");
}

#[test]
fn a_counter_raised_by_many_processes_loses_nothing() {
    let folder = database();
    assert!(run(folder.path(), &["insert", "r", r#"{"id": "counter", "n": 0}"#]).status.success());
    let raise = |times: usize| {
        for _ in 0..times {
            loop {
                let row = json(&run(folder.path(), &["get", "r", "counter", "--meta"]));
                let patch = format!("{{\"n\": {}}}", row["n"].as_u64().unwrap() + 1);
                let output = run(
                    folder.path(),
                    &["update", "r", "counter", &patch, "--expected-rev", row["_meta"]["rev"].as_str().unwrap()],
                );
                match output.status.code() {
                    Some(0) => break,
                    Some(4) => {}
                    code => panic!("{code:?}: {output:?}"),
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| raise(10));
        }
    });
    assert_eq!(json(&run(folder.path(), &["get", "r", "counter"]))["n"], 40);
}

/// Every row that is there must be listed by its partition, and no other.
fn rows_by_partition(folder: &Path, groups: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for group in groups {
        let values = format!("{{\"group\": \"{group}\"}}");
        let rows = json(&run(folder, &["list", "r", "--partition", "byGroup", "--values", &values]));
        for row in rows.as_array().unwrap() {
            found.insert(row["id"].as_str().unwrap().to_owned(), group.clone());
        }
    }
    let all = json(&run(folder, &["list", "r"]));
    let all: BTreeMap<String, String> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|r| (r["id"].as_str().unwrap().to_owned(), r["group"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(found, all, "what is stored and what its partitions list differ");
    all
}

#[test]
fn what_was_acknowledged_survives_kill_9_and_is_listed_by_its_partition() {
    let folder = database();
    let groups: BTreeSet<String> = ["a", "b"].map(str::to_owned).into();
    let acknowledged = Mutex::new(BTreeMap::new());
    let killed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for writer in 0..4_u64 {
            let (folder, acknowledged, killed) = (&folder, &acknowledged, &killed);
            scope.spawn(move || {
                for i in 0..60_u64 {
                    let id = format!("w{writer}-{}", i / 3);
                    let group = if i % 2 == 0 { "a" } else { "b" };
                    let record = format!("{{\"id\": \"{id}\", \"n\": {i}, \"group\": \"{group}\"}}");
                    let mut child =
                        s3db(folder.path(), &["upsert", "r", &record]).stdin(Stdio::null()).spawn().unwrap();
                    if i % 2 == 1 {
                        std::thread::sleep(Duration::from_micros((writer * 7919 + i * 1231) % 20_000));
                        killed.fetch_add(usize::from(child.kill().is_ok()), Ordering::Relaxed);
                    }
                    let output = child.wait_with_output().unwrap();
                    let mut acknowledged = acknowledged.lock().unwrap();
                    if output.status.success() {
                        acknowledged.insert(id, Some(group.to_owned()));
                    } else if let Some(known) = acknowledged.get_mut(&id) {
                        // A killed write may have taken effect: the record's group is open again.
                        *known = None;
                    }
                }
            });
        }
    });
    let acknowledged = acknowledged.into_inner().unwrap();
    let stored = rows_by_partition(folder.path(), &groups);
    for (id, group) in &acknowledged {
        let found = stored.get(id);
        assert!(
            found.is_some() && group.as_ref().is_none_or(|g| found == Some(g)),
            "{id}: acknowledged in {group:?}, found {found:?}"
        );
    }
    assert!(acknowledged.len() >= 60 && killed.into_inner() > 50);
}

#[test]
fn an_import_that_is_killed_leaves_whole_rows_and_can_be_run_again() {
    let folder = database();
    let groups: BTreeSet<String> = ["g"].map(str::to_owned).into();
    for round in 1..=4_u64 {
        let mut child = s3db(folder.path(), &["import", "r", "-"]).spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines(0..3000, "g").as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(60 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        rows_by_partition(folder.path(), &groups);
    }
    let mut child = s3db(folder.path(), &["import", "r", "-"]).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines(0..3000, "g").as_bytes()).unwrap();
    json(&child.wait_with_output().unwrap());
    assert_eq!(rows_by_partition(folder.path(), &groups).len(), 3000);
}

#[test]
fn two_processes_that_create_one_resource_differently_leave_one_definition() {
    let folder = tempfile::tempdir().unwrap();
    let create = |rule: &str| {
        s3db(folder.path(), &["resource", "create", "r", "--attributes", &format!("{{\"a\": \"{rule}\"}}")])
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    };
    let both = [create("string"), create("number")];
    let codes: BTreeSet<Option<i32>> = both.into_iter().map(|c| c.wait_with_output().unwrap().status.code()).collect();
    assert_eq!(codes, BTreeSet::from([Some(0), Some(4)]));
}

/// The lock that a stopped writer holds is held here: writers queue behind it, readers must not.
#[test]
fn readers_wait_for_no_writer() {
    let folder = database();
    assert!(run(folder.path(), &["insert", "r", r#"{"id": "x", "n": 1}"#]).status.success());
    let lock = std::fs::File::options().write(true).open(folder.path().join("data/write.lock")).unwrap();
    lock.lock().unwrap();
    let mut writer =
        s3db(folder.path(), &["insert", "r", r#"{"id": "y", "n": 1}"#]).stdin(Stdio::null()).spawn().unwrap();
    assert_eq!(json(&run(folder.path(), &["get", "r", "x"]))["n"], 1);
    assert_eq!(json(&run(folder.path(), &["count", "r"]))["count"], 1);
    assert!(writer.try_wait().unwrap().is_none(), "the writer did not wait for its turn");
    lock.unlock().unwrap();
    assert!(writer.wait().unwrap().success());
}

#[test]
fn a_full_disk_refuses_writes_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mount = |options: &str| {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|s| s.success())
    };
    if !mount("size=1m") {
        println!("not run: mounting a small file system needs root");
        return;
    }
    let outcome = std::panic::catch_unwind(|| {
        let created = run(
            folder.path(),
            &[
                "resource",
                "create",
                "r",
                "--attributes",
                r#"{"n": "integer", "group": "string"}"#,
                "--partition",
                "byGroup=group",
            ],
        );
        assert!(created.status.success(), "{created:?}");
        let mut child = s3db(folder.path(), &["import", "r", "-"]).spawn().unwrap();
        let input: String =
            (0..600).map(|i| format!("{{\"id\": \"r{i:05}\", \"n\": {i}, \"group\": \"g\"}}\n")).collect();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let report = json(&output);
        assert_eq!(output.status.code(), Some(5), "{report}");
        let failed = report["failed"].as_array().unwrap();
        for failure in failed {
            assert_eq!(failure["error"]["kind"], "Unavailable", "{failure}");
        }
        let inserted = report["inserted"].as_u64().unwrap();
        assert!(inserted > 0 && inserted + failed.len() as u64 == 600);
        assert!(Command::new("mount").args(["-o", "remount,size=32m"]).arg(folder.path()).status().unwrap().success());
        let groups: BTreeSet<String> = ["g"].map(str::to_owned).into();
        let stored = rows_by_partition(folder.path(), &groups);
        let refused: BTreeSet<&str> = failed.iter().filter_map(|f| f["id"].as_str()).collect();
        let acknowledged = (0..600).map(|i| format!("r{i:05}")).filter(|id| !refused.contains(id.as_str()));
        assert_eq!(acknowledged.filter(|id| !stored.contains_key(id)).count(), 0, "an acknowledged row is lost");
        assert!(run(folder.path(), &["insert", "r", r#"{"n": 1, "group": "g"}"#]).status.success());
    });
    let unmounted = Command::new("umount").arg("-l").arg(folder.path()).status().unwrap();
    assert!(unmounted.success());
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}
