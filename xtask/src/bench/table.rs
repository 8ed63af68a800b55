//! Figures side by side.

use super::line::Line;
use serde::Deserialize;
use std::fmt;

/// Figures of several programs; the first one's rows are the table's.
pub(super) struct Table {
    programs: Vec<String>,
    /// Each with the column that it belongs to.
    lines: Vec<(usize, Line)>,
    aims: Vec<Aim>,
}

/// What a row is to reach.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Aim {
    /// The words of the row, with its variant after a comma.
    row: String,
    /// How many times as fast as the best of the others.
    times: Option<f64>,
    /// The share of what the machine allows.
    share: Option<f64>,
}

/// Median and disturbance of a program's lines for one row.
struct Cell {
    ms: f64,
    /// The least of all rounds.
    least: Option<f64>,
    rate: Option<f64>,
    share: Option<f64>,
}

impl Table {
    pub(super) fn new(programs: impl Iterator<Item = String>, aims: Vec<Aim>) -> Table {
        Table { programs: programs.collect(), lines: Vec::new(), aims }
    }

    pub(super) fn add(&mut self, column: usize, line: Line) {
        self.lines.push((column, line));
    }

    /// A program's lines that `wanted` picks, as one.
    fn cell(&self, column: usize, wanted: impl Fn(&Line) -> bool) -> Option<Cell> {
        let picked: Vec<&Line> =
            self.lines.iter().filter(|(at, line)| *at == column && wanted(line)).map(|(_, line)| line).collect();
        Some(Cell {
            ms: median(picked.iter().map(|line| line.ms))?,
            least: picked.iter().filter_map(|line| line.least).min_by(f64::total_cmp),
            rate: median(picked.iter().filter_map(|line| line.rate)),
            share: median(picked.iter().filter_map(|line| line.share)),
        })
    }

    /// The figure of another program for our row: of the same variant if it has that, else its fastest way.
    fn other(&self, column: usize, row: &Line) -> Option<f64> {
        let same_work = |line: &Line| line.work == row.work;
        if let Some(cell) = self.cell(column, |line| same_work(line) && line.variant == row.variant) {
            return Some(cell.ms);
        }
        let variants = self.lines.iter().filter(|(at, line)| *at == column && same_work(line)).map(|(_, line)| &line.variant);
        let cells = variants.filter_map(|variant| self.cell(column, |line| same_work(line) && line.variant == *variant));
        cells.map(|cell| cell.ms).min_by(f64::total_cmp)
    }

    fn rows(&self) -> Vec<&Line> {
        let mut rows: Vec<&Line> = Vec::new();
        for (column, line) in &self.lines {
            if *column == 0 && !rows.iter().any(|row| (&row.work, &row.variant) == (&line.work, &line.variant)) {
                rows.push(line);
            }
        }
        rows
    }

    /// What other programs called themselves.
    pub(super) fn versions(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(|(_, line)| line.version.as_deref())
    }

    /// Aims that no row is of: a misspelt one would be missed by nobody.
    pub(super) fn strays(&self) -> impl Iterator<Item = &str> {
        let rows: Vec<String> = self.rows().into_iter().map(name).collect();
        self.aims.iter().map(|aim| aim.row.as_str()).filter(move |aim| !rows.iter().any(|row| row == aim))
    }
}

fn name(row: &Line) -> String {
    row.work.clone() + &row.variant.as_ref().map_or(String::new(), |variant| format!(", {variant}"))
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Three digits that count, or all of a larger whole number.
fn digits(value: f64) -> String {
    let places = match value {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{value:.places$}")
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// What stands in a column where there may be nothing.
fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".into())
}

/// Markdown: a row of ours with its median and its least milliseconds, its rate and share, the others' milliseconds, how many times as fast
/// we are as the best of them, and what was aimed at, if anything was.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((ours, others)) = self.programs.split_first() else { return Ok(()) };
        let aimed = !self.aims.is_empty();
        write!(f, "| work | {ours}, ms (least) | rate | share |")?;
        others.iter().try_for_each(|name| write!(f, " {name}, ms |"))?;
        writeln!(f, " times as fast as the best |{}", if aimed { " aim |" } else { "" })?;
        writeln!(
            f,
            "| --- | ---: | ---: | ---: |{} ---: |{}",
            " ---: |".repeat(others.len()),
            if aimed { " ---: |" } else { "" }
        )?;
        for row in self.rows() {
            let same = |line: &Line| (&line.work, &line.variant) == (&row.work, &row.variant);
            let Some(Cell { ms, least, rate, share }) = self.cell(0, same) else { continue };
            let least = least.map_or(String::new(), |least| format!(" ({})", digits(least)));
            let rate = or_dash(rate.map(|rate| format!("{} {}", digits(rate), row.unit)));
            write!(f, "| {} | {}{least} | {rate} | {} |", name(row), digits(ms), or_dash(share.map(percent)))?;
            let figures: Vec<Option<f64>> = (1..self.programs.len()).map(|column| self.other(column, row)).collect();
            figures.iter().try_for_each(|figure| write!(f, " {} |", or_dash(figure.map(digits))))?;
            let best = figures.into_iter().flatten().min_by(f64::total_cmp);
            write!(f, " {} |", or_dash(best.map(|best| format!("{:.2}", best / ms))))?;
            let aim = self.aims.iter().find(|aim| aim.row == name(row)).map(|aim| {
                let parts = [aim.times.map(|times| format!("{times:.2}")), aim.share.map(percent)];
                parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
            });
            writeln!(f, "{}", if aimed { format!(" {} |", or_dash(aim)) } else { String::new() })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(work: &str, variant: Option<&str>, ms: f64) -> Line {
        let share = (ms < 2.0).then_some(0.5);
        Line { work: work.into(), variant: variant.map(str::to_owned), ms, least: Some(ms / 2.0), share, ..Line::default() }
    }

    fn table(aims: Vec<Aim>) -> Table {
        let mut table = Table::new(["ours", "before", "peer"].into_iter().map(str::to_owned), aims);
        for ms in [1.0, 9.0, 1.5] {
            table.add(0, line("decode", Some("warm"), ms));
        }
        table.add(0, line("train", None, 7.0));
        table.add(1, line("decode", Some("warm"), 3.0));
        table.add(1, line("decode", Some("cold"), 1.0));
        table.add(2, line("decode", Some("fold"), 6.0));
        table.add(2, line("decode", Some("naive"), 60.0));
        table.add(2, line("gemm", None, 1.0));
        table
    }

    fn rows(table: &Table) -> Vec<String> {
        table.to_string().lines().skip(2).map(str::to_owned).collect()
    }

    #[test]
    fn medians_stand_side_by_side_with_the_ratio_to_the_best() {
        let table = table(Vec::new());
        let want =
            ["| decode, warm | 1.50 (0.500) | - | 50% | 3.00 | 6.00 | 2.00 |", "| train | 7.00 (3.50) | - | - | - | - | - |"];
        assert_eq!(rows(&table), want);
        assert!(table.to_string().lines().all(|line| line.matches('|').count() == 8), "{table}");
    }

    #[test]
    fn aims_stand_beside_their_rows() {
        let aim = |row: &str| Aim { row: row.into(), times: Some(1.5), share: Some(0.82) };
        let table = table(vec![aim("decode, warm"), aim("decode, hot")]);
        assert!(rows(&table)[0].ends_with("| 2.00 | 1.50, 82% |"), "{table}");
        assert!(rows(&table)[1].ends_with("| - | - |"), "{table}");
        assert_eq!(table.strays().collect::<Vec<_>>(), ["decode, hot"]);
    }
}
