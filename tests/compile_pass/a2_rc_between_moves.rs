//! An `Rc` between two moves, with no `.await` in its scope, is nobody else's business.

use std::rc::Rc;

use executor::{IoContext, MainCx, Migratable};

pub fn start(cx: &MainCx, io: IoContext) {
    cx.spawn_migratable(async move |m: &mut Migratable| {
        m.reschedule_to(&io).await;
        let sum = {
            let shared = Rc::new(1);
            *shared + 1
        };
        m.to_main().await;
        sum
    })
    .detach();
}

fn main() {}
