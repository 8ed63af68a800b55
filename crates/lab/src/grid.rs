//! The table of a comparison before it is drawn: which figures stand in which column, and where in the json each comes from.

use crate::comparison::{Comparison, DecodePoint, Measured, Outcome};
use crate::number;

/// A column: two lines of heading and one cell for each mechanism.
pub(crate) struct Column {
    /// Upper heading; neighbours with the same one share it.
    pub(crate) group: &'static str,
    pub(crate) head: String,
    pub(crate) cells: Vec<Cell>,
}

/// A figure as text, with the json pointer of the number it shows.
pub(crate) struct Cell {
    pub(crate) value: String,
    /// Half the width of the 95 % interval.
    pub(crate) spread: Option<String>,
    pub(crate) pointer: String,
    pub(crate) tone: Tone,
}

/// How a cell is set off from the others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    /// The best of its column, or not shown to be worse than the best.
    Best,
    Failed,
}

impl Cell {
    fn plain(value: String, pointer: String) -> Self {
        Self { value, spread: None, pointer, tone: Tone::Plain }
    }

    fn missing() -> Self {
        Self::plain(number::MISSING.to_owned(), String::new())
    }
}

/// Every column but that of the names, in reading order.
pub(crate) fn columns(comparison: &Comparison) -> Vec<Column> {
    let mut columns = vec![
        column(comparison, "", "parameters", |outcome, at| {
            Cell::plain(number::compact(outcome.parameters as f64), at("parameters"))
        }),
        loss(comparison),
        recall(comparison),
        cache(comparison),
        column(comparison, "fixed", "B", |outcome, at| match outcome.constant_bytes {
            0 => Cell::missing(),
            bytes => Cell::plain(number::whole(bytes as f64), at("constant_bytes")),
        }),
    ];
    columns.extend(comparison.contexts().into_iter().map(|context| decode(comparison, context)));
    columns.push(column(comparison, "training", "tokens/s", |outcome, at| {
        Cell::plain(number::rate(outcome.training_tokens_per_second), at("training_tokens_per_second"))
    }));
    columns.push(column(comparison, "CPU", "s", |outcome, at| Cell::plain(number::rate(outcome.cpu_seconds), at("cpu_seconds"))));
    columns.retain(|column| column.cells.iter().any(|cell| cell.value != number::MISSING));
    columns
}

fn column(
    comparison: &Comparison,
    group: &'static str,
    head: impl Into<String>,
    cell: impl Fn(&Outcome, &dyn Fn(&str) -> String) -> Cell,
) -> Column {
    let cells = comparison.mechanisms.iter().enumerate();
    let cells = cells.map(|(index, outcome)| {
        let mut cell = cell(outcome, &|field| format!("/mechanisms/{index}/{field}"));
        if outcome.failure.is_some() && cell.tone == Tone::Best {
            cell.tone = Tone::Plain;
        }
        cell
    });
    let cells = cells.collect();
    Column { group, head: head.into(), cells }
}

fn loss(comparison: &Comparison) -> Column {
    let best = least(comparison, |outcome| outcome.loss.mean);
    column(comparison, "validation loss", "nats/token", |outcome, at| {
        if outcome.failure.is_some() {
            return Cell { value: "failed".to_owned(), spread: None, pointer: String::new(), tone: Tone::Failed };
        }
        let level = best.is_some_and(|best| level_with(&outcome.loss, &best.loss));
        measured(&outcome.loss, number::nats, at("loss/mean"), level)
    })
}

fn recall(comparison: &Comparison) -> Column {
    let best = least(comparison, |outcome| outcome.recall.as_ref().map_or(f64::NAN, |recall| -recall.mean));
    let best = best.and_then(|best| best.recall.as_ref());
    column(comparison, "recall", "%", |outcome, at| match &outcome.recall {
        Some(recall) => {
            let level = best.is_some_and(|best| level_with(recall, best));
            measured(recall, number::percent, at("recall/mean"), level)
        }
        None => Cell::missing(),
    })
}

fn cache(comparison: &Comparison) -> Column {
    let best = least(comparison, |outcome| outcome.cache_bytes_per_token);
    column(comparison, "cache", "B/token", |outcome, at| {
        let bytes = outcome.cache_bytes_per_token;
        let tone = tone(best.is_some_and(|best| bytes <= best.cache_bytes_per_token));
        Cell { tone, ..Cell::plain(number::bytes(bytes), at("cache_bytes_per_token")) }
    })
}

fn decode(comparison: &Comparison, context: usize) -> Column {
    let best = least(comparison, |outcome| outcome.decode_at(context).map_or(f64::NAN, |point| -point.tokens_per_second));
    let best = best.and_then(|best| best.decode_at(context));
    column(comparison, "decode tokens/s", number::context(context), |outcome, at| {
        let Some(index) = outcome.decode.iter().position(|point| point.context == context) else {
            return Cell::missing();
        };
        let point = &outcome.decode[index];
        let pointer = at(&format!("decode/{index}/tokens_per_second"));
        let tone = tone(best.is_some_and(|best| keeps_up(point, best)));
        Cell { tone, ..Cell::plain(number::rate(point.tokens_per_second), pointer) }
    })
}

fn measured(measured: &Measured, show: fn(f64) -> String, pointer: String, best: bool) -> Cell {
    Cell { value: show(measured.mean), spread: measured.half_width().map(show), pointer, tone: tone(best) }
}

fn tone(best: bool) -> Tone {
    if best { Tone::Best } else { Tone::Plain }
}

/// The sound outcome with the least key, when there are at least two to choose from.
fn least(comparison: &Comparison, key: impl Fn(&Outcome) -> f64) -> Option<&Outcome> {
    let sound = || comparison.mechanisms.iter().filter(|outcome| outcome.failure.is_none() && key(outcome).is_finite());
    sound().nth(1)?;
    sound().min_by(|a, b| key(a).total_cmp(&key(b)))
}

/// Not shown to differ from the best. Without intervals nothing is shown, and nothing is set off.
fn level_with(measured: &Measured, best: &Measured) -> bool {
    measured.differs_from(best) == Some(false)
}

fn keeps_up(point: &DecodePoint, best: &DecodePoint) -> bool {
    point.max >= best.min || point.tokens_per_second >= best.tokens_per_second
}
