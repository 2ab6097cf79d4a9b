//! A task that moves cannot keep an `Rc` across the move: its other owners stay behind.

use std::rc::Rc;

use executor::{IoContext, MainCx, Migratable};

fn start(cx: &MainCx, io: IoContext) {
    cx.spawn_migratable(async move |m: &mut Migratable| {
        let shared = Rc::new(1);
        m.reschedule_to(&io).await;
        println!("{shared}");
    })
    .detach();
}

fn main() {}
