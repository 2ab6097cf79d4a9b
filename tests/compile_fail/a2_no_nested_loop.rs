//! A task that moves cannot run a nested event loop, on no thread.

use executor::{MainCx, Migratable, block_on};

fn start(cx: &MainCx) {
    cx.spawn_migratable(async |m: &mut Migratable| {
        block_on(m, async |_: &MainCx| ());
    })
    .detach();
}

fn main() {}
