//! A result must have a place in JSON.

use std::time::Instant;

use executor::qmp::{Command, Coroutine};

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = Coroutine;
    type Args = u64;
    type Ret = Instant;
}

fn main() {}
