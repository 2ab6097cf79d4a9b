//! `OnMain` proves that the task is on the main loop, so it cannot live across an `.await`.

use std::time::Duration;

use executor::time::sleep;
use executor::{MainCx, Migratable};

fn start(cx: &MainCx) {
    cx.spawn_migratable(async |m: &mut Migratable| {
        let on_main = m.to_main().await;
        sleep(Duration::from_millis(1)).await;
        on_main.bql(|_| ());
    })
    .detach();
}

fn main() {}
