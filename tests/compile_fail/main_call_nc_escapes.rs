//! Must not compile: the right to block is lent for the call alone.

use executor::MainHandle;

fn handler(main: &MainHandle) {
    main.call(|nc| nc).detach();
}

fn main() {}
