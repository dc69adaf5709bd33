//! One module for each command; what they have in common is how they end.

use std::io;

use crate::args::Command;
use crate::terminal::Terminal;

mod alerts;
mod check;
mod completions;
mod explain;
mod man;
mod replay;
mod rules;
mod run;
mod test;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing to complain about.
    Fine,
    /// Alerts at or above `--fail-on`, or failed rule tests.
    Findings,
    /// The usage, the configuration or a rule is wrong.
    Unusable,
    /// Something could not be read or written.
    Incomplete,
    /// Ended by Ctrl-C.
    Interrupted,
}

impl Ending {
    /// The exit code of the process.
    pub(crate) fn code(self) -> u8 {
        match self {
            Ending::Fine => 0,
            Ending::Findings => 1,
            Ending::Unusable => 2,
            Ending::Incomplete => 3,
            Ending::Interrupted => 130,
        }
    }

    /// How an error ends the process. Whatever is read gets a context that says what it
    /// is, so a bare I/O error comes from writing the result. A reader that closes the pipe
    /// early, as `head` does, has what it wanted.
    pub(crate) fn of_error(error: &anyhow::Error) -> Self {
        match error.downcast_ref::<io::Error>() {
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ending::Fine,
            Some(_) => Ending::Incomplete,
            None => Ending::Unusable,
        }
    }
}

/// Runs a command.
pub(crate) fn run(command: &Command, terminal: &Terminal) -> anyhow::Result<Ending> {
    match command {
        Command::Run(args) => run::run(args, terminal),
        Command::Replay(args) => replay::run(args, terminal),
        Command::Check(args) => check::run(args, terminal),
        Command::Test(args) => test::run(args, terminal),
        Command::Rules(args) => rules::run(args, terminal),
        Command::Explain(args) => explain::run(args, terminal),
        Command::Alerts(args) => alerts::run(args, terminal),
        Command::Completions(args) => completions::run(args),
        Command::Man => man::run(),
    }
}
