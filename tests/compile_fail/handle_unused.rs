//! Must not compile: a handle that is dropped detaches: say so.

#![deny(unused_must_use)]

use executor::LocalExecutor;

fn handler(executor: &LocalExecutor) {
    executor.spawn(async {});
}

fn main() {}
