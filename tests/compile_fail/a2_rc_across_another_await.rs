//! The whole task is `Send`, not only at its moves: an `Rc` across any `.await` is refused.

use std::rc::Rc;
use std::time::Duration;

use executor::time::sleep;
use executor::{MainCx, Migratable};

fn start(cx: &MainCx) {
    cx.spawn_migratable(async |_: &mut Migratable| {
        let shared = Rc::new(1);
        sleep(Duration::from_millis(1)).await;
        println!("{shared}");
    })
    .detach();
}

fn main() {}
