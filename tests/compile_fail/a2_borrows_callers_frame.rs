//! A migratable task outlives the function that spawns it, so it cannot borrow from its frame.

use executor::{MainCx, Migratable};

fn start(cx: &MainCx) {
    let local = String::from("gone soon");
    cx.spawn_migratable(async |_: &mut Migratable| {
        println!("{local}");
    })
    .detach();
}

fn main() {}
