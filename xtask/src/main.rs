//! `cargo xtask`: build and test chores.
fn main() {}
