//! Several guards in one scope, witnesses passed on, and a guard that ends before a nested loop.

use executor::{Bql, BqlRefCell, MainCx, NoCoroutine, block_on, run_main};

static LEFT: BqlRefCell<u32> = BqlRefCell::new(1);
static RIGHT: BqlRefCell<u32> = BqlRefCell::new(2);

fn swap(bql: &Bql) {
    let mut left = LEFT.borrow_mut(bql);
    std::mem::swap(&mut *left, &mut RIGHT.borrow_mut(bql));
}

fn drain(nc: &mut NoCoroutine) -> u32 {
    let before = *LEFT.borrow(nc);
    nc.wait_while(|bql| {
        swap(bql);
        *LEFT.borrow(bql) == before
    });
    block_on(nc, async |_cx: &MainCx| ());
    before
}

fn main() {
    run_main(|nc| {
        swap(nc);
        assert_eq!(drain(nc), 2);
        let sum = block_on(nc, async |cx: &MainCx| {
            cx.bql(|bql| {
                let (left, right) = (LEFT.borrow(bql), RIGHT.borrow(bql));
                *left + *right + *LEFT.borrow(bql)
            })
        });
        assert_eq!(sum, 4);
        let drained = block_on(nc, async |cx: &MainCx| cx.run_in_bh(drain).await.unwrap());
        assert_eq!(drained, 1);
    });
}
