//! Must not compile: a task's capability does not outlive the task.

use executor::{MainCx, NoCoroutine};

fn handler(nc: &NoCoroutine) {
    nc.spawn(async |cx: &MainCx| cx).detach();
}

fn main() {}
