//! Must not compile: the loan cannot be hidden behind a type that forgets it.

use std::any::Any;

use executor::NoCoroutine;

fn handler(nc: &mut NoCoroutine) -> Box<dyn Any> {
    Box::new(nc)
}

fn main() {}
