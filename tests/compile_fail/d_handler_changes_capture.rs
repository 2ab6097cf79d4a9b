//! A `Coroutine` command may be called again before it has answered: its handler cannot change what it captured without a cell.

use executor::MainCx;
use executor::qmp::{Command, Coroutine, Registry};

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = Coroutine;
    type Args = u64;
    type Ret = u64;
}

fn register(registry: &mut Registry) {
    let mut calls = 0;
    registry.command::<Resize, _>(async move |_: &MainCx, _: u64| {
        calls += 1;
        Ok(calls)
    });
}

fn main() {}
