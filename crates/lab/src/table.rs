//! The comparison as a table for a terminal. Too narrow a terminal parts the table in blocks; it never loses a figure.

use std::env;
use std::io::{IsTerminal, stdout};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::comparison::{Comparison, Hold};
use crate::grid::{self, Cell, Column, Tone};
use crate::sentence::{counted, printable};

const GAP: &str = "  ";
/// A name takes at most this many columns, so that one long name cannot push every figure out of sight.
const LONGEST_NAME: usize = 20;

/// What the table is drawn on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Columns.
    pub width: usize,
    /// Whether escape sequences for weight and colour are written.
    pub colour: bool,
}

impl Terminal {
    /// Standard output: its width, and colour only on a terminal where `NO_COLOR` is unset or empty.
    #[must_use]
    pub fn stdout() -> Self {
        let wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let terminal = stdout().is_terminal();
        let width = if terminal { terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)) } else { None };
        Self { width: width.unwrap_or(120), colour: terminal && wanted }
    }
}

/// The comparison as lines of text, each ended by a newline.
#[must_use]
pub fn table(comparison: &Comparison, terminal: Terminal) -> String {
    let paint = Paint(terminal.colour);
    let names: Vec<String> = comparison.mechanisms.iter().map(|outcome| fitted(&outcome.name)).collect();
    let name_width = names.iter().map(|name| name.width()).max().unwrap_or(0).max("mechanism".len());
    let columns: Vec<Drawn> = grid::columns(comparison).into_iter().map(Drawn::new).collect();
    let mut text = String::new();
    for (index, block) in blocks(&columns, name_width, terminal.width).into_iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        header(&mut text, block, name_width, paint);
        for (row, name) in names.iter().enumerate() {
            let mut line = pad_right(name, name_width);
            for column in block {
                line += GAP;
                line += &column.cell(row, paint);
            }
            push_line(&mut text, &line);
        }
    }
    footer(&mut text, comparison, terminal.width, paint);
    text
}

/// A column with the widths its cells need.
struct Drawn {
    column: Column,
    spread: usize,
    width: usize,
}

impl Drawn {
    fn new(column: Column) -> Self {
        let widest = |text: fn(&Cell) -> usize| column.cells.iter().map(text).max().unwrap_or(0);
        let value = widest(|cell| cell.value.width());
        let spread = widest(|cell| cell.spread.as_ref().map_or(0, |spread| spread.width() + " ±".width()));
        let width = (value + spread).max(column.head.width()).max(first_word(column.group).width());
        Self { column, spread, width }
    }

    fn cell(&self, row: usize, paint: Paint) -> String {
        let cell = &self.column.cells[row];
        let value = pad_left(&cell.value, self.width - self.spread);
        let value = match cell.tone {
            Tone::Plain => value,
            Tone::Best => paint.bold(&value),
            Tone::Failed => paint.red(&value),
        };
        let spread = cell.spread.as_ref().map_or_else(String::new, |spread| format!(" ±{}", pad_left(spread, self.spread - 2)));
        value + &paint.dim(&pad_right(&spread, self.spread))
    }
}

/// Parts the columns so that each block, the names repeated, fits the width; a block has at least one column.
///
/// Columns of one group stay together unless the group alone is too wide.
fn blocks(columns: &[Drawn], name_width: usize, width: usize) -> Vec<&[Drawn]> {
    let mut blocks = Vec::new();
    let mut start = 0;
    while start < columns.len() {
        let mut end = fitting(&columns[start..], width.saturating_sub(name_width)) + start;
        if end < columns.len() {
            let group = columns[end].column.group;
            let alone = columns[start..end].iter().rev().take_while(|column| column.column.group == group).count();
            if alone < end - start && !group.is_empty() {
                end -= alone;
            }
        }
        blocks.push(&columns[start..end]);
        start = end;
    }
    blocks
}

/// How many of the columns fit; at least one.
fn fitting(columns: &[Drawn], width: usize) -> usize {
    let ends = columns.iter().scan(0, |end, column| {
        *end += GAP.len() + column.width;
        Some(*end)
    });
    ends.take_while(|end| *end <= width).count().max(1)
}

/// Two lines: the groups, each over all its columns, and the columns' own heads.
fn header(text: &mut String, block: &[Drawn], name_width: usize, paint: Paint) {
    let mut groups = " ".repeat(name_width);
    for run in block.chunk_by(|a, b| a.column.group == b.column.group && !a.column.group.is_empty()) {
        let width = run.iter().map(|column| column.width).sum::<usize>() + GAP.len() * (run.len() - 1);
        groups += GAP;
        groups += &over(run[0].column.group, width, run.len() > 1);
    }
    let mut heads = pad_right("mechanism", name_width);
    for column in block {
        heads += GAP;
        heads += &pad_left(&column.column.head, column.width);
    }
    push_line(text, &paint.dim(groups.trim_end()));
    push_line(text, &paint.dim(&heads));
}

/// A group's name over its columns: between rules when it spans several, its first word when it is too long.
fn over(group: &str, width: usize, several: bool) -> String {
    let group = if group.width() > width { first_word(group) } else { group };
    let rest = width.saturating_sub(group.width());
    if !several || rest < 4 {
        return pad_left(group, width);
    }
    let left = (rest - 2) / 2;
    format!("{} {group} {}", "─".repeat(left), "─".repeat(rest - 2 - left))
}

fn first_word(group: &str) -> &str {
    group.split(' ').next().unwrap_or(group)
}

fn footer(text: &mut String, comparison: &Comparison, width: usize, paint: Paint) {
    for outcome in &comparison.mechanisms {
        if let Some(failure) = &outcome.failure {
            push_line(text, &paint.red(&format!("{} failed: {}", fitted(&outcome.name), printable(failure))));
        }
    }
    let held = match comparison.held {
        Hold::Params => "parameters held equal",
        Hold::State => "state bytes at 1k tokens held equal",
        Hold::None => "sizes not held equal",
    };
    let machine = &comparison.machine;
    let seeds = comparison.seeds();
    let interval = if seeds > 1 { format!("± 95% over {}", counted(seeds, "seed")) } else { counted(seeds, "seed") };
    let threads = counted(machine.threads, "thread");
    let trained = format!("trained in {}", comparison.precision.name());
    let source = format!("text {}", printable(&comparison.text));
    let parts = [interval, held.to_owned(), source, trained, threads, printable(&machine.isa)];
    let mut line = String::new();
    for part in parts {
        if !line.is_empty() && line.width() + " · ".width() + part.width() > width {
            push_line(text, &paint.dim(&line));
            line.clear();
        }
        if !line.is_empty() {
            line += " · ";
        }
        line += &part;
    }
    push_line(text, &paint.dim(&line));
}

/// Escape sequences, or none.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 && !text.trim().is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn red(self, text: &str) -> String {
        self.with("31", text)
    }
}

fn fitted(name: &str) -> String {
    let name = printable(name);
    if name.width() <= LONGEST_NAME {
        return name;
    }
    let (mut kept, mut width) = (String::new(), 1);
    for letter in name.chars() {
        width += letter.width().unwrap_or(0);
        if width > LONGEST_NAME {
            break;
        }
        kept.push(letter);
    }
    kept + "…"
}

fn pad_left(text: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(text.width())) + text
}

fn pad_right(text: &str, width: usize) -> String {
    text.to_owned() + &" ".repeat(width.saturating_sub(text.width()))
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}
