//! `masthead man`: the manual page, all commands on one page.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_mangen::Man;

use super::Ending;
use crate::args::CommandLine;

/// Writes the page as roff to standard output.
pub(crate) fn run() -> anyhow::Result<Ending> {
    let mut command = CommandLine::command();
    command.build();
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    for subcommand in command.get_subcommands().filter(|command| command.get_name() != "help") {
        section(subcommand, &mut page)?;
    }
    io::stdout().lock().write_all(&page)?;
    Ok(Ending::Fine)
}

/// One command with its description, options and examples, as a section of the page.
fn section(command: &clap::Command, page: &mut Vec<u8>) -> io::Result<()> {
    writeln!(page, ".SH \"MASTHEAD {}\"", command.get_name().to_uppercase())?;
    let man = Man::new(command.clone());
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    man.render_extra_section(page)
}
