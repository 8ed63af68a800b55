//! A drawing as text. Everything that reaches it as text is escaped here.

use std::fmt::Write as _;

use super::escape::markup;

/// Width of every drawing; the page scales it. Narrow, so that its letters stay readable on a telephone.
pub(super) const WIDTH: f64 = 480.0;

/// Which end of a text its position names.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A drawing under construction.
pub(super) struct Svg {
    name: String,
    text: String,
}

impl Svg {
    /// A drawing with what a screen reader says of it. `name` must be unlike that of every other drawing in the page.
    pub(super) fn new(name: &str, height: f64, title: &str, description: &str) -> Self {
        let mut text = String::new();
        let (width, tall) = (pixel(WIDTH), pixel(height));
        let _ = write!(
            text,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {tall}\" role=\"img\" \
             aria-labelledby=\"{name}-title {name}-description\">\n<title id=\"{name}-title\">{}</title>\n\
             <desc id=\"{name}-description\">{}</desc>\n",
            markup(title),
            markup(description)
        );
        Self { name: name.to_owned(), text }
    }

    /// A line of text.
    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (x, y, text) = (pixel(x), pixel(y), markup(text));
        let _ = writeln!(self.text, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" class=\"{class}\">{text}</text>");
    }

    /// A straight line.
    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
        let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(pixel);
        let _ = writeln!(self.text, "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" class=\"{class}\"/>");
    }

    /// A rectangle.
    pub(super) fn rectangle(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), class: &str) {
        let [x, y, width, height] = [x, y, width.max(0.0), height.max(0.0)].map(pixel);
        let _ = writeln!(self.text, "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" class=\"{class}\"/>");
    }

    /// A line through points, dashed.
    pub(super) fn polyline(&mut self, points: &[(f64, f64)], dash: &str) {
        if points.len() > 1 {
            let points = joined(points.iter().copied());
            let _ = writeln!(self.text, "<polyline class=\"curve\" stroke-dasharray=\"{dash}\" points=\"{points}\"/>");
        }
    }

    /// The area between an upper and a lower line.
    pub(super) fn band(&mut self, upper: &[(f64, f64)], lower: &[(f64, f64)]) {
        if upper.len() > 1 {
            let points = joined(upper.iter().chain(lower.iter().rev()).copied());
            let _ = writeln!(self.text, "<polygon class=\"band\" points=\"{points}\"/>");
        }
    }

    /// A closed shape.
    pub(super) fn path(&mut self, path: &str, class: &str) {
        let _ = writeln!(self.text, "<path class=\"{class}\" d=\"{path}\"/>");
    }

    /// A vertical error bar with caps.
    pub(super) fn upright_interval(&mut self, x: f64, top: f64, bottom: f64) {
        let [left, right, x] = [x - 4.0, x + 4.0, x].map(pixel);
        let [top, bottom] = [top, bottom].map(pixel);
        let path = format!("M{left},{top}H{right}M{x},{top}V{bottom}M{left},{bottom}H{right}");
        self.path(&path, "interval");
    }

    /// A place that shows a value when pointed at, or reached with the arrow keys; without scripts, the browser's own hint.
    pub(super) fn value(&mut self, (x, y): (f64, f64), text: &str) {
        let (x, y, text) = (pixel(x), pixel(y), markup(text));
        let _ = writeln!(self.text, "<circle class=\"value\" cx=\"{x}\" cy=\"{y}\" r=\"9\"><title>{text}</title></circle>");
    }

    /// Everything drawn by `draw` belongs to one mechanism and can be hidden with it.
    pub(super) fn series(&mut self, index: usize, class: &str, draw: impl FnOnce(&mut Self)) {
        let _ = writeln!(self.text, "<g class=\"series {class}\" data-series=\"{index}\">");
        draw(self);
        self.text.push_str("</g>\n");
    }

    /// Nothing drawn by `draw` shows outside the rectangle.
    pub(super) fn clipped(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), draw: impl FnOnce(&mut Self)) {
        let name = self.name.clone();
        let [x, y, width, height] = [x, y, width, height].map(pixel);
        let _ = writeln!(
            self.text,
            "<clipPath id=\"{name}-frame\"><rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/></clipPath>\n\
             <g clip-path=\"url(#{name}-frame)\">"
        );
        draw(self);
        self.text.push_str("</g>\n");
    }

    /// The drawing as markup.
    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</svg>");
        self.text
    }
}

/// A coordinate with at most one decimal: finer than any screen shows at this size.
pub(super) fn pixel(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    // Negative zero would print its sign.
    format!("{}", rounded + 0.0)
}

fn joined(points: impl Iterator<Item = (f64, f64)>) -> String {
    let points: Vec<String> = points.map(|(x, y)| format!("{},{}", pixel(x), pixel(y))).collect();
    points.join(" ")
}
