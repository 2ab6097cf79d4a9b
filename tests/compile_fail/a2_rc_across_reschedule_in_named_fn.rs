//! The same in a named `async fn`: the `Rc` is found inside it.

use std::rc::Rc;

use executor::{IoContext, MainCx, Migratable};

async fn hash(m: &mut Migratable, io: IoContext) -> u32 {
    let shared = Rc::new(1);
    m.reschedule_to(&io).await;
    *shared
}

fn start(cx: &MainCx, io: IoContext) {
    cx.spawn_migratable(async move |m: &mut Migratable| hash(m, io).await).detach();
}

fn main() {}
