//! The probes for `bpftrace` and `SystemTap`, as the executable lists them.

use std::collections::BTreeSet;
use std::fs;

use executor::observe::{Usdt, observe};

static PROBES: Usdt = Usdt;

#[test]
fn the_executable_lists_each_probe_in_the_note_that_tools_read() {
    observe(&PROBES);
    let executor = executor::LocalExecutor::new().expect("there are file descriptors left");
    let task = executor.spawn(async { 7 });
    assert_eq!(executor.run(task).expect("it does not panic"), 7);

    let program = fs::read(std::env::current_exe().expect("a test has one")).expect("it is there");
    // A note has the provider and the name of a probe one after the other, each with its end.
    let texts = || program.split(|byte| *byte == 0);
    assert!(texts().any(|text| text.ends_with(b"stapsdt")));
    let pairs = texts().zip(texts().skip(1));
    let ours = pairs.filter(|(provider, _)| provider.ends_with(b"executor"));
    let listed: BTreeSet<&[u8]> = ours.map(|(_, probe)| probe).collect();
    for probe in [
        "task_spawned",
        "task_ready",
        "task_woken_elsewhere",
        "task_sent",
        "task_moved",
        "task_dropped",
        "poll_begin",
        "poll_end",
        "run_begin",
        "run_end",
        "bql_taken",
        "bql_released",
    ] {
        assert!(listed.contains(probe.as_bytes()), "{probe}");
    }
}
