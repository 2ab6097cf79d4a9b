//! Must not compile: a witness is lent, not copied.

use executor::Bql;

fn copy(bql: &Bql) -> Bql {
    bql.clone()
}

fn main() {}
