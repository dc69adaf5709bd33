//! The `masthead` command: reads the arguments, runs the command, ends with its exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

mod args;
mod commands;
mod config;
mod coverage;
mod detector;
mod examiner;
mod examples;
mod feed;
mod files;
mod interrupt;
mod live;
mod loading;
mod period;
mod pipeline;
mod progress;
mod relation;
mod report;
mod reporter;
mod skipped;
mod steps;
mod terminal;
mod timeline;
mod totals;

use args::CommandLine;
use commands::Ending;
use terminal::Terminal;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let terminal = Terminal::new(line.color);
    let ending = commands::run(&line.command, &terminal).unwrap_or_else(|error| {
        let ending = Ending::of_error(&error);
        if ending != Ending::Fine {
            // Nothing is left to be done if even this cannot be written.
            let _ = writeln!(std::io::stderr(), "{}", terminal.error_line(&error));
        }
        ending
    });
    ExitCode::from(ending.code())
}
