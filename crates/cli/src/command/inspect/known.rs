//! The table of published models.

use super::pretty;
use super::table::{columns, memory, wrapped};
use crate::arguments::Inspect;
use crate::failure::Done;
use crate::output::print;
use attendant_lab::number::{compact, context, whole};
use attendant_model::inspect::known::{Row, Year, known, years};
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write as _;

pub(super) fn run(options: &Inspect, width: usize) -> Done {
    let rows = known().iter().map(|known| known.row()).collect::<Result<Vec<_>, _>>()?;
    let years = years(&rows);
    print(match (options.json, options.markdown) {
        (true, _) => pretty(&json!({"models": rows, "years": years})),
        (_, true) => markdown(&rows, &years),
        _ => prose(&rows, &years, width),
    })
}

const HEADS: [&str; 5] = ["date", "model", "bytes/token", "at 32k", "layers"];

fn prose(rows: &[Row], years: &[Year], width: usize) -> String {
    let cells = |row: &Row| {
        let per_token = memory(2.0 * row.values_per_token);
        [row.date.clone(), row.name.clone(), per_token, memory(row.bytes_at_32k as f64), row.attention.clone()]
    };
    let rows: Vec<[String; 5]> = [HEADS.map(str::to_owned)].into_iter().chain(rows.iter().map(cells)).collect();
    let widest = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [date, name, per_token, at] = [widest(0), widest(1), widest(2), widest(3)];
    let mut out = String::from("cache in bf16, one sequence\n");
    for row in &rows {
        let first = format!("{:date$}  {:name$}  {:>per_token$}  {:>at$}  ", row[0], row[1], row[2], row[3]);
        out += &wrapped(&first, &row[4], width);
    }
    out + "\nwhat models keep, by year\n" + &columns(&by_year(years), 1)
}

/// One line a year: models, the kinds of rows, windows, states.
fn by_year(years: &[Year]) -> Vec<Vec<String>> {
    let kinds: BTreeSet<&String> = years.iter().flat_map(|year| year.keeps.keys()).collect();
    let mut rows = vec![vec!["year".to_owned(), "models".into()]];
    rows[0].extend(kinds.iter().map(|kind| kind.to_string()));
    rows[0].extend(["windows".into(), "states".into()]);
    for year in years {
        let number = |count: usize| if count == 0 { "-".into() } else { count.to_string() };
        let mut row = vec![year.year.clone(), number(year.models)];
        row.extend(kinds.iter().map(|kind| number(year.keeps.get(*kind).copied().unwrap_or(0))));
        row.extend([number(year.windows), number(year.states)]);
        rows.push(row);
    }
    rows
}

fn markdown(rows: &[Row], years: &[Year]) -> String {
    let mut out = "| date | model | by | parameters | made for | layers | values a token | bf16 at 32k | runs here | source |\n\
                   | --- | --- | --- | ---: | ---: | --- | ---: | ---: | --- | --- |\n"
        .to_owned();
    for row in rows {
        let parameters = row.parameters.clone().or(row.counted.map(|count| compact(count as f64))).unwrap_or_default();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {parameters} | {} | {} | {} | {} | {} | {} |",
            row.date,
            row.name,
            row.by,
            context(row.context),
            row.attention,
            whole(row.values_per_token),
            memory(row.bytes_at_32k as f64),
            if row.supported { "yes" } else { "no" },
            row.source
        );
    }
    let years = by_year(years);
    let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
    let rule = format!("| ---{} |\n", " | ---:".repeat(years.first().map_or(0, |head| head.len() - 1)));
    out.push('\n');
    for (i, row) in years.iter().enumerate() {
        out += &line(row);
        if i == 0 {
            out += &rule;
        }
    }
    out
}
