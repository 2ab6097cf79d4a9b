//! A command cannot be both a coroutine and out-of-band: it has one mode.

use executor::qmp::{Command, Coroutine, Oob};

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = (Coroutine, Oob);
    type Args = u64;
    type Ret = u64;
}

fn main() {}
