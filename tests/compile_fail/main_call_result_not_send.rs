//! Must not compile: the result goes back to the caller's thread.

use std::rc::Rc;

use executor::{MainHandle, Remote};

fn handler(main: &MainHandle) -> Remote<Rc<u32>> {
    main.call(|_nc| Rc::new(7))
}

fn main() {}
