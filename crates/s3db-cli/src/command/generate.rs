//! Completions and man pages.

use std::path::Path;

use clap::CommandFactory as _;

use crate::args::Cli;
use crate::exit;
use crate::output::Failure;

pub(super) fn completions(shell: clap_complete::Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "s3db", &mut script);
    std::io::Write::write_all(&mut std::io::stdout().lock(), &script)?;
    Ok(exit::DONE)
}

pub(super) fn man(dir: &Path) -> Result<u8, Failure> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir)?;
    Ok(exit::DONE)
}
