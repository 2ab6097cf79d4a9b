//! Fairness: whoever waits for the loop gets its turn.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use executor::{Budget, LocalExecutor};

/// A task that is always ready.
async fn storm() {
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        Poll::<()>::Pending
    })
    .await;
}

#[test]
fn a_request_from_elsewhere_is_served_under_the_smallest_budget() {
    for polls in 1..=40 {
        let executor = LocalExecutor::new().unwrap();
        executor.set_budget(Budget { polls, time: Duration::ZERO });
        executor.spawn(storm()).detach();
        let remote = executor.remote();

        let sent = std::thread::spawn(move || remote.spawn(async { 7 })).join().unwrap();

        assert_eq!(executor.run(sent).unwrap(), 7, "budget of {polls}");
    }
}
