//! The output comes back from whatever thread the task ended on, so it must be `Send`.

use std::rc::Rc;

use executor::{MainCx, Migratable};

async fn make(_: &mut Migratable) -> Rc<u32> {
    Rc::new(1)
}

fn start(cx: &MainCx) {
    cx.spawn_migratable(make).detach();
}

fn main() {}
