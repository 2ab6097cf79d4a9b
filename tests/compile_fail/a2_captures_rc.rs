//! What a migratable task captures goes along, so it must be `Send`.

use std::rc::Rc;

use executor::{IoContext, MainCx, Migratable};

fn start(cx: &MainCx, io: IoContext, shared: Rc<u32>) {
    cx.spawn_migratable(async move |m: &mut Migratable| {
        println!("{shared}");
        m.reschedule_to(&io).await;
    })
    .detach();
}

fn main() {}
