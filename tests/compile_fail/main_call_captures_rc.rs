//! Must not compile: what another thread sends to the main loop must be `Send`.

use std::rc::Rc;

use executor::{MainHandle, Remote};

fn handler(main: &MainHandle, shared: Rc<u32>) -> Remote<u32> {
    main.call(move |_nc| *shared)
}

fn main() {}
