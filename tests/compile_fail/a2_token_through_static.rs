//! The right to move cannot be left in a `static` for another task to find.

use std::sync::Mutex;

use executor::{MainCx, Migratable};

static STOLEN: Mutex<Option<&'static mut Migratable>> = Mutex::new(None);

fn start(cx: &MainCx) {
    cx.spawn_migratable(async |m: &mut Migratable| {
        *STOLEN.lock().unwrap() = Some(m);
    })
    .detach();
}

fn main() {}
