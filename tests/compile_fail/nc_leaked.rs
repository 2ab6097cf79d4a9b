//! Must not compile: the loan is shorter than the process, boxed and leaked or not.

use executor::NoCoroutine;

fn handler(nc: &mut NoCoroutine) -> &'static mut &'static mut NoCoroutine {
    Box::leak(Box::new(nc))
}

fn main() {}
