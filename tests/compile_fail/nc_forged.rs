//! Must not compile: nobody can make the right to block.

use executor::{Bql, NoCoroutine};

fn forge(bql: Bql) -> NoCoroutine {
    NoCoroutine { bql }
}

fn main() {}
