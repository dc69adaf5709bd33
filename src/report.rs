//! Draws the problems of rule files and configurations the way a compiler does: the line, a caret, and help.

use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use detect::sigma::{Label, Place, Severity};
use sinks::{Palette, clean};

use crate::config::Mistakes;
use crate::files::RuleFile;
use crate::loading::{Loaded, Problem};
use crate::terminal::Stream;

/// How wide a drawing is where nothing says how wide it may be.
const WIDTH_DEFAULT: usize = 100;

/// Writes every problem, with a blank line behind each.
pub(crate) fn write_all(out: &mut dyn Write, stream: Stream, loaded: &Loaded) -> io::Result<()> {
    for problem in &loaded.problems {
        writeln!(out, "{}\n", drawing(stream, &loaded.files[problem.file], problem))?;
    }
    Ok(())
}

/// Writes every problem of a severity on a line of its own.
pub(crate) fn write_short(out: &mut dyn Write, loaded: &Loaded, severity: Severity) -> io::Result<()> {
    for problem in loaded.problems.iter().filter(|problem| problem.severity == severity) {
        let (path, Place { line, column, .. }) = (loaded.files[problem.file].path.display(), problem.place);
        let place = clean(&format!("{path}:{line}:{column}")).into_owned();
        writeln!(out, "{}: {place}: {}", severity_name(severity), clean(&problem.message))?;
    }
    Ok(())
}

/// `error` or `warning`.
pub(crate) fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// Writes every mistake of a configuration, with a blank line behind each.
pub(crate) fn write_mistakes(out: &mut dyn Write, stream: Stream, mistakes: &Mistakes) -> io::Result<()> {
    for mistake in &mistakes.list {
        let (message, help) = (mistake.message(), mistake.help());
        let drawing = Drawing {
            path: &mistakes.path,
            text: &mistakes.text,
            severity: mistake.severity(),
            code: mistake.code(),
            place: mistake.place,
            message: &message,
            help: help.as_deref(),
            label: None,
        };
        writeln!(out, "{}\n", drawing.render(stream))?;
    }
    Ok(())
}

fn drawing(stream: Stream, file: &RuleFile, problem: &Problem) -> String {
    let drawing = Drawing {
        path: &file.path,
        text: &file.text,
        severity: problem.severity,
        code: problem.code,
        place: problem.place,
        message: &problem.message,
        help: problem.help.as_deref(),
        label: problem.label.as_ref(),
    };
    drawing.render(stream)
}

/// A problem and the text that it is drawn in.
struct Drawing<'d> {
    path: &'d Path,
    text: &'d str,
    severity: Severity,
    code: &'static str,
    place: Place,
    message: &'d str,
    help: Option<&'d str>,
    /// Another place in the text that explains the first.
    label: Option<&'d Label>,
}

impl Drawing<'_> {
    fn render(&self, stream: Stream) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let path = self.path.display().to_string();
        let mut snippet = Snippet::source(self.text)
            .path(clean(&path).into_owned())
            .annotation(AnnotationKind::Primary.span(span(self.text, self.place)));
        if let Some(label) = self.label {
            let span = span(self.text, label.place);
            snippet =
                snippet.annotation(AnnotationKind::Context.span(span).label(clean(&label.text).into_owned()));
        }
        let title = level.primary_title(clean(self.message).into_owned()).id(self.code);
        let mut group: Group<'_> = title.element(snippet);
        if let Some(help) = self.help {
            group = group.element(Level::HELP.message(clean(help).into_owned()));
        }
        renderer(stream).render(&[group])
    }
}

fn renderer(stream: Stream) -> Renderer {
    let renderer = match stream.palette {
        Palette::Plain => Renderer::plain(),
        Palette::Colored => Renderer::styled(),
    };
    renderer.term_width(stream.width.unwrap_or(WIDTH_DEFAULT))
}

/// The bytes that a place means: at least one character of its line, or the line's end.
fn span(text: &str, place: Place) -> Range<usize> {
    let line_index = (place.line as usize).saturating_sub(1);
    let line_start: usize = text.split_inclusive('\n').take(line_index).map(str::len).sum();
    let line = text.get(line_start..).unwrap_or_default().split('\n').next().unwrap_or_default();
    let at = |column: usize| line.char_indices().nth(column).map_or(line.len(), |(offset, _)| offset);
    let column = (place.column as usize).saturating_sub(1);
    let (start, end) = (at(column), at(column + (place.width as usize).max(1)));
    line_start + start..line_start + end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_counted_in_characters_and_stays_in_its_line() {
        let text = "title: Grüße\nid: x\n";
        let at = |line, column, width| &text[span(text, Place { line, column, width })];
        assert_eq!(at(1, 8, 5), "Grüße");
        assert_eq!(at(1, 12, 50), "e");
        assert_eq!(at(2, 1, 2), "id");
        assert_eq!(at(2, 40, 2), "");
        assert_eq!(at(9, 9, 9), "");
        assert_eq!(at(0, 0, 0), "t");
    }
}
