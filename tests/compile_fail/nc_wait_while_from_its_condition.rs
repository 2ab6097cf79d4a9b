//! Must not compile: the condition of a nested loop cannot run another one.

use executor::NoCoroutine;

fn handler(nc: &mut NoCoroutine) {
    nc.wait_while(|bql| {
        bql.wait_while(|_bql| false);
        false
    });
}

fn main() {}
