//! What is spawned is an async function of `&mut Migratable`, not a future that has been made already.

use executor::MainCx;

fn start(cx: &MainCx) {
    cx.spawn_migratable(async { 1 }).detach();
}

fn main() {}
