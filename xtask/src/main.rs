//! `cargo x`: the repository's own chores.

fn main() {}
