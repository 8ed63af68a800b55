//! What a mechanism keeps between calls, as named planes: contiguous, paged and ring stores, snapshots and byte counts.
