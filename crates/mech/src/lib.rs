//! Attention mechanisms, each one file: one forward for training, prefill and decode, and a plain oracle.
