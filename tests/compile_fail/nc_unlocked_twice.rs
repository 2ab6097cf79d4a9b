//! Must not compile: the section without the lock cannot block.

use executor::NoCoroutine;

fn handler(nc: &mut NoCoroutine) {
    nc.unlocked(|| nc.unlocked(|| ()));
}

fn main() {}
