//! Must not compile: the right to block is exclusive.

use executor::NoCoroutine;

fn copy(nc: &NoCoroutine) -> NoCoroutine {
    nc.clone()
}

fn main() {}
