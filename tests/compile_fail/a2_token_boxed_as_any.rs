//! The right to move is not `'static`, so it cannot hide in a `Box<dyn Any>`.

use std::any::Any;

use executor::Migratable;

fn hide(m: &mut Migratable) -> Box<dyn Any> {
    Box::new(m)
}

fn main() {}
