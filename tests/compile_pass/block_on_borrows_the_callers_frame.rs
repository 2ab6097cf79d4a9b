//! `block_on` waits, so its future may borrow from the caller, mutably too.

use executor::{MainCx, block_on, run_main};

fn main() {
    run_main(|nc| {
        let mut log = Vec::new();
        let words = ["one".to_owned(), "two".to_owned()];
        let total = block_on(nc, async |cx: &MainCx| {
            for word in &words {
                log.push(word.as_str());
                cx.spawn(async |_cx: &MainCx| ()).await.unwrap();
            }
            log.len()
        });
        assert_eq!(total, 2);
        assert_eq!(log, ["one", "two"]);
        nc.unlocked(|| log.clear());
        assert!(log.is_empty());
    });
}
