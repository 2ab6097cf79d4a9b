//! Must not compile: a value that is not `Copy` is taken or replaced.

use executor::{Bql, BqlCell};

static NAME: BqlCell<String> = BqlCell::new(String::new());

fn handler(bql: &Bql) -> String {
    NAME.get(bql)
}

fn main() {}
