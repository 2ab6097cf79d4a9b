//! Scopes of the lock before and after an await, with guards, early returns and `?` inside.

use std::time::Duration;

use executor::time::sleep;
use executor::{BqlCell, BqlRefCell, MainCx, block_on, run_main};

static COUNT: BqlCell<u32> = BqlCell::new(0);
static NAMES: BqlRefCell<Vec<String>> = BqlRefCell::new(Vec::new());

async fn rename(cx: &MainCx, index: usize, to: &str) -> Result<String, String> {
    let old = cx.bql(|bql| {
        let names = NAMES.borrow(bql);
        let old = names.get(index).ok_or("no such name")?;
        COUNT.set(bql, COUNT.get(bql) + 1);
        Ok::<_, String>(old.clone())
    })?;
    sleep(Duration::ZERO).await;
    cx.bql(|bql| {
        let mut names = NAMES.borrow_mut(bql);
        let (first, rest) = names.split_first_mut().ok_or("all gone")?;
        *first = to.to_owned();
        drop(rest);
        Ok::<_, String>(())
    })?;
    Ok(old)
}

fn main() {
    run_main(|nc| {
        NAMES.borrow_mut(nc).push("old".into());
        block_on(nc, async |cx: &MainCx| {
            assert_eq!(rename(cx, 0, "new").await, Ok("old".into()));
            assert_eq!(rename(cx, 1, "new").await, Err("no such name".into()));
        });
        assert_eq!(NAMES.borrow(nc)[0], "new");
        assert_eq!(COUNT.get(nc), 1);
    });
}
