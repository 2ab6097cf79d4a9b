//! Must not compile: what runs outside of the task cannot use what the task was lent.

use executor::MainCx;

async fn handler(cx: &MainCx) {
    cx.run_in_bh(|nc| {
        cx.bql(|_bql| ());
        nc.unlocked(|| ());
    })
    .await
    .unwrap();
}

fn main() {}
