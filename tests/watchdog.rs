//! The watchdog: who blocks a loop, and where, while it does.

use std::sync::LazyLock;
use std::sync::mpsc;
use std::time::Duration;

use executor::LocalExecutor;
use executor::observe::{Accounts, Watchdog, observe};

static ACCOUNTS: LazyLock<Accounts> = LazyLock::new(Accounts::new);

#[test]
fn the_watchdog_names_a_task_that_is_stuck_and_where_while_it_is() {
    #[inline(never)]
    fn block_in_the_middle_of_a_poll(until: &mpsc::Receiver<()>) {
        until.recv().expect("the watchdog has reported");
    }
    observe(&*ACCOUNTS);
    let executor = LocalExecutor::new().expect("there are file descriptors left");
    let (reported, report) = mpsc::channel();
    let (free, until) = mpsc::channel();
    let limit = Some(Duration::from_millis(10));
    let watchdog = Watchdog::start(&ACCOUNTS, limit, move |report| {
        let _more_than_one = reported.send(report.to_string());
        let _first = free.send(());
    });
    let watchdog = watchdog.expect("there are threads left");
    let task = executor.spawn_named("stuck", async move { block_in_the_middle_of_a_poll(&until) });
    executor.run(task).expect("it is let go");
    let text = report.recv().expect("it was reported before it ended");
    assert!(text.contains("`stuck` spawned at tests/watchdog.rs:"), "{text}");
    assert!(text.contains("block_in_the_middle_of_a_poll"), "{text}");
    watchdog.set_limit(None);
    assert_eq!(watchdog.limit(), None);
}
