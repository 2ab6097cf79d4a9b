//! Two branches of a `join!` share one task, so they cannot both move it.

use executor::{IoContext, MainCx, Migratable};
use futures_util::join;

fn start(cx: &MainCx, io0: IoContext, io1: IoContext) {
    cx.spawn_migratable(async move |m: &mut Migratable| {
        let first = async { m.reschedule_to(&io0).await };
        let second = async { m.reschedule_to(&io1).await };
        join!(first, second);
    })
    .detach();
}

fn main() {}
