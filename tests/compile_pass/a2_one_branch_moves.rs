//! One branch of a `join!` may move the task; the others ride along.

use std::time::Duration;

use executor::time::sleep;
use executor::{IoContext, MainCx, Migratable};
use futures_util::join;

pub fn start(cx: &MainCx, io: IoContext) {
    cx.spawn_migratable(async move |m: &mut Migratable| {
        join!(async { m.reschedule_to(&io).await }, sleep(Duration::from_millis(1)));
    })
    .detach();
}

fn main() {}
