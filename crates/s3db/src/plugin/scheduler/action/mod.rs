//! What jobs that are data do.

mod backup;
mod change_where;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::database::Database;
use crate::plugin::action::{Exec, Fields, RecordAction, SendEvent, Situation, Webhook};
use crate::plugin::problem::Problems;
use crate::plugin::state_machine::{Action, StateMachinePlugin};

use backup::BackupAction;
use change_where::ChangeWhere;

/// The variables of every expression.
pub(super) const VARIABLES: &[&str] = &[
    "job",
    "runId",
    "scheduledTime",
    "startedAt",
    "attempt",
    "lastSuccess",
    "context",
    "meta",
    "error",
    "token",
    "now",
];

const KINDS: [&str; 8] =
    ["insert", "update_where", "delete_where", "send_event", "webhook", "exec", "backup", "cleanup_backups"];

/// What a job does.
#[derive(Debug)]
pub(super) enum JobAction {
    /// Inserts a record.
    Insert(RecordAction),
    /// Changes or deletes the records that a filter takes.
    ChangeWhere(ChangeWhere),
    /// Sends an event to entities.
    SendEvent(SendEvent),
    /// Sends an HTTP request.
    Webhook(Webhook),
    /// Runs a program.
    Exec(Exec),
    /// Makes a backup, or cleans up.
    Backup(BackupAction),
}

/// Whether a kind has no time-out of its own: backups take what they take.
pub(super) fn takes_its_time(kind: &str) -> bool {
    matches!(kind, "backup" | "cleanup_backups")
}

/// Compiles an action; `None` if its problems were told.
pub(super) fn compile(action: &Action, path: &str, allow_exec: bool, problems: &mut Problems) -> Option<JobAction> {
    let before = problems.0.len();
    let mut fields = Fields { members: &action.0, path, problems, variables: VARIABLES };
    let kind = match action.kind() {
        "insert" => RecordAction::compile("insert", &mut fields).map(JobAction::Insert),
        "update_where" => ChangeWhere::compile_update(&mut fields).map(JobAction::ChangeWhere),
        "delete_where" => ChangeWhere::compile_delete(&mut fields).map(JobAction::ChangeWhere),
        "send_event" => SendEvent::compile(&mut fields).map(JobAction::SendEvent),
        "webhook" => {
            if fields.get("retries").is_some() {
                fields.problem("retries", "belongs to the job: write it beside 'schedule'");
            }
            Webhook::compile(&mut fields).map(JobAction::Webhook)
        }
        "exec" => {
            if !allow_exec {
                fields.problem("kind", "'exec' runs a program, which is not allowed; set allowExec = true in s3db.toml, or allow_exec(true)");
            }
            Exec::compile(&mut fields).map(JobAction::Exec)
        }
        "backup" => BackupAction::compile_backup(&mut fields).map(JobAction::Backup),
        "cleanup_backups" => BackupAction::compile_cleanup(&mut fields).map(JobAction::Backup),
        other => {
            fields.unknown_kind(other, &KINDS);
            None
        }
    };
    kind.filter(|_| problems.0.len() == before)
}

impl JobAction {
    /// Runs it; what it returns is the run's result.
    pub(super) async fn run(
        &self,
        db: &Database,
        folder: Option<&Path>,
        situation: &Situation,
    ) -> Result<Value, String> {
        match self {
            Self::Insert(action) => action.run(db, situation).await.map(|_| json!({ "inserted": 1 })),
            Self::ChangeWhere(action) => action.run(db, situation).await,
            Self::SendEvent(action) => {
                let machines = db.plugin::<StateMachinePlugin>().map_err(|e| e.to_string())?;
                action.run(&machines, situation).await.map(|sent| json!({ "sent": sent }))
            }
            Self::Webhook(action) => action.run(situation).await,
            Self::Exec(action) => action.run(folder, situation).await,
            Self::Backup(action) => action.run(db).await,
        }
    }

    /// The time-out that the action itself names.
    pub(super) fn timeout(&self) -> Option<Duration> {
        match self {
            Self::Webhook(action) => action.timeout,
            Self::Exec(action) => action.timeout,
            _ => None,
        }
    }
}
