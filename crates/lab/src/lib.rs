//! Training and fair comparison of attention mechanisms.
