//! Must not compile: a task's capability cannot be kept for code outside of tasks.

use std::cell::OnceCell;

use executor::MainCx;

thread_local! {
    static KEPT: OnceCell<&'static MainCx> = const { OnceCell::new() };
}

async fn handler(cx: &MainCx) {
    KEPT.with(|kept| kept.set(cx).is_ok());
}

fn main() {}
