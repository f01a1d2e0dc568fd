//! The actions of machines.

use super::definition::{Action, Problems};
use super::facts::VARIABLES;
use crate::plugin::action::{Exec, Fields, RecordAction, SendEvent, Template, Webhook};

/// What an action does.
#[derive(Debug)]
pub(super) enum ActionKind {
    /// A function that a process registers.
    Function,
    /// Sets members of the context; pure, and part of the conditional write.
    Assign(Template),
    /// Writes a record.
    Record(RecordAction),
    /// Sends an event to other entities.
    SendEvent(SendEvent),
    /// Sends an HTTP request.
    Webhook(Webhook),
    /// Runs a program.
    Exec(Exec),
}

const KINDS: [&str; 7] = ["assign", "insert", "update", "delete", "send_event", "webhook", "exec"];

/// Compiles an action; `None` if its problems were told.
pub(super) fn compile_action(action: &Action, path: &str, problems: &mut Problems) -> Option<ActionKind> {
    let before = problems.0.len();
    let mut fields = Fields { members: &action.0, path, problems, variables: VARIABLES };
    let kind = match action.kind() {
        "assign" => fields.only(&["set"]).object("set").map(ActionKind::Assign),
        "insert" | "update" | "delete" => RecordAction::compile(action.kind(), &mut fields).map(ActionKind::Record),
        "send_event" => SendEvent::compile(&mut fields).map(ActionKind::SendEvent),
        "webhook" => Webhook::compile(&mut fields).map(ActionKind::Webhook),
        "exec" => Exec::compile(&mut fields).map(ActionKind::Exec),
        other => {
            fields.unknown_kind(other, &KINDS);
            None
        }
    };
    kind.filter(|_| problems.0.len() == before)
}
