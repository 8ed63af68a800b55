//! How a mechanism is drawn everywhere in a report: a colour, a dash and a marker, each enough to tell it from its neighbours.

use std::f64::consts::FRAC_1_SQRT_2;

use super::svg::pixel;

/// Colours of the style sheet, classes `s0` to `s7`. Chosen so that every pair stays apart for readers without red, green or
/// blue cones (distance in Oklab at least 0.1 on the light ground, 0.098 on the dark).
const COLOURS: usize = 8;
const DASHES: [&str; COLOURS] = ["none", "7 3", "2 3", "9 3 2 3", "12 4", "4 3", "9 3 2 3 2 3", "5 2 1 2"];

/// The look of one mechanism.
#[derive(Debug, Clone, Copy)]
pub(super) struct Series(pub(super) usize);

impl Series {
    /// Class that carries the colour.
    pub(super) fn class(self) -> String {
        format!("s{}", self.0 % COLOURS)
    }

    /// Value of `stroke-dasharray`. After eight mechanisms colours come again, with the next dash.
    pub(super) fn dash(self) -> &'static str {
        DASHES[(self.0 + self.0 / COLOURS) % COLOURS]
    }

    /// Path of the marker around a point.
    pub(super) fn marker(self, (x, y): (f64, f64)) -> String {
        let polygon = |corners: &[(f64, f64)]| {
            let corners: Vec<String> =
                corners.iter().map(|(right, down)| format!("{},{}", pixel(x + right), pixel(y + down))).collect();
            format!("M{}Z", corners.join("L"))
        };
        match (self.0 + self.0 / COLOURS) % COLOURS {
            0 => {
                let (left, y, r) = (pixel(x - 4.0), pixel(y), 4);
                format!("M{left},{y}a{r},{r} 0 1 0 8,0a{r},{r} 0 1 0 -8,0Z")
            }
            1 => polygon(&[(-3.8, -3.8), (3.8, -3.8), (3.8, 3.8), (-3.8, 3.8)]),
            2 => polygon(&[(0.0, -5.0), (4.7, 3.6), (-4.7, 3.6)]),
            3 => polygon(&[(0.0, -5.3), (5.3, 0.0), (0.0, 5.3), (-5.3, 0.0)]),
            4 => polygon(&[(0.0, 5.0), (4.7, -3.6), (-4.7, -3.6)]),
            5 => polygon(&cross([(1.0, 0.0), (0.0, 1.0)])),
            6 => polygon(&cross([(FRAC_1_SQRT_2, FRAC_1_SQRT_2), (-FRAC_1_SQRT_2, FRAC_1_SQRT_2)])),
            _ => polygon(&[(-2.6, -4.6), (2.6, -4.6), (5.2, 0.0), (2.6, 4.6), (-2.6, 4.6), (-5.2, 0.0)]),
        }
    }
}

/// The twelve corners of a cross whose arms lie along two axes.
fn cross([(ax, ay), (bx, by)]: [(f64, f64); 2]) -> [(f64, f64); 12] {
    const CORNERS: [(f64, f64); 12] = [
        (-1.6, -5.0),
        (1.6, -5.0),
        (1.6, -1.6),
        (5.0, -1.6),
        (5.0, 1.6),
        (1.6, 1.6),
        (1.6, 5.0),
        (-1.6, 5.0),
        (-1.6, 1.6),
        (-5.0, 1.6),
        (-5.0, -1.6),
        (-1.6, -1.6),
    ];
    CORNERS.map(|(a, b)| (a * ax + b * bx, a * ay + b * by))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn sixteen_mechanisms_differ_by_colour_with_dash_and_by_marker_with_colour() {
        let looks: HashSet<(String, &str)> = (0..16).map(|i| (Series(i).class(), Series(i).dash())).collect();
        assert_eq!(looks.len(), 16);
        let marks: HashSet<(String, String)> = (0..16).map(|i| (Series(i).class(), Series(i).marker((0.0, 0.0)))).collect();
        assert_eq!(marks.len(), 16);
    }

    #[test]
    fn the_first_eight_differ_without_colour() {
        let dashes: HashSet<&str> = (0..8).map(|i| Series(i).dash()).collect();
        let markers: HashSet<String> = (0..8).map(|i| Series(i).marker((0.0, 0.0))).collect();
        assert_eq!((dashes.len(), markers.len()), (8, 8));
    }
}
