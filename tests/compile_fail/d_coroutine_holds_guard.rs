//! A `Coroutine` handler cannot keep a borrow of BQL data across an `.await`.

use std::time::Duration;

use executor::qmp::{Command, Coroutine, Error, Registry};
use executor::time::sleep;
use executor::{BqlRefCell, MainCx};

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = Coroutine;
    type Args = u64;
    type Ret = u64;
}

static SIZES: BqlRefCell<Vec<u64>> = BqlRefCell::new(Vec::new());

async fn resize(cx: &MainCx, size: u64) -> Result<u64, Error> {
    let mut sizes = cx.bql(|bql| SIZES.borrow_mut(bql));
    sleep(Duration::from_secs(1)).await;
    sizes.push(size);
    Ok(size)
}

fn register(registry: &mut Registry) {
    registry.command::<Resize, _>(resize);
}

fn main() {}
