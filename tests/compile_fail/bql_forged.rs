//! Must not compile: nobody can make a witness.

use executor::Bql;

fn forge(bql: Bql) -> Bql {
    Bql { ..bql }
}

fn main() {}
