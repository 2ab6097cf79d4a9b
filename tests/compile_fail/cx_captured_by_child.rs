//! Must not compile: a child is lent a capability of its own.

use executor::MainCx;

async fn handler(cx: &MainCx) {
    cx.spawn(async move |_own: &MainCx| cx.bql(|_bql| ())).detach();
}

fn main() {}
