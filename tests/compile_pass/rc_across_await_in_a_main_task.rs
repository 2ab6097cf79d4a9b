//! A task of the main loop need not be `Send`.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use executor::time::sleep;
use executor::{MainCx, block_on, run_main};

fn main() {
    let sum = run_main(|nc| {
        block_on(nc, async |cx: &MainCx| {
            let shared = Rc::new(RefCell::new(vec![1]));
            let its = Rc::clone(&shared);
            let child = cx.spawn(async move |_cx: &MainCx| {
                let kept = its;
                sleep(Duration::ZERO).await;
                kept.borrow_mut().push(2);
                kept
            });
            let same = child.await.unwrap();
            assert!(Rc::ptr_eq(&same, &shared));
            let sum: u32 = shared.borrow().iter().sum();
            sum
        })
    });
    assert_eq!(sum, 3);
}
