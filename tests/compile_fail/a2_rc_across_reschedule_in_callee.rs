//! A function called by a function called by the task cannot keep an `Rc` across the move either.

use std::rc::Rc;

use executor::{IoContext, MainCx, Migratable};

async fn inner(m: &mut Migratable, io: &IoContext) {
    let shared = Rc::new(1);
    m.reschedule_to(io).await;
    println!("{shared}");
}

async fn outer(m: &mut Migratable, io: &IoContext) {
    inner(m, io).await;
}

fn start(cx: &MainCx, io: IoContext) {
    cx.spawn_migratable(async move |m: &mut Migratable| outer(m, &io).await).detach();
}

fn main() {}
