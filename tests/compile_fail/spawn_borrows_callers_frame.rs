//! Must not compile: a task outlives the code that spawns it.

use executor::MainCx;

async fn handler(cx: &MainCx) -> usize {
    let data = vec![1, 2, 3];
    cx.spawn(async |_cx: &MainCx| data.len()).await.unwrap()
}

fn main() {}
