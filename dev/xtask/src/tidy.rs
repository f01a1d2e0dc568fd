//! What no compiler checks: the direction of dependencies, file sizes, words that do not belong.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Crate → crates of ours that it may use.
const DIRECTION: [(&str, &[&str]); 4] =
    [("s3db-format", &[]), ("s3db-store", &[]), ("s3db", &["s3db-format", "s3db-store"]), ("s3db-cli", &["s3db"])];
/// Lines of a source file; tests are not counted.
const MAX_LINES: usize = 700;

pub(crate) fn run() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut problems = Vec::new();
    dependencies(&root, &mut problems)?;
    for file in tracked(&root)? {
        let Ok(text) = std::fs::read_to_string(root.join(&file)) else { continue };
        look_at(&file, &text, &mut problems);
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

fn dependencies(root: &Path, problems: &mut Vec<String>) -> Result<(), String> {
    for (name, allowed) in DIRECTION {
        let path = root.join("crates").join(name).join("Cargo.toml");
        let manifest = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let section = manifest.split("\n[dependencies]").nth(1).unwrap_or_default();
        let section = section.split("\n[").next().unwrap_or_default();
        let used =
            section.lines().filter_map(|line| line.split(['.', ' ', '=']).next()).filter(|d| d.starts_with("s3db"));
        problems.extend(used.filter(|d| !allowed.contains(d)).map(|d| format!("{name} must not depend on {d}")));
    }
    Ok(())
}

fn tracked(root: &Path) -> Result<Vec<PathBuf>, String> {
    let listed = Command::new("git").arg("ls-files").current_dir(root).output().map_err(|e| e.to_string())?;
    Ok(String::from_utf8_lossy(&listed.stdout).lines().map(PathBuf::from).collect())
}

fn look_at(file: &Path, text: &str, problems: &mut Vec<String>) {
    let name = file.display().to_string();
    let library = name.starts_with("crates/") && name.contains("/src/") && name.ends_with(".rs");
    if library && text.lines().count() > MAX_LINES {
        problems.push(format!("{name} has more than {MAX_LINES} lines: split it"));
    }
    // Only the store names HTTP headers; only the format names segments of keys.
    if library && !name.contains("s3db-format") && code_lines(text).any(|l| l.contains("\"resource=")) {
        problems.push(format!("{name} names a key segment; keys are made by s3db-format"));
    }
    if library && !name.contains("s3db-store") && code_lines(text).any(|l| l.contains("x-amz-")) {
        problems.push(format!("{name} names an HTTP header; that is for s3db-store"));
    }
    for (number, line) in text.lines().enumerate() {
        if name.ends_with(".rs") && (line.ends_with(' ') || line.contains('\t')) {
            problems.push(format!("{name}:{}: a tab, or a blank at the end", number + 1));
        }
    }
}

/// Lines that are no comments.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|l| !l.trim_start().starts_with("//"))
}
