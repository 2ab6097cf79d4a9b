//! Must not compile: the right to block is lent for the call alone.

use executor::MainCx;

async fn handler(cx: &MainCx) {
    let _nc = cx.run_in_bh(|nc| nc).await.unwrap();
}

fn main() {}
