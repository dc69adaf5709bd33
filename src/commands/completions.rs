//! `masthead completions`: a completion script for a shell.

use std::io::{self, Write};

use clap::CommandFactory;

use super::Ending;
use crate::args::{CommandLine, Completions};

/// Writes the script to standard output.
pub(crate) fn run(args: &Completions) -> anyhow::Result<Ending> {
    // By way of a buffer, since the generator panics where writing fails.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut CommandLine::command(), "masthead", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(Ending::Fine)
}
