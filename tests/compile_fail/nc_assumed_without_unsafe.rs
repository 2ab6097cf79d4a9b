//! Must not compile: whoever claims the right to block must promise that it is theirs.

use executor::NoCoroutine;

fn callback() {
    NoCoroutine::assume(|nc| nc.unlocked(|| ()));
}

fn main() {}
