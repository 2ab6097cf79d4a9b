//! A command cannot have two modes.

use executor::qmp::{Command, Coroutine, Oob};

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = Coroutine;
    type Mode = Oob;
    type Args = u64;
    type Ret = u64;
}

fn main() {}
