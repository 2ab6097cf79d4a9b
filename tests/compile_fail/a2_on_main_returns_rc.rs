//! The result of `on_main` goes back with the task, so it must be `Send`.

use std::rc::Rc;

use executor::{MainCx, Migratable};

fn start(cx: &MainCx) {
    cx.spawn_migratable(async |m: &mut Migratable| {
        let shared = m.on_main(|_| Rc::new(1)).await;
        println!("{shared}");
    })
    .detach();
}

fn main() {}
