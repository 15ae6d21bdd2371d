//! What each pair costs.

fn main() {}
