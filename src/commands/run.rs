//! `masthead run`: receives audit events and tells of attacks as they happen.

use std::io;
use std::sync::Arc;

use anyhow::anyhow;

use super::Ending;
use crate::args::Run;
use crate::live::{self, Setup, SetupError};
use crate::report;
use crate::terminal::Terminal;

/// Runs until it is told to stop.
pub(crate) fn run(args: &Run, terminal: &Terminal) -> anyhow::Result<Ending> {
    let setup = match Setup::read(args) {
        Ok(setup) => setup,
        Err(SetupError::Rules(loaded)) => {
            report::write_all(&mut io::stderr().lock(), terminal.stderr, &loaded)?;
            return Err(anyhow!("the rules have mistakes; nothing was started"));
        }
        Err(SetupError::Config(mistakes)) => {
            report::write_mistakes(&mut io::stderr().lock(), terminal.stderr, &mistakes)?;
            return Err(anyhow!("the configuration has mistakes; nothing was started"));
        }
        Err(SetupError::Other(error)) => return Err(error),
    };
    if let Some(doubts) = &setup.config.doubts {
        report::write_mistakes(&mut io::stderr().lock(), terminal.stderr, doubts)?;
    }
    live::log::begin(&setup.config.log);
    let again = args.clone();
    live::run(setup, Arc::new(move || Setup::read(&again)), terminal)?;
    Ok(Ending::Fine)
}
