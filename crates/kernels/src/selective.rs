//! The selective scan of Mamba (Gu & Dao 2023, 2312.00752): a linear recurrence per channel whose input chooses what is
//! written, read and forgotten.
//!
//! Each channel `d` keeps a state `h [S]`; at every row `h = exp(dt A) h + dt B x`, element by element, and `y = C . h + D x`.
//! Channels come in groups that share `B` and `C`. Mamba-2 (2405.21060) is the case in which all rows of `A` of a head hold one
//! and the same number. `A` is negative and `dt` positive; what makes them so is the caller's.

mod backward;

pub use backward::{selective_scan_backward, selective_scan_backward_scratch};

use crate::Machine;
use crate::disjoint::{Disjoint, check_sequences, run, sized};
use crate::expect;
use crate::scan::{CHUNK, chunks_before};
use crate::simd::{Kernel, MAX_LANES, Simd};
use crate::vector::{load, store};
use std::ops::Range;

/// Channels in one work item: channels never meet, but for the gradients of `B` and `C`.
const STRIP: usize = 64;

/// The widths of a selective scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectiveScan {
    /// Channels in a row.
    pub channels: usize,
    /// Values of a channel's state.
    pub state: usize,
    /// Groups of channels that share `B` and `C`.
    pub groups: usize,
}

/// Channels that one item takes, all of one group.
struct Strip {
    group: usize,
    /// Which of its group's strips it is.
    number: usize,
    channels: Range<usize>,
}

impl SelectiveScan {
    fn strips_per_group(self) -> usize {
        (self.channels / self.groups).div_ceil(STRIP)
    }

    fn strips(self) -> usize {
        self.groups * self.strips_per_group()
    }

    fn strip(self, strip: usize) -> Strip {
        let (group, number) = (strip / self.strips_per_group(), strip % self.strips_per_group());
        let width = self.channels / self.groups;
        let channels = group * width + number * STRIP..group * width + width.min((number + 1) * STRIP);
        Strip { group, number, channels }
    }
}

impl Strip {
    /// Where the strip lies in rows of one value a channel.
    fn row(&self, scan: SelectiveScan, row: usize) -> Range<usize> {
        row * scan.channels + self.channels.start..row * scan.channels + self.channels.end
    }

    /// Where it lies in states, of which `before` whole ones come first.
    fn state(&self, scan: SelectiveScan, before: usize) -> Range<usize> {
        let Range { start, end } = self.row(scan, before);
        start * scan.state..end * scan.state
    }

    /// Where its group lies in rows of `B` and `C`.
    fn shared(&self, scan: SelectiveScan, row: usize) -> Range<usize> {
        (row * scan.groups + self.group) * scan.state..(row * scan.groups + self.group + 1) * scan.state
    }
}

/// `y [N, D]` and the states `state [sequences, D, S]`, in: before the first row of each sequence, out: after its last.
/// `x`, `dt [N, D]`; `a [D, S]`; `b`, `c [N, G * S]`, of which channel `d` reads group `d / (D / G)`; `skip [D]` is what the
/// literature calls `D`. `sequences` are ranges of rows, ascending. Rows that belong to no sequence are left as they are.
///
/// With `checkpoints` ([`selective_scan_checkpoints`] values) the states that [`selective_scan_backward`] starts from are kept
/// there.
///
/// # Panics
/// If a length does not fit, groups do not divide the channels, or the sequences overlap or are out of order.
pub fn selective_scan(
    machine: Machine<'_>,
    scan: SelectiveScan,
    sequences: &[Range<usize>],
    y: &mut [f32],
    state: &mut [f32],
    x: &[f32],
    dt: &[f32],
    a: &[f32],
    b: &[f32],
    c: &[f32],
    skip: Option<&[f32]>,
    checkpoints: Option<&mut [f32]>,
) {
    check(scan, sequences, state, x, dt, a, b, c, skip);
    expect::length("y", y.len(), x.len());
    let kept = checkpoints.is_some();
    let checkpoints = checkpoints.unwrap_or_default();
    if kept {
        expect::length("checkpoints", checkpoints.len(), selective_scan_checkpoints(scan, sequences));
    }
    let machine = sized(machine, x.len() * scan.state);
    let [y, state, checkpoints] = [y, state, checkpoints].map(Disjoint::new);
    run(machine, sequences.len() * scan.strips(), &|item, _worker| {
        let (sequence, strip) = (item / scan.strips(), scan.strip(item % scan.strips()));
        // SAFETY: no other item has this sequence and these channels.
        let h = unsafe { state.slice(strip.state(scan, sequence)) };
        let first_chunk = chunks_before(sequences, sequence);
        let skip = skip.map(|skip| &skip[strip.channels.clone()]);
        for (t, row) in sequences[sequence].clone().enumerate() {
            if kept && t % CHUNK == 0 {
                // SAFETY: as above: each sequence has its own chunks.
                unsafe { checkpoints.slice(strip.state(scan, first_chunk + t / CHUNK)) }.copy_from_slice(h);
            }
            let (channels, shared) = (strip.row(scan, row), strip.shared(scan, row));
            machine.isa.run(Step {
                h,
                // SAFETY: sequences do not overlap (checked), so no other item has this row and these channels.
                y: unsafe { y.slice(channels.clone()) },
                x: &x[channels.clone()],
                dt: &dt[channels],
                a: &a[strip.state(scan, 0)],
                b: &b[shared.clone()],
                c: &c[shared],
                skip,
            });
        }
    });
}

/// Values of checkpoints that [`selective_scan`] keeps for the backward pass.
pub fn selective_scan_checkpoints(scan: SelectiveScan, sequences: &[Range<usize>]) -> usize {
    chunks_before(sequences, sequences.len()) * scan.channels * scan.state
}

/// Panics unless the shapes fit and the sequences are disjoint, on which the soundness of parallel writing rests.
fn check(
    scan: SelectiveScan,
    sequences: &[Range<usize>],
    state: &[f32],
    x: &[f32],
    dt: &[f32],
    a: &[f32],
    b: &[f32],
    c: &[f32],
    skip: Option<&[f32]>,
) {
    let SelectiveScan { channels, state: width, groups } = scan;
    assert!(channels > 0 && width > 0 && groups > 0 && channels.is_multiple_of(groups), "{scan:?}");
    let rows = x.len() / channels;
    assert_eq!([x.len(), dt.len()], [rows * channels; 2], "x and dt");
    expect::length("a", a.len(), channels * width);
    assert_eq!([b.len(), c.len()], [rows * groups * width; 2], "b and c");
    expect::length("skip", skip.map_or(channels, <[f32]>::len), channels);
    expect::length("state", state.len(), sequences.len() * channels * width);
    check_sequences(sequences, rows);
}

/// One row of a strip: `h = exp(dt A) h + dt B x`, `y = C . h + D x`.
struct Step<'a> {
    /// `[channels, S]`
    h: &'a mut [f32],
    y: &'a mut [f32],
    x: &'a [f32],
    dt: &'a [f32],
    a: &'a [f32],
    b: &'a [f32],
    c: &'a [f32],
    skip: Option<&'a [f32]>,
}

impl Kernel for Step<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let width = self.b.len();
        let channels = self.x.len();
        for first in (0..channels).step_by(S::LANES) {
            let mut read = [simd.splat(0.0); MAX_LANES];
            for (lane, channel) in (first..channels.min(first + S::LANES)).enumerate() {
                let h = &mut self.h[channel * width..(channel + 1) * width];
                let a = &self.a[channel * width..(channel + 1) * width];
                let dt = simd.splat(self.dt[channel]);
                let input = simd.mul(dt, simd.splat(self.x[channel]));
                for n in (0..width).step_by(S::LANES) {
                    let decay = simd.exp(simd.mul(dt, load(simd, &a[n..])));
                    let new = simd.fma(decay, load(simd, &h[n..]), simd.mul(input, load(simd, &self.b[n..])));
                    store(simd, &mut h[n..], new);
                    read[lane] = simd.fma(load(simd, &self.c[n..]), new, read[lane]);
                }
            }
            let mut y = simd.sum_each(read);
            if let Some(skip) = self.skip {
                y = simd.fma(load(simd, &skip[first..]), load(simd, &self.x[first..]), y);
            }
            store(simd, &mut self.y[first..], y);
        }
    }
}
