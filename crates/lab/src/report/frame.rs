//! The plot area of a chart: grid, ticks, titles, and names at the ends of lines.

use super::axis::Axis;
use super::label;
use super::series::Series;
use super::svg::{Anchor, Svg, WIDTH};

/// Average width of a letter of a label, in pixels of the drawing; the widest common system fonts need this much.
const LETTER: f64 = 8.0;
/// Height of a line of labels.
pub(super) const LINE: f64 = 15.0;
const LONGEST_LABEL: usize = 15;

/// The rectangle that the axes span.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

/// The name of a mechanism at the last point of its line.
pub(super) struct EndLabel<'a> {
    pub(super) index: usize,
    pub(super) name: &'a str,
    pub(super) at: (f64, f64),
}

impl Frame {
    /// A plot area in a drawing of a height, leaving room for labels on the right.
    pub(super) fn new(height: f64, label_room: f64) -> Self {
        Self { left: 52.0, top: 30.0, right: WIDTH - label_room.max(14.0), bottom: height - 44.0 }
    }

    /// Pixels of the horizontal axis.
    pub(super) fn across(&self) -> (f64, f64) {
        (self.left, self.right)
    }

    /// Pixels of the vertical axis, low values first.
    pub(super) fn upwards(&self) -> (f64, f64) {
        (self.bottom, self.top)
    }

    /// Its upper left corner and its size.
    pub(super) fn rectangle(&self) -> ((f64, f64), (f64, f64)) {
        ((self.left, self.top), (self.right - self.left, self.bottom - self.top))
    }

    /// Grid lines and tick labels of the vertical axis, its title above it.
    pub(super) fn vertical(&self, svg: &mut Svg, axis: &Axis, ticks: &[(f64, String)], title: &str) {
        for (value, text) in ticks {
            let y = axis.at(*value);
            svg.line((self.left, y), (self.right, y), "grid");
            svg.text((self.left - 8.0, y + 4.0), Anchor::End, "tick", text);
        }
        svg.text((2.0, 14.0), Anchor::Start, "axis", title);
    }

    /// Base line and tick labels of the horizontal axis, its title below.
    pub(super) fn horizontal(&self, svg: &mut Svg, axis: &Axis, ticks: &[(f64, String)], title: &str) {
        svg.line((self.left, self.bottom), (self.right, self.bottom), "base");
        for (value, text) in ticks {
            let x = axis.at(*value);
            svg.line((x, self.bottom), (x, self.bottom + 4.0), "base");
            svg.text((x, self.bottom + 18.0), Anchor::Middle, "tick", text);
        }
        let middle = f64::midpoint(self.left, self.right);
        svg.text((middle, self.bottom + 37.0), Anchor::Middle, "axis", title);
    }

    /// Names right of the lines they belong to, moved apart and tied to their line where they had to move.
    pub(super) fn end_labels(&self, svg: &mut Svg, labels: &[EndLabel<'_>]) {
        let wanted: Vec<f64> = labels.iter().map(|label| label.at.1.clamp(self.top, self.bottom)).collect();
        let placed = label::spread(&wanted, LINE, (self.top, self.bottom));
        for ((label, y), wanted) in labels.iter().zip(placed).zip(wanted) {
            svg.series(label.index, &Series(label.index).class(), |svg| {
                let from = (label.at.0.min(self.right) + 6.0, wanted);
                svg.line(from, (self.right + 17.0, y), "leader");
                svg.text((self.right + 20.0, y + 4.0), Anchor::Start, "name", &short(label.name));
            });
        }
    }
}

/// Room that the longest of the names needs right of a chart.
pub(super) fn label_room<'a>(names: impl Iterator<Item = &'a str>) -> f64 {
    names.map(|name| text_width(&short(name))).fold(0.0, f64::max) + 24.0
}

/// About how wide a label is drawn.
pub(super) fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * LETTER
}

/// A name that fits beside a chart.
pub(super) fn short(name: &str) -> String {
    if name.chars().count() <= LONGEST_LABEL {
        return name.to_owned();
    }
    name.chars().take(LONGEST_LABEL - 1).chain(['…']).collect()
}
