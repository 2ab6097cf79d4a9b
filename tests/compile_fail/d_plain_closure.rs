//! A plain closure that returns an `async` block cannot lend its context to it; an `async fn` or an async closure can.

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
    registry.command::<Resize, _>(|cx: &MainCx, size: u64| async move { Ok(cx.bql(|_| size)) });
}

fn main() {}
