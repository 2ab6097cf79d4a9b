//! The out-of-band table has out-of-band commands only: it is taken from a registry, never made.

use executor::qmp::OobTable;

fn table() -> OobTable {
    OobTable { calls: Default::default() }
}

fn main() {}
