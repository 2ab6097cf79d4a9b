//! Must not compile: the function takes the capability, also if it does not use it.

use executor::NoCoroutine;

fn handler(nc: &NoCoroutine) {
    nc.spawn(async || 7).detach();
}

fn main() {}
