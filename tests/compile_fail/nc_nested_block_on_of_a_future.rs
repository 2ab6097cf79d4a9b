//! Must not compile: a future that uses the right to block cannot be blocked on.

use executor::{MainCx, NoCoroutine, block_on};

fn handler(nc: &mut NoCoroutine) {
    let inner = async { nc.unlocked(|| ()) };
    block_on(nc, async |_cx: &MainCx| inner.await);
}

fn main() {}
