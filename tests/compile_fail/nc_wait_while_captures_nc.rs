//! Must not compile: the condition of a nested loop cannot run another one.

use executor::NoCoroutine;

fn handler(nc: &mut NoCoroutine) {
    nc.wait_while(|_bql| {
        nc.unlocked(|| ());
        false
    });
}

fn main() {}
