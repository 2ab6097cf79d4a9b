//! Must not compile: the threads that share a cell take turns in owning its contents.

use std::rc::Rc;

use executor::BqlRefCell;

static SHARED: BqlRefCell<Option<Rc<u32>>> = BqlRefCell::new(None);

fn main() {}
