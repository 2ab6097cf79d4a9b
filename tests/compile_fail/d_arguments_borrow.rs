//! The arguments outlive the request that they were parsed from, so they own what they have.

use executor::qmp::{Command, Coroutine};

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = Coroutine;
    type Args = &'static str;
    type Ret = u64;
}

fn main() {}
