//! The comparison as one page that needs nothing beside itself: no network, no font, no script to be readable.
//!
//! Drawings are made here, as text. The page's script only adds what a reader may do without: values under the
//! pointer, hiding a mechanism, saving the data.

mod axis;
mod bars;
mod curves;
mod decode;
mod escape;
mod frame;
mod label;
mod prose;
mod published;
mod quality;
mod series;
mod svg;

use std::fmt::Write as _;

use self::escape::{markup, script_json};
use self::series::Series;
use crate::comparison::{Comparison, Outcome};
use crate::grid::{self, Cell, Column, Tone};
use crate::number;
use crate::sentence::{counted, headline, sentence};

const STYLE: &str = include_str!("report/style.css");
const SCRIPT: &str = include_str!("report/script.js");
/// The page may run and show what it holds and fetch nothing: a hostile name could not phone home even if it broke out.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      img-src data:; base-uri 'none'; form-action 'none'";

/// The report as html, the comparison embedded in it.
///
/// # Errors
/// When the configuration holds something that json cannot say.
pub fn html(comparison: &Comparison) -> serde_json::Result<String> {
    let data = script_json(comparison)?;
    let mut page = String::with_capacity(64 * 1024 + data.len());
    let title = markup(&headline(comparison));
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n",
        markup(POLICY)
    );
    masthead(&mut page, comparison);
    page.push_str("<main>\n");
    section(&mut page, "figures", "The figures", &table(comparison));
    section(&mut page, "charts", "The pictures", &charts(comparison));
    section(&mut page, "mechanisms", "Mechanism by mechanism", &mechanisms(comparison));
    section(&mut page, "method", "How it was measured", &method(comparison)?);
    section(&mut page, "cautions", "What not to conclude", &prose::cautions(comparison));
    if let Some(published) = published::section(comparison) {
        section(&mut page, "published", "What others published", &published);
    }
    let _ = write!(
        page,
        "</main>\n<script type=\"application/json\" id=\"comparison\">{data}</script>\n\
         <script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    );
    Ok(page)
}

fn section(page: &mut String, id: &str, heading: &str, content: &str) {
    let _ = write!(
        page,
        "<section id=\"{id}\" aria-labelledby=\"{id}-heading\">\n<h2 id=\"{id}-heading\">{heading}</h2>\n{content}</section>\n"
    );
}

fn masthead(page: &mut String, comparison: &Comparison) {
    let count = counted(comparison.mechanisms.len(), "mechanism");
    let seeds = counted(comparison.seeds(), "seed");
    let _ = write!(
        page,
        "<header>\n<p class=\"kicker\">attendant comparison</p>\n<h1>{}</h1>\n\
         <p class=\"facts\"><span>{count}</span> <span>{seeds}</span> <span>held equal: {}</span> \
         <span>text “{}”</span> <span>{}</span></p>\n</header>\n",
        markup(&headline(comparison)),
        markup(&prose::held(comparison)),
        markup(&comparison.text),
        markup(&comparison.created)
    );
}

fn table(comparison: &Comparison) -> String {
    let columns = grid::columns(comparison);
    let mut table =
        "<div class=\"scroll\" role=\"region\" aria-labelledby=\"figures-heading\" tabindex=\"0\">\n<table class=\"figures\">\n"
            .to_owned();
    let notes = if comparison.seeds() > 1 { "± is half the 95% interval. " } else { "" };
    let _ = writeln!(
        table,
        "<caption><span>{notes}Bold: the best of a column, and what is not shown to be worse than it. Every figure is one of the \
         embedded json.</span></caption>"
    );
    table_head(&mut table, &columns);
    table.push_str("<tbody>\n");
    for (row, outcome) in comparison.mechanisms.iter().enumerate() {
        let _ = write!(table, "<tr><th scope=\"row\">{}</th>", tagged(row, &outcome.name));
        for column in &columns {
            table.push_str(&cell(&column.cells[row]));
        }
        table.push_str("</tr>\n");
    }
    table.push_str("</tbody>\n</table>\n</div>\n");
    table
}

fn table_head(table: &mut String, columns: &[Column]) {
    table.push_str("<thead>\n<tr><th scope=\"col\" rowspan=\"2\">mechanism</th>");
    for run in columns.chunk_by(|a, b| a.group == b.group && !a.group.is_empty()) {
        let _ = match (run[0].group, run.len()) {
            ("", _) => write!(table, "<td></td>"),
            (group, 1) => write!(table, "<th scope=\"col\">{group}</th>"),
            (group, several) => write!(table, "<th scope=\"colgroup\" colspan=\"{several}\" class=\"several\">{group}</th>"),
        };
    }
    table.push_str("</tr>\n<tr>");
    for column in columns {
        let _ = write!(table, "<th scope=\"col\">{}</th>", markup(&column.head));
    }
    table.push_str("</tr>\n</thead>\n");
}

fn cell(cell: &Cell) -> String {
    let class = match cell.tone {
        Tone::Plain => "",
        Tone::Best => " class=\"best\"",
        Tone::Failed => " class=\"failed\"",
    };
    let from = if cell.pointer.is_empty() { String::new() } else { format!(" data-json=\"{}\"", markup(&cell.pointer)) };
    let spread = cell.spread.as_ref().map_or_else(String::new, |spread| format!(" <span class=\"spread\">±{spread}</span>"));
    format!("<td{class}><span{from}>{}</span>{spread}</td>", markup(&cell.value))
}

/// A mechanism's name behind the line and marker it has in every chart.
fn tagged(index: usize, name: &str) -> String {
    let series = Series(index);
    format!(
        "<span class=\"tag {}\"><svg class=\"key\" viewBox=\"0 0 34 14\" aria-hidden=\"true\">\
         <path class=\"curve\" stroke-dasharray=\"{}\" \
         d=\"M1,7H33\"/><path class=\"marker\" d=\"{}\"/></svg><span class=\"label\">{}</span></span>",
        series.class(),
        series.dash(),
        series.marker((17.0, 7.0)),
        markup(name)
    )
}

fn charts(comparison: &Comparison) -> String {
    let key: String = comparison
        .mechanisms
        .iter()
        .enumerate()
        .map(|(index, outcome)| format!("<li data-toggle=\"{index}\">{}</li>\n", tagged(index, &outcome.name)))
        .collect();
    let several = comparison.seeds() > 1;
    let band = if several { "Line: mean over seeds. Band: least to greatest seed." } else { "One seed." };
    let quality =
        if several { "Lower left is better. Bars: 95% intervals." } else { "Lower left is better. One seed, so no intervals." };
    let recall = if several { "Bars: mean, with its 95% interval. Dots: seeds." } else { "One seed, so no intervals." };
    let charts = [
        ("Loss while training", curves::whole(comparison), band),
        ("The last half, enlarged", curves::enlarged(comparison), band),
        ("Quality against cache", quality::chart(comparison), quality),
        ("What one more token costs", bars::cache(comparison), "Bytes added to the cache of all layers together."),
        ("Decode speed", decode::chart(comparison), "Higher is better. Bars: slowest to fastest repetition."),
        ("Recall", bars::recall(comparison), recall),
    ];
    let mut content = format!("<ul class=\"keys\" aria-label=\"Mechanisms\">\n{key}</ul>\n<div class=\"charts\">\n");
    for (heading, drawing, caption) in charts {
        if let Some(drawing) = drawing {
            let _ = writeln!(content, "<figure>\n<h3>{heading}</h3>\n{drawing}\n<figcaption>{caption}</figcaption>\n</figure>");
        }
    }
    content.push_str("</div>\n");
    content
}

fn mechanisms(comparison: &Comparison) -> String {
    let mut list = "<div class=\"mechanisms\">\n".to_owned();
    for (index, outcome) in comparison.mechanisms.iter().enumerate() {
        let _ = write!(
            list,
            "<article>\n<h3>{}</h3>\n<p class=\"said\">{}</p>\n<p class=\"card\">{}</p>\n{}</article>\n",
            tagged(index, &outcome.name),
            markup(&sentence(comparison, outcome)),
            markup(&outcome.card),
            particulars(outcome)
        );
    }
    list.push_str("</div>\n");
    list
}

fn particulars(outcome: &Outcome) -> String {
    let losses: Vec<String> = outcome.loss.values.iter().map(|loss| number::nats(*loss)).collect();
    let entries = [
        ("kind", outcome.kind.clone()),
        ("paper", outcome.paper.clone()),
        ("cache", outcome.cache_formula.clone()),
        ("losses by seed", losses.join(", ")),
    ];
    let mut list = "<dl>\n".to_owned();
    for (term, text) in entries.iter().filter(|(_, text)| !text.is_empty()) {
        let _ = writeln!(list, "<div><dt>{term}</dt><dd>{}</dd></div>", markup(text));
    }
    list.push_str("</dl>\n");
    list
}

fn method(comparison: &Comparison) -> serde_json::Result<String> {
    let configuration = serde_json::to_string_pretty(&comparison.configuration)?;
    Ok(format!(
        "{}<details>\n<summary>The whole configuration</summary>\n<pre tabindex=\"0\">{}</pre>\n</details>\n",
        prose::method(comparison),
        markup(&configuration)
    ))
}
