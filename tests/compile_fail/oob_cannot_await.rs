//! Must not compile: an out-of-band command does not wait.

use std::time::Duration;

use executor::time::sleep;
use executor::OobContext;

fn command(oob: &OobContext) {
    sleep(Duration::ZERO).await;
    oob.schedule(|_nc| ());
}

fn main() {}
