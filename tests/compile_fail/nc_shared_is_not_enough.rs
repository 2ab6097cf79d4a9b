//! Must not compile: a shared loan is the lock; to block takes the exclusive one.

use executor::NoCoroutine;

fn handler(nc: &NoCoroutine) {
    nc.unlocked(|| ());
}

fn main() {}
