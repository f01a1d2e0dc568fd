//! `exec`: a program of the machine that the process runs on. Only where `allowExec` says so.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Fields, Situation, Template, object_of, text_of};

/// Bytes of the program's output that are kept.
const OUTPUT_BYTES: u64 = 1024 * 1024;
/// Characters of its complaint that are told.
const TOLD: usize = 500;

/// A program to be run.
#[derive(Debug)]
pub(crate) struct Exec {
    command: Vec<Template>,
    env: Option<Template>,
    pub(crate) timeout: Option<Duration>,
}

impl Exec {
    pub(crate) fn compile(fields: &mut Fields<'_>) -> Option<Self> {
        fields.only(&["command", "timeout", "env"]);
        let command = match fields.any("command") {
            Some(Template::List(parts)) if !parts.is_empty() => Some(parts),
            _ => {
                fields.problem("command", "must be a list: the program and its arguments");
                None
            }
        };
        let timeout = fields.duration("timeout");
        let env = fields.get("env").is_some().then(|| fields.object("env")).flatten();
        Some(Self { command: command?, env, timeout })
    }

    /// Runs the program in a folder, with the facts as JSON on its standard input. An object on its standard output is
    /// the action's result. It is killed, with what it has
    /// started, when the action is dropped.
    pub(crate) async fn run(&self, folder: Option<&Path>, situation: &Situation) -> Result<Value, String> {
        let variables = &situation.variables;
        let mut parts = Vec::new();
        for part in &self.command {
            parts.push(text_of(part.render(variables)?, "each part of 'command'")?);
        }
        let (program, arguments) = parts.split_first().ok_or("'command' is empty")?;
        let mut command = tokio::process::Command::new(program);
        // A group of its own, so that what it starts ends with it, and a Ctrl-C of the terminal does not reach it.
        command.process_group(0);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        if let Some(folder) = folder {
            command.current_dir(folder);
        }
        // What it is to know is given to it.
        for secret in ["S3DB_PASSPHRASE", "S3DB_PASSPHRASE_FILE", "S3DB_BACKUP_PASSPHRASE", "S3DB_URL"] {
            command.env_remove(secret);
        }
        command.env("S3DB_TOKEN", &situation.token);
        if let Some(env) = &self.env {
            for (name, value) in object_of(env.render(variables)?, "'env'")? {
                command.env(&name, text_of(value, &format!("'env.{name}'"))?);
            }
        }
        let mut child = command.spawn().map_err(|e| format!("cannot run '{program}': {e}"))?;
        let mut group = Group::of(&child);
        let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let input = json!(variables).to_string();
        let feed = async {
            if let Some(mut stdin) = stdin.take() {
                // A program need not read what it is given.
                let _unread = stdin.write_all(input.as_bytes()).await;
            }
        };
        let (_, out, err, status) = tokio::join!(feed, read(stdout), read(stderr), child.wait());
        group.ended();
        let status = status.map_err(|e| format!("'{program}' could not be waited for: {e}"))?;
        if !status.success() {
            let complaint: String = String::from_utf8_lossy(&err?).trim().chars().take(TOLD).collect();
            return Err(format!("'{program}' ended with {status}: {complaint}"));
        }
        Ok(serde_json::from_slice(&out?).ok().filter(Value::is_object).unwrap_or_default())
    }
}

/// The program with all that it has started; killed when it is dropped before the program has ended.
struct Group(Option<rustix::process::Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw))
    }

    /// Nothing is left to be killed.
    fn ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.take() {
            // It may have ended just now.
            let _gone = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

async fn read(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        (&mut pipe).take(OUTPUT_BYTES).read_to_end(&mut bytes).await.map_err(|e| e.to_string())?;
        // The rest is read, so that the program is not stopped by a full pipe, and dropped.
        let mut rest = [0u8; 8192];
        while pipe.read(&mut rest).await.map_err(|e| e.to_string())? > 0 {}
    }
    Ok(bytes)
}
