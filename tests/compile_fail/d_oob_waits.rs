//! An out-of-band handler cannot wait for the main loop: it can only let it know.

use executor::qmp::Error;
use executor::{MainCx, OobContext, block_on};

fn resize(ox: &OobContext, size: u64) -> Result<u64, Error> {
    block_on(ox, async |_: &MainCx| ());
    Ok(size)
}

fn main() {}
