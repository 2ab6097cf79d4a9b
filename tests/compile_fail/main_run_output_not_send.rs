//! Must not compile: the output goes back to the caller's thread.

use std::rc::Rc;

use executor::{MainCx, MainHandle, Remote};

fn handler(main: &MainHandle) -> Remote<Rc<u32>> {
    main.run(async |_cx: &MainCx| Rc::new(7))
}

fn main() {}
