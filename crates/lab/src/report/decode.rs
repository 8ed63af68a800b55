//! Decode speed against the length of the context, both logarithmic.

use super::axis::Axis;
use super::frame::{EndLabel, Frame, label_room};
use super::series::Series;
use super::svg::Svg;
use crate::comparison::{Comparison, DecodePoint, Outcome};
use crate::number;

const HEIGHT: f64 = 330.0;

/// The chart, when some mechanism was timed.
pub(super) fn chart(comparison: &Comparison) -> Option<String> {
    let lines: Vec<Vec<&DecodePoint>> = comparison.mechanisms.iter().map(timed).collect();
    let frame = Frame::new(HEIGHT, label_room(comparison.mechanisms.iter().map(|outcome| outcome.name.as_str())));
    let points = || lines.iter().flatten();
    let x = Axis::log(points().map(|point| point.context as f64), frame.across())?;
    let y = Axis::log(points().flat_map(|point| [point.tokens_per_second, point.min, point.max]), frame.upwards())?;

    let mut svg = Svg::new("decode", HEIGHT, "Decode speed against context length", &description(comparison, &lines));
    let ticks: Vec<(f64, String)> = y.ticks(8).into_iter().map(|tick| (tick, number::whole(tick))).collect();
    frame.vertical(&mut svg, &y, &ticks, "tokens per second, logarithmic");
    let contexts = comparison.contexts().into_iter().filter(|context| *context > 0);
    let ticks: Vec<(f64, String)> = contexts.map(|context| (context as f64, number::context(context))).collect();
    frame.horizontal(&mut svg, &x, &ticks, "tokens in the cache, logarithmic");

    for (index, line) in lines.iter().enumerate() {
        draw_line(&mut svg, index, &comparison.mechanisms[index].name, line, &x, &y);
    }
    let ends = lines.iter().enumerate().filter_map(|(index, line)| {
        let end = line.last()?;
        let at = (x.at(end.context as f64), y.at(end.tokens_per_second));
        Some(EndLabel { index, name: &comparison.mechanisms[index].name, at })
    });
    frame.end_labels(&mut svg, &ends.collect::<Vec<_>>());
    Some(svg.finish())
}

/// The points that a logarithmic chart can show, by context.
fn timed(outcome: &Outcome) -> Vec<&DecodePoint> {
    let shown = |point: &&DecodePoint| point.context > 0 && point.tokens_per_second.is_finite() && point.tokens_per_second > 0.0;
    let mut points: Vec<&DecodePoint> = outcome.decode.iter().filter(shown).collect();
    points.sort_by_key(|point| point.context);
    points
}

fn draw_line(svg: &mut Svg, index: usize, name: &str, line: &[&DecodePoint], x: &Axis, y: &Axis) {
    let series = Series(index);
    let at = |point: &DecodePoint| (x.at(point.context as f64), y.at(point.tokens_per_second));
    svg.series(index, &series.class(), |svg| {
        let points: Vec<(f64, f64)> = line.iter().map(|point| at(point)).collect();
        svg.polyline(&points, series.dash());
        for point in line {
            if point.min > 0.0 && point.max.is_finite() && point.max > point.min {
                svg.upright_interval(at(point).0, y.at(point.max), y.at(point.min));
            }
            svg.path(&series.marker(at(point)), "marker");
            svg.value(at(point), &hint(name, point));
        }
    });
}

fn hint(name: &str, point: &DecodePoint) -> String {
    let [speed, min, max] = [point.tokens_per_second, point.min, point.max].map(number::rate);
    format!("{name} at {} tokens: {speed} tokens per second ({min} to {max})", number::context(point.context))
}

fn description(comparison: &Comparison, lines: &[Vec<&DecodePoint>]) -> String {
    let lines = comparison.mechanisms.iter().zip(lines).filter(|(_, line)| !line.is_empty()).map(|(outcome, line)| {
        let speeds =
            line.iter().map(|point| format!("{} at {}", number::rate(point.tokens_per_second), number::context(point.context)));
        format!("{}: {}", outcome.name, speeds.collect::<Vec<_>>().join(", "))
    });
    format!("Lines, in tokens per second by tokens of context. {}.", lines.collect::<Vec<_>>().join("; "))
}
