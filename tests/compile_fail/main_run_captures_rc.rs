//! Must not compile: what another thread sends to the main loop must be `Send`.

use std::rc::Rc;

use executor::{MainCx, MainHandle, Remote};

fn handler(main: &MainHandle, shared: Rc<u32>) -> Remote<u32> {
    main.run(async move |_cx: &MainCx| *shared)
}

fn main() {}
