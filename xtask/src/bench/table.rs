//! Figures side by side.

use super::line::Line;
use std::fmt;

/// Figures of several programs; the first one's rows are the table's.
pub(super) struct Table {
    programs: Vec<String>,
    /// Each with the column that it belongs to.
    lines: Vec<(usize, Line)>,
}

impl Table {
    pub(super) fn new(programs: impl Iterator<Item = String>) -> Table {
        Table { programs: programs.collect(), lines: Vec::new() }
    }

    pub(super) fn add(&mut self, column: usize, line: Line) {
        self.lines.push((column, line));
    }

    /// Median milliseconds and share of a program's lines that `wanted` picks.
    fn median(&self, column: usize, wanted: impl Fn(&Line) -> bool) -> Option<(f64, Option<f64>)> {
        let picked: Vec<&Line> =
            self.lines.iter().filter(|(at, line)| *at == column && wanted(line)).map(|(_, line)| line).collect();
        let ms = median(picked.iter().map(|line| line.ms).collect())?;
        Some((ms, median(picked.iter().filter_map(|line| line.share).collect())))
    }

    /// The figure of another program for our row: of the same variant if it has that, else its fastest way.
    fn other(&self, column: usize, row: &Line) -> Option<f64> {
        let same_work = |line: &Line| line.work == row.work;
        if let Some((ms, _)) = self.median(column, |line| same_work(line) && line.variant == row.variant) {
            return Some(ms);
        }
        let variants = self.lines.iter().filter(|(at, line)| *at == column && same_work(line)).map(|(_, line)| &line.variant);
        let figures = variants.filter_map(|variant| self.median(column, |line| same_work(line) && line.variant == *variant));
        figures.map(|(ms, _)| ms).min_by(f64::total_cmp)
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
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Markdown: a row of ours, its milliseconds and share, the others' milliseconds, and how many times as fast we are as the best of
/// them.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((ours, others)) = self.programs.split_first() else { return Ok(()) };
        write!(f, "| work | {ours}, ms | share |")?;
        others.iter().try_for_each(|name| write!(f, " {name}, ms |"))?;
        writeln!(f, " times as fast as the best |")?;
        writeln!(f, "| --- | ---: | ---: |{} ---: |", " ---: |".repeat(others.len()))?;
        for row in self.rows() {
            let same = |line: &Line| (&line.work, &line.variant) == (&row.work, &row.variant);
            let Some((ms, share)) = self.median(0, same) else { continue };
            let variant = row.variant.as_ref().map_or(String::new(), |variant| format!(", {variant}"));
            let share = share.map_or("-".into(), |share| format!("{:.0}%", share * 100.0));
            write!(f, "| {}{variant} | {ms:.3} | {share} |", row.work)?;
            let figures: Vec<Option<f64>> = (1..self.programs.len()).map(|column| self.other(column, row)).collect();
            figures.iter().try_for_each(|figure| match figure {
                Some(ms) => write!(f, " {ms:.3} |"),
                None => write!(f, " - |"),
            })?;
            match figures.into_iter().flatten().min_by(f64::total_cmp) {
                Some(best) => writeln!(f, " {:.2} |", best / ms)?,
                None => writeln!(f, " - |")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(work: &str, variant: Option<&str>, ms: f64) -> Line {
        Line { work: work.into(), variant: variant.map(str::to_owned), ms, share: (ms < 2.0).then_some(0.5) }
    }

    #[test]
    fn medians_stand_side_by_side_with_the_ratio_to_the_best() {
        let mut table = Table::new(["ours", "before", "peer"].into_iter().map(str::to_owned));
        for ms in [1.0, 9.0, 1.5] {
            table.add(0, line("decode", Some("warm"), ms));
        }
        table.add(0, line("train", None, 7.0));
        table.add(1, line("decode", Some("warm"), 3.0));
        table.add(1, line("decode", Some("cold"), 1.0));
        table.add(2, line("decode", Some("fold"), 6.0));
        table.add(2, line("decode", Some("naive"), 60.0));
        table.add(2, line("gemm", None, 1.0));
        let text = table.to_string();
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(rows, ["| decode, warm | 1.500 | 50% | 3.000 | 6.000 | 2.00 |", "| train | 7.000 | - | - | - | - |"]);
        assert!(text.lines().all(|line| line.matches('|').count() == 7), "{text}");
    }
}
