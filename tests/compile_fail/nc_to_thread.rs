//! Must not compile: the right to block is the main loop's thread's.

use executor::NoCoroutine;

fn handler(nc: &mut NoCoroutine) {
    std::thread::scope(|scope| {
        scope.spawn(|| nc.wait_while(|_bql| false));
    });
}

fn main() {}
