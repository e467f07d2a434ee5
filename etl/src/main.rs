//! `atelier-etl`
fn main() {}
