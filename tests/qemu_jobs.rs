//! What QEMU's monitors and our server say of our commands that take long.
//!
//! See `common/qemu.rs` for which QEMUs are tested.

#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/qemu_block.rs"]
mod disks;
#[path = "common/qemu.rs"]
mod qemu;

use disks::{CHECKSUM, HELD, Images, node};
use qemu::{Monitor, error, with_each_qemu};
use serde_json::{Value, json};

/// Waits until a job is no more; returns its id and its statuses, in their order.
fn wait_for_its_end(monitor: &mut Monitor) -> (String, Vec<String>) {
    let text = |value: &Value| value.as_str().expect("it is text").to_owned();
    let (mut ids, mut statuses) = (Vec::new(), Vec::new());
    while statuses.last().is_none_or(|status| status != "null") {
        let event = monitor.wait_for_event("JOB_STATUS_CHANGE");
        ids.push(text(&event["data"]["id"]));
        statuses.push(text(&event["data"]["status"]));
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    (ids.remove(0), statuses)
}

const SUCCEEDS: [&str; 6] = ["created", "running", "waiting", "pending", "concluded", "null"];

#[test]
fn whoever_listens_hears_of_a_job_wherever_it_was_asked_for() {
    let images = Images::new();
    with_each_qemu(|program| {
        let qemu = images.start(program, &[]);
        let (mut first, mut ours) = (qemu.first(), qemu.ours());
        let mut ids = Vec::new();
        for asked in [&mut first, &mut ours] {
            let mut watchers = [qemu.second(), qemu.ours()];
            asked.ok(CHECKSUM, &node("disk"));
            let [theirs, ours] = watchers.each_mut().map(wait_for_its_end);
            assert_eq!(theirs, ours);
            assert_eq!(theirs.1, SUCCEEDS);
            assert!(theirs.0.starts_with("x-blockdev-checksum-"), "{}", theirs.0);
            ids.push(theirs.0);
        }
        assert_ne!(ids[0], ids[1]);
        // The one that has asked has heard before it had the reply: there is nothing left.
        ours.send("query-jobs", &json!({}));
        assert_eq!(ours.receive_line(), json!({ "return": [] }));
        ours.ok("quit", &json!({}));
        qemu.expect_success();
    });
}

#[test]
fn a_job_shows_how_far_it_has_come_and_is_aborted_when_it_is_cancelled() {
    let images = Images::new();
    with_each_qemu(|program| {
        let qemu = images.start(program, &[]);
        let (mut ours, mut observer, mut theirs) = (qemu.ours(), qemu.ours(), qemu.second());
        let mut arguments = node("disk");
        arguments["speed"] = json!(HELD);
        ours.send(CHECKSUM, &arguments);
        let begun = theirs.wait_for_event("JOB_STATUS_CHANGE");
        assert_eq!(begun["data"]["status"], "created");

        let tasks = observer.ok("x-query-tasks", &json!({}));
        let mut jobs = tasks.as_array().expect("it is a list").iter();
        let task = jobs.find(|task| task["progress"].is_object()).expect("a task has a job");
        let progress = &task["progress"];
        assert_eq!(progress["job"], format!("{CHECKSUM}-{}", task["id"]));
        assert_eq!(
            (&progress["label"], &progress["total"]),
            (&json!("disk"), &json!(disks::LENGTH))
        );
        assert!(progress["current"].as_u64() < progress["total"].as_u64(), "{progress}");

        observer.ok("x-task-cancel", &json!({ "id": task["id"] }));
        assert_eq!(ours.receive(), error("The command was cancelled"));
        let (id, statuses) = wait_for_its_end(&mut theirs);
        assert_eq!(id, progress["job"]);
        assert_eq!(statuses, ["running", "aborting", "concluded", "null"]);
        observer.ok("quit", &json!({}));
        qemu.expect_success();
    });
}
