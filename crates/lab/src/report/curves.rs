//! Validation loss while training, one line for each mechanism and a band over its seeds.

use std::collections::BTreeMap;

use super::axis::{Axis, decimals};
use super::frame::{EndLabel, Frame, LINE, label_room, short};
use super::series::Series;
use super::svg::{Anchor, Svg};
use crate::comparison::{Comparison, Outcome};
use crate::number;

const HEIGHT: f64 = 330.0;
/// The enlarged chart shows this last share of the training.
const ENLARGED: f64 = 0.5;
/// At most this many places of a line answer to the pointer.
const VALUES: usize = 24;

/// Mean and range over seeds after a number of tokens.
struct Point {
    tokens: f64,
    mean: f64,
    low: f64,
    high: f64,
}

/// The whole training, from the first validation on.
pub(super) fn whole(comparison: &Comparison) -> Option<String> {
    draw(comparison, "curves", "Validation loss while training", 0.0)
}

/// The last half of it, enlarged; nothing when that holds no line.
pub(super) fn enlarged(comparison: &Comparison) -> Option<String> {
    draw(comparison, "ends", "Validation loss in the last half of training", ENLARGED)
}

fn draw(comparison: &Comparison, name: &str, title: &str, from_share: f64) -> Option<String> {
    let all: Vec<Vec<Point>> = comparison.mechanisms.iter().map(over_seeds).collect();
    let last = all.iter().flatten().map(|point| point.tokens).fold(0.0, f64::max);
    let lines: Vec<Vec<Point>> =
        all.into_iter().map(|line| line.into_iter().filter(|point| point.tokens >= from_share * last).collect()).collect();
    if !lines.iter().any(|line| line.len() > 1) {
        return None;
    }
    let frame = Frame::new(HEIGHT, label_room(comparison.mechanisms.iter().map(|outcome| outcome.name.as_str())));
    let x = Axis::exactly((if from_share > 0.0 { from_share * last } else { 0.0 }, last), frame.across());
    let y = Axis::linear(shown_losses(comparison, &lines), frame.upwards())?;

    let mut svg = Svg::new(name, HEIGHT, title, &description(comparison, &lines));
    let ticks = y.ticks(6);
    let places = decimals(&ticks);
    let ticks: Vec<(f64, String)> = ticks.into_iter().map(|tick| (tick, format!("{tick:.places$}"))).collect();
    frame.vertical(&mut svg, &y, &ticks, "nats per token");
    let ticks: Vec<(f64, String)> = x.ticks(4).into_iter().map(|tick| (tick, number::round(tick))).collect();
    frame.horizontal(&mut svg, &x, &ticks, "training tokens");

    let (corner, size) = frame.rectangle();
    svg.clipped(corner, size, |svg| {
        for (index, line) in lines.iter().enumerate() {
            draw_line(svg, index, line, &x, &y);
        }
    });
    for (index, line) in lines.iter().enumerate() {
        let stride = line.len().div_ceil(VALUES).max(1);
        svg.series(index, &Series(index).class(), |svg| {
            // From the end backwards: the last value is the one that counts.
            for point in line.iter().rev().step_by(stride) {
                let at = (x.at(point.tokens), y.at(point.mean));
                if (frame.top..=frame.bottom).contains(&at.1) {
                    svg.value(at, &hint(&comparison.mechanisms[index].name, point));
                }
            }
        });
    }
    let names = comparison.mechanisms.iter().map(|outcome| outcome.name.as_str());
    name_lines(&mut svg, &frame, &lines, &names.collect::<Vec<_>>(), &x, &y);
    Some(svg.finish())
}

/// Names stand at the right end of lines that reach it; one that stops or leaves the frame is named where it was last seen.
fn name_lines(svg: &mut Svg, frame: &Frame, lines: &[Vec<Point>], names: &[&str], x: &Axis, y: &Axis) {
    let mut reaching = Vec::new();
    let mut broken_off = 0.0;
    for (index, line) in lines.iter().enumerate() {
        let at = |point: &Point| (x.at(point.tokens), y.at(point.mean));
        let seen = line.iter().map(at).take_while(|(_, y)| (frame.top..=frame.bottom).contains(y)).last();
        let Some(end) = line.last().map(at) else { continue };
        match seen {
            Some(seen) if seen.0 >= frame.right - 1.0 => reaching.push(EndLabel { index, name: names[index], at: end }),
            seen => {
                let from = seen.unwrap_or((end.0, frame.top));
                let place =
                    (from.0 + 10.0, (frame.top + 12.0).max(if seen == Some(end) { from.1 - 8.0 } else { 0.0 }) + broken_off);
                broken_off += LINE;
                svg.series(index, &Series(index).class(), |svg| {
                    svg.text(place, Anchor::Start, "name", &format!("{} breaks off", short(names[index])));
                });
            }
        }
    }
    frame.end_labels(svg, &reaching);
}

/// The losses the vertical axis must reach: a run that failed may leave the frame, lest it flatten all others.
fn shown_losses<'a>(comparison: &'a Comparison, lines: &'a [Vec<Point>]) -> impl Iterator<Item = f64> {
    let any_sound = comparison.mechanisms.iter().any(|outcome| outcome.failure.is_none());
    let sound = comparison.mechanisms.iter().zip(lines).filter(move |(outcome, _)| outcome.failure.is_none() || !any_sound);
    sound.flat_map(|(_, line)| line.iter().flat_map(|point| [point.low, point.high]))
}

fn draw_line(svg: &mut Svg, index: usize, line: &[Point], x: &Axis, y: &Axis) {
    let series = Series(index);
    let through = |value: fn(&Point) -> f64| -> Vec<(f64, f64)> {
        line.iter().map(|point| (x.at(point.tokens), y.at(value(point)))).collect()
    };
    svg.series(index, &series.class(), |svg| {
        svg.band(&through(|point| point.high), &through(|point| point.low));
        let means = through(|point| point.mean);
        svg.polyline(&means, series.dash());
        if let [only] = means[..] {
            svg.path(&series.marker(only), "marker");
        }
    });
}

/// Mean and range where every seed was validated; without such a place, wherever any was.
///
/// A mean over fewer seeds would jump where a seed drops out, and the jump would look like learning.
fn over_seeds(outcome: &Outcome) -> Vec<Point> {
    let mut losses: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for point in outcome.curves.iter().flat_map(|curve| &curve.points) {
        if let Some(loss) = point.validation.filter(|loss| loss.is_finite()) {
            losses.entry(point.tokens).or_default().push(loss);
        }
    }
    let seeds = outcome.curves.iter().filter(|curve| curve.points.iter().any(|point| point.validation.is_some())).count();
    if losses.values().any(|values| values.len() >= seeds) {
        losses.retain(|_, values| values.len() >= seeds);
    }
    let point = |(tokens, values): (u64, Vec<f64>)| Point {
        tokens: tokens as f64,
        mean: values.iter().sum::<f64>() / values.len() as f64,
        low: values.iter().copied().fold(f64::INFINITY, f64::min),
        high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    };
    losses.into_iter().map(point).collect()
}

fn hint(name: &str, point: &Point) -> String {
    let (tokens, mean) = (number::compact(point.tokens), number::nats(point.mean));
    let range = if point.high > point.low {
        format!(", seeds {} to {}", number::nats(point.low), number::nats(point.high))
    } else {
        String::new()
    };
    format!("{name} after {tokens} tokens: {mean} nats per token{range}")
}

fn description(comparison: &Comparison, lines: &[Vec<Point>]) -> String {
    let ends = comparison.mechanisms.iter().zip(lines).filter_map(|(outcome, line)| {
        let (first, last) = (line.first()?, line.last()?);
        Some(format!("{} goes from {} to {}", outcome.name, number::nats(first.mean), number::nats(last.mean)))
    });
    format!("Lines, in nats per token: {}.", ends.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::{Curve, CurvePoint, Measured};

    fn outcome(curves: &[&[(u64, f64)]]) -> Outcome {
        let point = |&(tokens, loss): &(u64, f64)| CurvePoint { tokens, train: None, validation: Some(loss) };
        let curve =
            |(seed, points): (usize, &&[(u64, f64)])| Curve { seed: seed as u64, points: points.iter().map(point).collect() };
        Outcome {
            name: "mha".to_owned(),
            kind: "mha".to_owned(),
            card: String::new(),
            paper: String::new(),
            parameters: 1,
            loss: Measured::over_seeds(vec![1.0]),
            recall: None,
            recall_chance: None,
            cache_bytes_per_token: 1.0,
            cache_formula: String::new(),
            constant_bytes: 0,
            decode: Vec::new(),
            training_tokens_per_second: 1.0,
            cpu_seconds: 1.0,
            learning_rate: 1e-3,
            curves: curves.iter().enumerate().map(curve).collect(),
            failure: None,
        }
    }

    #[test]
    fn a_seed_that_stops_early_ends_the_mean_instead_of_bending_it() {
        let points = over_seeds(&outcome(&[&[(10, 4.0), (20, 3.0), (30, 2.0)], &[(10, 2.0), (20, 1.0)]]));
        let means: Vec<(f64, f64)> = points.iter().map(|point| (point.tokens, point.mean)).collect();
        assert_eq!(means, [(10.0, 3.0), (20.0, 2.0)]);
        assert_eq!((points[0].low, points[0].high), (2.0, 4.0));
    }

    #[test]
    fn seeds_validated_at_different_places_are_all_shown() {
        assert_eq!(over_seeds(&outcome(&[&[(10, 4.0)], &[(11, 2.0)]])).len(), 2);
    }

    #[test]
    fn losses_that_are_not_numbers_are_left_out() {
        assert_eq!(over_seeds(&outcome(&[&[(10, f64::NAN), (20, 3.0)]])).len(), 1);
    }
}
