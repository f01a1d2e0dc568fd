//! Checks and generated documents of this repository.
//!
//! `tidy` checks what no compiler does; `peer-dump` writes random buckets for an independent reader.

mod peer;
mod tidy;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["tidy"] => tidy::run(),
        ["peer-dump", "--seeds", seeds] => {
            seeds.parse().map_err(|_| format!("'{seeds}' is no number")).and_then(peer::dump)
        }
        ["peer-dump", "--golden", folder] => peer::dump_golden(folder),
        _ => Err("usage: xtask tidy | xtask peer-dump --seeds N|--golden FOLDER".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
