//! Horizontal bars: recall, and the bytes that one token costs.

use super::axis::Axis;
use super::frame::{LINE, label_room, short, text_width};
use super::series::Series;
use super::svg::{Anchor, Svg, WIDTH};
use crate::comparison::{Comparison, Measured, Outcome};
use crate::number;

struct Bar<'a> {
    index: usize,
    name: &'a str,
    value: f64,
    /// Written at the end of the bar.
    text: String,
    /// A second, quieter line below the bar.
    note: Option<String>,
    measured: Option<&'a Measured>,
}

/// What is common to the bars of a chart.
struct Scale<'a> {
    name: &'a str,
    title: &'a str,
    unit: &'a str,
    high: f64,
    ticks: Vec<(f64, String)>,
}

/// Share of pairs recalled, with intervals and each seed's value; nothing when recall was not tested.
pub(super) fn recall(comparison: &Comparison) -> Option<String> {
    let bars: Vec<Bar<'_>> = comparison.mechanisms.iter().enumerate().filter_map(recall_bar).collect();
    let ticks = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| (share, format!("{}%", share * 100.0))).into();
    draw(&bars, &Scale { name: "recalled", title: "Share of pairs recalled", unit: "of the pairs recalled", high: 1.0, ticks })
}

/// Bytes that one more token adds, with the formula; nothing when none was counted.
pub(super) fn cache(comparison: &Comparison) -> Option<String> {
    let bars: Vec<Bar<'_>> = comparison.mechanisms.iter().enumerate().filter_map(cache_bar).collect();
    let high = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    draw(&bars, &Scale { name: "cache", title: "Cache bytes per token", unit: "", high, ticks: Vec::new() })
}

fn recall_bar((index, outcome): (usize, &Outcome)) -> Option<Bar<'_>> {
    let recall = outcome.recall.as_ref().filter(|recall| recall.mean.is_finite())?;
    let text = format!("{}%", number::percent(recall.mean));
    Some(Bar { index, name: &outcome.name, value: recall.mean, text, note: None, measured: Some(recall) })
}

fn cache_bar((index, outcome): (usize, &Outcome)) -> Option<Bar<'_>> {
    let bytes = outcome.cache_bytes_per_token;
    let constant = outcome.constant_bytes;
    let beside = (constant > 0).then(|| format!("{} B whatever the length", number::whole(constant as f64)));
    let formula = Some(outcome.cache_formula.clone()).filter(|formula| !formula.is_empty());
    let note = [formula, beside].into_iter().flatten().collect::<Vec<_>>().join("; ");
    let note = Some(note).filter(|note| !note.is_empty());
    let text = format!("{} B", number::bytes(bytes));
    bytes.is_finite().then_some(Bar { index, name: &outcome.name, value: bytes, text, note, measured: None })
}

fn draw(bars: &[Bar<'_>], scale: &Scale<'_>) -> Option<String> {
    if bars.is_empty() {
        return None;
    }
    let notes = bars.iter().any(|bar| bar.note.is_some());
    let row = if notes { 48.0 } else { 34.0 };
    let left = label_room(bars.iter().map(|bar| bar.name)) + 8.0;
    let values = bars.iter().map(|bar| text_width(&bar.text)).fold(0.0, f64::max);
    let right = WIDTH - values - 14.0;
    let below = if scale.ticks.is_empty() { 4.0 } else { 42.0 };
    let top = 8.0;
    let bottom = top + row * bars.len() as f64;
    let x = Axis::exactly((0.0, if scale.high > 0.0 { scale.high } else { 1.0 }), (left, right));

    let mut svg = Svg::new(scale.name, bottom + below, scale.title, &description(bars));
    for (value, text) in &scale.ticks {
        svg.line((x.at(*value), top), (x.at(*value), bottom), "grid");
        svg.text((x.at(*value), bottom + 16.0), Anchor::Middle, "tick", text);
    }
    svg.line((left, top), (left, bottom), "base");
    if below > LINE {
        svg.text((f64::midpoint(left, right), bottom + 36.0), Anchor::Middle, "axis", scale.unit);
    }
    for (place, bar) in bars.iter().enumerate() {
        draw_bar(&mut svg, bar, &x, top + row * place as f64, (left, right));
    }
    Some(svg.finish())
}

fn draw_bar(svg: &mut Svg, bar: &Bar<'_>, x: &Axis, top: f64, (left, right): (f64, f64)) {
    const THICK: f64 = 18.0;
    let (y, end) = (top + 8.0, x.at(bar.value));
    let middle = y + THICK / 2.0;
    svg.series(bar.index, &Series(bar.index).class(), |svg| {
        svg.path(&Series(bar.index).marker((6.0, middle)), "marker");
        svg.text((left - 8.0, middle + 4.0), Anchor::End, "name", &short(bar.name));
        svg.rectangle((left, y), (end - left, THICK), "bar");
        let mut reached = end;
        if let Some(measured) = bar.measured {
            reached = reached.max(draw_seeds(svg, measured, x, middle, right));
        }
        svg.text((reached + 8.0, middle + 4.0), Anchor::Start, "figure", &bar.text);
        if let Some(note) = &bar.note {
            svg.text((left + 2.0, y + THICK + 14.0), Anchor::Start, "note", &clipped(note, WIDTH - left));
        }
        svg.value((end, middle), &hint(bar));
    });
}

/// The interval and each seed's value across a bar; gives back how far right they reach.
fn draw_seeds(svg: &mut Svg, measured: &Measured, x: &Axis, middle: f64, right: f64) -> f64 {
    let mut reached: f64 = 0.0;
    if let Some((low, high)) = measured.interval() {
        // An interval of Student's t may leave the shares that are possible; the drawing stays within them.
        let (low, high) = (x.at(low.max(0.0)), x.at(high).min(right));
        svg.path(&sideways_interval(low, high, middle), "interval");
        reached = high;
    }
    for value in measured.values.iter().filter(|value| value.is_finite()) {
        svg.path(&dot(x.at(*value), middle), "seed");
        reached = reached.max(x.at(*value) + 2.0);
    }
    reached
}

fn sideways_interval(low: f64, high: f64, y: f64) -> String {
    format!("M{low:.1},{:.1}V{:.1}M{low:.1},{y:.1}H{high:.1}M{high:.1},{:.1}V{:.1}", y - 4.0, y + 4.0, y - 4.0, y + 4.0)
}

fn dot(x: f64, y: f64) -> String {
    format!("M{:.1},{y:.1}a2.2,2.2 0 1 0 4.4,0a2.2,2.2 0 1 0 -4.4,0Z", x - 2.2)
}

/// A note cut to the width it has; it stands in full in the text of the report.
fn clipped(note: &str, width: f64) -> String {
    // Notes are set smaller than names.
    let most = (width / 6.4) as usize;
    if note.chars().count() <= most {
        return note.to_owned();
    }
    note.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

fn hint(bar: &Bar<'_>) -> String {
    let interval =
        bar.measured.and_then(Measured::half_width).map_or_else(String::new, |half| format!(" ± {}", number::percent(half)));
    format!("{}: {}{interval}", bar.name, bar.text)
}

fn description(bars: &[Bar<'_>]) -> String {
    let bars: Vec<String> = bars.iter().map(hint).collect();
    format!("Bars: {}.", bars.join("; "))
}
