//! The right to move cannot be a task's output.

use executor::{MainCx, Migratable};

fn start(cx: &MainCx) {
    cx.spawn_migratable(async |m: &mut Migratable| m).detach();
}

fn main() {}
