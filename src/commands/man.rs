//! `masthead man`: the manual page, all commands on one page.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_mangen::Man;

use super::Ending;
use crate::args::CommandLine;

/// What is said behind the options begins so.
const EXTRA: &str = ".SH EXTRA\n";

/// Writes the page as roff to standard output.
pub(crate) fn run() -> anyhow::Result<Ending> {
    let mut command = CommandLine::command();
    command.build();
    let mut page = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut page)?;
    // Neither hyphens in names and addresses nor gaps between words.
    writeln!(page, ".nh\n.ad l")?;
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
    let mut extra = Vec::new();
    man.render_extra_section(&mut extra)?;
    // Examples are lines, which would otherwise be filled as one paragraph.
    let extra = String::from_utf8_lossy(&extra).replacen(EXTRA, &format!("{EXTRA}.nf\n"), 1);
    writeln!(page, "{extra}.fi")
}
