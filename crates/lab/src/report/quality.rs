//! Loss against the cache bytes that one token costs: what a mechanism pays for what it gets.

use super::axis::{Axis, decimals};
use super::frame::{Frame, LINE, short, text_width};
use super::label::{self, Area};
use super::series::Series;
use super::svg::{Anchor, Svg};
use crate::comparison::{Comparison, Outcome};
use crate::number;

const HEIGHT: f64 = 330.0;
/// Width of the strip left of the logarithmic axis that holds mechanisms whose cache does not grow.
const STRIP: f64 = 44.0;

struct Mark<'a> {
    index: usize,
    outcome: &'a Outcome,
    at: (f64, f64),
    /// Pixels of the interval's upper and lower end.
    interval: Option<(f64, f64)>,
}

/// The chart, when some mechanism has both a loss and a cache that was counted.
pub(super) fn chart(comparison: &Comparison) -> Option<String> {
    let shown: Vec<(usize, &Outcome)> =
        comparison.mechanisms.iter().enumerate().filter(|(_, outcome)| is_shown(outcome)).collect();
    let constant = shown.iter().any(|(_, outcome)| outcome.cache_bytes_per_token == 0.0);
    let frame = Frame::new(HEIGHT, 14.0);
    let across = if constant { (frame.left + STRIP, frame.right) } else { frame.across() };
    let x = Axis::log(shown.iter().map(|(_, outcome)| outcome.cache_bytes_per_token), across);
    let losses = shown.iter().flat_map(|(_, outcome)| [Some(outcome.loss.mean), outcome.loss.low, outcome.loss.high]).flatten();
    let y = Axis::linear(losses, frame.upwards())?;

    let mut svg = Svg::new("quality", HEIGHT, "Validation loss against cache bytes per token", &description(&shown));
    let ticks = y.ticks(6);
    let places = decimals(&ticks);
    let ticks: Vec<(f64, String)> = ticks.into_iter().map(|tick| (tick, format!("{tick:.places$}"))).collect();
    frame.vertical(&mut svg, &y, &ticks, "nats per token");
    horizontal(&mut svg, &frame, x.as_ref(), constant);

    let strip = frame.left + STRIP / 2.0;
    let marks: Vec<Mark<'_>> = shown
        .iter()
        .map(|&(index, outcome)| {
            let bytes = outcome.cache_bytes_per_token;
            let across = x.as_ref().filter(|_| bytes > 0.0).map_or(strip, |axis| axis.at(bytes));
            let interval = outcome.loss.interval().map(|(low, high)| (y.at(high), y.at(low)));
            Mark { index, outcome, at: (across, y.at(outcome.loss.mean)), interval }
        })
        .collect();
    draw_marks(&mut svg, &marks);
    draw_names(&mut svg, &marks, &frame);
    Some(svg.finish())
}

fn is_shown(outcome: &Outcome) -> bool {
    outcome.failure.is_none() && outcome.loss.mean.is_finite() && outcome.cache_bytes_per_token.is_finite()
}

fn horizontal(svg: &mut Svg, frame: &Frame, x: Option<&Axis>, constant: bool) {
    let ticks = x.map(|axis| axis.binary_ticks(6)).unwrap_or_default();
    let ticks: Vec<(f64, String)> = ticks.into_iter().map(|tick| (tick, binary_bytes(tick))).collect();
    let title = "cache bytes per token, all layers, logarithmic";
    match x {
        Some(axis) => frame.horizontal(svg, axis, &ticks, title),
        None => frame.horizontal(svg, &Axis::exactly((0.0, 1.0), frame.across()), &[], title),
    }
    if constant {
        let edge = frame.left + STRIP;
        svg.line((edge, frame.top), (edge, frame.bottom), "strip");
        svg.text((frame.left + STRIP / 2.0, frame.bottom + 18.0), Anchor::Middle, "tick", "0");
    }
}

fn draw_marks(svg: &mut Svg, marks: &[Mark<'_>]) {
    for mark in marks {
        let series = Series(mark.index);
        svg.series(mark.index, &series.class(), |svg| {
            if let Some((top, bottom)) = mark.interval {
                svg.upright_interval(mark.at.0, top, bottom);
            }
            svg.path(&series.marker(mark.at), "marker");
            svg.value(mark.at, &hint(mark.outcome));
        });
    }
}

fn draw_names(svg: &mut Svg, marks: &[Mark<'_>], frame: &Frame) {
    let mut obstacles: Vec<Area> = marks.iter().map(|mark| Area::around(mark.at, 6.0, 6.0)).collect();
    obstacles.extend(marks.iter().filter_map(|mark| {
        let (top, bottom) = mark.interval?;
        Some(Area { left: mark.at.0 - 5.0, top, right: mark.at.0 + 5.0, bottom })
    }));
    let points: Vec<(f64, f64)> = marks.iter().map(|mark| mark.at).collect();
    let names: Vec<String> = marks.iter().map(|mark| short(&mark.outcome.name)).collect();
    let sizes: Vec<(f64, f64)> = names.iter().map(|name| (text_width(name), LINE)).collect();
    let bounds = Area { left: frame.left, top: frame.top - 8.0, right: frame.right + 12.0, bottom: frame.bottom - 2.0 };
    for ((mark, name), area) in marks.iter().zip(&names).zip(label::place(&points, &sizes, &obstacles, bounds)) {
        svg.series(mark.index, &Series(mark.index).class(), |svg| {
            let (x, y) = mark.at;
            let nearest = (x.clamp(area.left, area.right), y.clamp(area.top, area.bottom));
            if (nearest.0 - x).hypot(nearest.1 - y) > 16.0 {
                svg.line(mark.at, nearest, "leader");
            }
            let middle = f64::midpoint(area.left, area.right);
            svg.text((middle, area.bottom - 4.0), Anchor::Middle, "name", name);
        });
    }
}

/// Powers of two as people write them: `512`, `2 Ki`.
fn binary_bytes(bytes: f64) -> String {
    match bytes {
        size if size >= 1_048_576.0 => format!("{} Mi", size / 1_048_576.0),
        size if size >= 1024.0 => format!("{} Ki", size / 1024.0),
        size => format!("{size}"),
    }
}

fn hint(outcome: &Outcome) -> String {
    let interval = outcome.loss.half_width().map_or_else(String::new, |half| format!(" ± {}", number::nats(half)));
    let (loss, bytes) = (number::nats(outcome.loss.mean), number::bytes(outcome.cache_bytes_per_token));
    format!("{}: {loss}{interval} nats per token, {bytes} bytes per token", outcome.name)
}

fn description(shown: &[(usize, &Outcome)]) -> String {
    let points: Vec<String> = shown.iter().map(|(_, outcome)| hint(outcome)).collect();
    format!("Points with 95 percent intervals: {}.", points.join("; "))
}
