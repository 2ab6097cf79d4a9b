//! The probes for `bpftrace` and `SystemTap`, as the executable lists them.

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
    let contains = |text: &[u8]| program.windows(text.len()).any(|window| window == text);
    assert!(contains(b"stapsdt\0"));
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
        // Provider and name, each with its end, as the note has them.
        let listed = format!("executor\0{probe}\0");
        assert!(contains(listed.as_bytes()), "{probe}");
    }
}
