//! `on_main` takes its closure along to the main loop, so what it captures must be `Send`.

use std::rc::Rc;

use executor::{MainCx, Migratable};

fn start(cx: &MainCx) {
    cx.spawn_migratable(async |m: &mut Migratable| {
        let shared = Rc::new(1);
        m.on_main(move |_| println!("{shared}")).await;
    })
    .detach();
}

fn main() {}
