use super::{Attention, Span, check};
use crate::Machine;

/// Gradients of [`forward`](super::forward) for every span. From q `[N, H * d_qk]`, k `[Nk, G * d_qk]`, v `[Nk, G * d_v]`, out
/// `[N, H * d_v]`, lse `[N, H]` and d_out `[N, H * d_v]` it **adds** to d_q, d_k, d_v (shaped as q, k, v), to d_bias `[H, width]`
/// and to d_sink `[H]`.
///
/// # Panics
/// As [`forward`](super::forward).
pub fn backward(
    machine: Machine<'_>,
    spec: &Attention<'_>,
    spans: &[Span],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &[f32],
    lse: &[f32],
    d_out: &[f32],
    d_q: &mut [f32],
    d_k: &mut [f32],
    d_v: &mut [f32],
    d_bias: Option<&mut [f32]>,
    d_sink: Option<&mut [f32]>,
    scratch: &mut [f32],
) {
    check::spec(spec);
    let want = backward_scratch(spec, spans, machine.executor.workers());
    assert!(scratch.len() >= want, "scratch of attention backward: want {want}, got {}", scratch.len());
    let _ = (out, lse);
    crate::naive::attention_backward(spec, spans, q, k, v, d_out, d_q, d_k, d_v, d_bias, d_sink);
}

/// Values of scratch that [`backward`] needs.
pub fn backward_scratch(spec: &Attention<'_>, spans: &[Span], workers: usize) -> usize {
    let _ = (spec, spans, workers);
    0
}
