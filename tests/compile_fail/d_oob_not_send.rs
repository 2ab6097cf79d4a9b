//! An out-of-band handler is called by the thread that reads the monitor: what it captures must be `Send`.

use std::rc::Rc;

use executor::OobContext;
use executor::qmp::{Command, Oob, Registry};

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = Oob;
    type Args = u64;
    type Ret = u64;
}

fn register(registry: &mut Registry, limit: Rc<u64>) {
    registry.command::<Resize, _>(move |_: &OobContext, size: u64| Ok(size.min(*limit)));
}

fn main() {}
