//! Must not compile: the threads that share a cell take turns in owning its contents.

use std::rc::Rc;

use executor::BqlCell;

static SHARED: BqlCell<Option<Rc<u32>>> = BqlCell::new(None);

fn main() {}
