//! What standard output and standard error are, and so whether to use colours and how
//! wide lines may be.

use std::io::{self, IsTerminal, stderr, stdout};

use sinks::{Palette, clean};
use terminal_size::Width;

use crate::args::{Color, Format, ListFormat};

/// How wide a terminal is that does not say so.
const WIDTH_DEFAULT: usize = 80;

/// What is known about where output goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    /// Standard output.
    pub(crate) stdout: Stream,
    /// Standard error.
    pub(crate) stderr: Stream,
}

/// One of the two streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    /// True when people look at it as it is written.
    pub(crate) is_terminal: bool,
    /// The colours to use.
    pub(crate) palette: Palette,
    /// How many columns a line may have; nothing where lines are not to be wrapped.
    pub(crate) width: Option<usize>,
}

impl Terminal {
    /// Looks at both streams.
    pub(crate) fn new(color: Color) -> Self {
        let width = |size: Option<(Width, _)>| size.map(|(Width(columns), _)| usize::from(columns));
        Self {
            stdout: Stream::new(
                stdout().is_terminal(),
                width(terminal_size::terminal_size_of(stdout())),
                color,
            ),
            stderr: Stream::new(
                stderr().is_terminal(),
                width(terminal_size::terminal_size_of(stderr())),
                color,
            ),
        }
    }

    /// An error as the last line of a command that failed; a bare I/O error is one of writing.
    pub(crate) fn error_line(&self, error: &anyhow::Error) -> String {
        let bad = self.stderr.palette.bad();
        let doing = if error.is::<io::Error>() && error.chain().len() == 1 {
            "cannot write the result: "
        } else {
            ""
        };
        format!("{bad}error{bad:#}: {doing}{}", clean(&format!("{error:#}")))
    }
}

impl Stream {
    fn new(is_terminal: bool, width: Option<usize>, color: Color) -> Self {
        let is_colored = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                is_terminal && !variable("NO_COLOR", |_| true) && !variable("TERM", |term| term == "dumb")
            }
        };
        let palette = if is_colored { Palette::Colored } else { Palette::Plain };
        Self { is_terminal, palette, width: is_terminal.then(|| width.unwrap_or(WIDTH_DEFAULT)) }
    }

    /// Whether `format` means JSON Lines here, where `auto` depends on who looks.
    pub(crate) fn wants_jsonl(&self, format: Format) -> bool {
        match format {
            Format::Auto => !self.is_terminal,
            Format::Jsonl => true,
            Format::Text => false,
        }
    }

    /// The format that a list has here, where `auto` depends on who looks.
    pub(crate) fn list_format(&self, format: ListFormat) -> ListFormat {
        match format {
            ListFormat::Auto if self.is_terminal => ListFormat::Text,
            ListFormat::Auto => ListFormat::Jsonl,
            chosen => chosen,
        }
    }
}

/// True when an environment variable is set, not empty and as `expected`.
fn variable(name: &str, expected: impl Fn(&std::ffi::OsStr) -> bool) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty() && expected(&value))
}
