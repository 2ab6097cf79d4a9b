//! Must not compile: a future that may outlive the task cannot use what the task was lent.

use executor::MainCx;

async fn handler(cx: &MainCx) {
    cx.spawn_future(async move { cx.bql(|_bql| ()) }).detach();
}

fn main() {}
