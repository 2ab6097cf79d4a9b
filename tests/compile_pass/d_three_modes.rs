//! Each mode with the handler that fits it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use executor::qmp::{Blocking, Command, Coroutine, Error, Oob, Registry};
use executor::{MainCx, NoCoroutine, OobContext};

struct Block;
struct Wait;
struct Now;

impl Command for Block {
    const NAME: &'static str = "block";
    type Mode = Blocking;
    type Args = u64;
    type Ret = u64;
}

impl Command for Wait {
    const NAME: &'static str = "wait";
    type Mode = Coroutine;
    type Args = u64;
    type Ret = u64;
}

impl Command for Now {
    const NAME: &'static str = "now";
    type Mode = Oob;
    type Args = u64;
    type Ret = u64;
}

fn block(_: &mut NoCoroutine, size: u64) -> Result<u64, Error> {
    Ok(size)
}

async fn wait(_: &MainCx, size: u64) -> Result<u64, Error> {
    Ok(size)
}

fn now(ox: &OobContext, size: u64) -> Result<u64, Error> {
    ox.schedule(|_: &mut NoCoroutine| ());
    Ok(size)
}

pub fn named(registry: &mut Registry) {
    registry.command::<Block, _>(block);
    registry.command::<Wait, _>(wait);
    registry.command::<Now, _>(now);
}

pub fn closures(registry: &mut Registry) {
    let calls = Cell::new(0);
    registry.command::<Block, _>(move |_: &mut NoCoroutine, size: u64| {
        calls.set(calls.get() + 1);
        Ok(size + calls.get())
    });
    registry.command::<Wait, _>(async |_: &MainCx, size: u64| Ok(size));
    let calls = AtomicU64::new(0);
    registry.command::<Now, _>(move |_: &OobContext, size: u64| {
        Ok(size + calls.fetch_add(1, Ordering::Relaxed))
    });
}

fn main() {}
