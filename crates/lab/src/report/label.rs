//! Where labels go so that none covers another.

/// A rectangle in pixels, y downwards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Area {
    /// A rectangle around a point.
    pub(super) fn around((x, y): (f64, f64), half_width: f64, half_height: f64) -> Self {
        Self { left: x - half_width, top: y - half_height, right: x + half_width, bottom: y + half_height }
    }

    /// The area both have in common, square pixels.
    pub(super) fn overlap(&self, other: &Self) -> f64 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        width.max(0.0) * height.max(0.0)
    }

    fn contains(&self, other: &Self) -> bool {
        self.left <= other.left && other.right <= self.right && self.top <= other.top && other.bottom <= self.bottom
    }
}

/// Heights as near to the wanted ones as a `gap` between neighbours and the two bounds allow, in the order given.
///
/// Least squares: subtracting each one's share of the gaps turns the task into isotonic regression,
/// which pooling violating neighbours solves exactly.
pub(super) fn spread(wanted: &[f64], gap: f64, (low, high): (f64, f64)) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&a, &b| wanted[a].total_cmp(&wanted[b]));
    let gap = gap.min((high - low) / wanted.len().saturating_sub(1).max(1) as f64);
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (rank, &index) in order.iter().enumerate() {
        let mut pool = (wanted[index] - rank as f64 * gap, 1);
        while let Some(&(mean, count)) = pools.last().filter(|(mean, _)| *mean > pool.0) {
            pools.pop();
            let total = count + pool.1;
            pool = ((mean * count as f64 + pool.0 * pool.1 as f64) / total as f64, total);
        }
        pools.push(pool);
    }
    let highest = high - gap * wanted.len().saturating_sub(1) as f64;
    let base = pools.iter().flat_map(|&(mean, count)| std::iter::repeat_n(mean.clamp(low, highest), count));
    let mut placed = vec![0.0; wanted.len()];
    for (rank, base) in base.enumerate() {
        placed[order[rank]] = base + rank as f64 * gap;
    }
    placed
}

/// A label of the given size for each point, inside the bounds, clear of the obstacles where there is room.
pub(super) fn place(points: &[(f64, f64)], sizes: &[(f64, f64)], obstacles: &[Area], bounds: Area) -> Vec<Area> {
    const RINGS: [f64; 5] = [10.0, 20.0, 34.0, 52.0, 76.0];
    const DIRECTIONS: [(f64, f64); 8] =
        [(1.0, 0.0), (0.0, -1.0), (0.0, 1.0), (-1.0, 0.0), (1.0, -1.0), (1.0, 1.0), (-1.0, -1.0), (-1.0, 1.0)];
    let mut placed: Vec<Area> = Vec::with_capacity(points.len());
    for (&(x, y), &(width, height)) in points.iter().zip(sizes) {
        let candidates = RINGS.iter().flat_map(|&ring| {
            DIRECTIONS.iter().map(move |&(right, down)| {
                // The label's near edge lies on the ring; straight up and down it is centred.
                let centre = (x + right * (ring + width / 2.0), y + down * (ring.min(ring * 0.7 + 3.0) + height / 2.0));
                (ring, Area::around(centre, width / 2.0, height / 2.0))
            })
        });
        let cost = |ring: f64, area: &Area| {
            let covered: f64 = placed.iter().map(|other| 20.0 * area.overlap(other)).sum();
            let hidden: f64 = obstacles.iter().map(|other| 3.0 * area.overlap(other)).sum();
            let outside = if bounds.contains(area) { 0.0 } else { 1e6 };
            covered + hidden + outside + ring
        };
        let best = candidates.min_by(|(a, first), (b, second)| cost(*a, first).total_cmp(&cost(*b, second)));
        placed.extend(best.map(|(_, area)| area));
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_keeps_the_gap_the_order_and_the_bounds() {
        let wanted = [50.0, 51.0, 50.5, 10.0, 99.0, 98.0];
        let placed = spread(&wanted, 12.0, (0.0, 100.0));
        let mut pairs: Vec<(f64, f64)> = wanted.into_iter().zip(placed.iter().copied()).collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(pairs.windows(2).all(|pair| pair[1].1 - pair[0].1 >= 12.0 - 1e-9), "{pairs:?}");
        assert!(placed.iter().all(|y| (0.0..=100.0).contains(y)), "{placed:?}");
        assert!((placed[3] - 10.0).abs() < 1e-9, "a label with room stays where it is wanted: {placed:?}");
    }

    #[test]
    fn spread_shrinks_the_gap_rather_than_leave_the_bounds() {
        let placed = spread(&[5.0; 8], 12.0, (0.0, 40.0));
        assert!(placed.iter().all(|y| (-1e-9..=40.0 + 1e-9).contains(y)), "{placed:?}");
        assert!(spread(&[], 12.0, (0.0, 40.0)).is_empty());
    }

    #[test]
    fn eight_crowded_labels_do_not_cover_each_other() {
        let points: Vec<(f64, f64)> = (0..8).map(|i| (200.0 + f64::from(i) * 3.0, 150.0 + f64::from(i % 3) * 4.0)).collect();
        let sizes = [(60.0, 14.0); 8];
        let bounds = Area { left: 0.0, top: 0.0, right: 480.0, bottom: 340.0 };
        let markers: Vec<Area> = points.iter().map(|&point| Area::around(point, 5.0, 5.0)).collect();
        let placed = place(&points, &sizes, &markers, bounds);
        for (index, area) in placed.iter().enumerate() {
            assert!(bounds.contains(area));
            for other in &placed[..index] {
                assert!(area.overlap(other) < 1e-9, "{area:?} covers {other:?}");
            }
        }
    }

    #[test]
    fn a_label_at_the_edge_turns_inwards() {
        let bounds = Area { left: 0.0, top: 0.0, right: 100.0, bottom: 100.0 };
        let placed = place(&[(98.0, 2.0)], &[(40.0, 14.0)], &[], bounds);
        assert!(bounds.contains(&placed[0]), "{placed:?}");
    }
}
