//! The colours of what people read.

use anstyle::{AnsiColor, Style};
use detect::sigma::Level;

/// Colours, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Palette {
    /// No escape sequence is written.
    Plain,
    /// Sixteen-colour escape sequences, which every terminal theme adapts.
    Colored,
}

impl Palette {
    /// The style of an alert's level.
    pub fn level(self, level: Level) -> Style {
        self.only(match level {
            Level::Critical => Style::new()
                .bold()
                .fg_color(Some(AnsiColor::White.into()))
                .bg_color(Some(AnsiColor::Red.into())),
            Level::High => AnsiColor::Red.on_default().bold(),
            Level::Medium => AnsiColor::Yellow.on_default().bold(),
            Level::Low => AnsiColor::Cyan.on_default(),
            Level::Informational => AnsiColor::Blue.on_default(),
        })
    }

    /// What should be read first.
    pub fn strong(self) -> Style {
        self.only(Style::new().bold())
    }

    /// What may be skipped.
    pub fn faint(self) -> Style {
        self.only(Style::new().dimmed())
    }

    /// What holds, or went well.
    pub fn good(self) -> Style {
        self.only(AnsiColor::Green.on_default())
    }

    /// What does not hold, or went wrong.
    pub fn bad(self) -> Style {
        self.only(AnsiColor::Red.on_default())
    }

    /// What could not be decided, or deserves a look.
    pub fn doubtful(self) -> Style {
        self.only(AnsiColor::Yellow.on_default())
    }

    fn only(self, style: Style) -> Style {
        if self == Palette::Colored { style } else { Style::new() }
    }
}

/// The name of a level as rules write it.
pub fn level_name(level: Level) -> &'static str {
    match level {
        Level::Informational => "informational",
        Level::Low => "low",
        Level::Medium => "medium",
        Level::High => "high",
        Level::Critical => "critical",
    }
}

/// The level that a rule's word names.
pub fn level_named(name: &str) -> Option<Level> {
    let levels = [Level::Informational, Level::Low, Level::Medium, Level::High, Level::Critical];
    levels.into_iter().find(|level| level_name(*level) == name)
}
