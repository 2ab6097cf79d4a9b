//! The inputs that fuzzing has kept, and those that once were a defect, through what the fuzz targets check.
//!
//! `.ci/run fuzz` looks for more of them.

#![allow(unreachable_pub, reason = "a crate of its own shares these modules")]

#[path = "conformance/aio.rs"]
mod aio;
#[path = "fuzz/src/fds.rs"]
mod fds;
#[path = "fuzz/src/json.rs"]
mod json;
#[path = "fuzz/src/program.rs"]
mod program;
#[path = "fuzz/src/session.rs"]
mod session;
#[path = "fuzz/src/tasks.rs"]
mod tasks;

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

/// Checks every input that a target has kept.
fn check_all(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the corpus is there") {
        let path = entry.expect("the entry is readable").path();
        let input = fs::read(&path).expect("the input is readable");
        assert!(catch_unwind(|| check(&input)).is_ok(), "{}", path.display());
        count += 1;
    }
    assert!(count > 10, "{count} inputs are no corpus");
}

#[test]
fn what_fuzzing_has_kept_of_json_is_read_as_serde_reads_it() {
    check_all("json", json::check);
}

#[test]
fn what_fuzzing_has_kept_of_sessions_is_answered_once() {
    check_all("session", session::check);
}

#[test]
fn what_fuzzing_has_kept_of_tasks_goes_as_the_model_says() {
    check_all("tasks", tasks::check);
}

#[test]
fn what_fuzzing_has_kept_of_fd_handlers_calls_what_is_registered_and_ready() {
    check_all("fds", fds::check);
}
