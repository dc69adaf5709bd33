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
    let man = Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    sections(&man, &mut page)?;
    for subcommand in command.get_subcommands().filter(|command| command.get_name() != "help") {
        writeln!(page, ".SH \"MASTHEAD {}\"", subcommand.get_name().to_uppercase())?;
        sections(&Man::new(subcommand.clone()), &mut page)?;
    }
    io::stdout().lock().write_all(&page)?;
    Ok(Ending::Fine)
}

/// What one command does, its options and examples.
fn sections(man: &Man, page: &mut Vec<u8>) -> io::Result<()> {
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    man.render_extra_section(page)
}
