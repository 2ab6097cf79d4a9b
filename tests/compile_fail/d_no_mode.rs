//! A command says how it runs: there is no default that could be wrong.

use executor::qmp::Command;

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Args = u64;
    type Ret = u64;
}

fn main() {}
