//! Jobs: what clients are told of commands that take long, from beginning to end.

#[allow(dead_code, reason = "the server's program uses the rest")]
#[path = "../examples/commands/mod.rs"]
mod commands;
#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/commands.rs"]
mod session;

use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;

use common::{Client, command_tasks, main_handle, on_main, wait_until};
use executor::qmp::{EventSink, JobStatus, Jobs};
use executor::{MainCx, block_on};
use serde_json::{Value, json};
use session::{TestFile, call, receive, send, start, task_id, tasks};

/// Longer than any test.
const ENDLESS: u64 = 1 << 40;
const NAME: &str = "x-file-checksum";

/// The jobs and what has become of them, as the events say.
fn changes(events: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("it is text").to_owned();
    let change = |event: &&Value| event["event"] == "JOB_STATUS_CHANGE";
    let changes = events.iter().filter(change).map(|event| &event["data"]);
    changes.map(|data| (text(&data["id"]), text(&data["status"]))).collect()
}

/// Waits until a job is no more; returns its changes.
fn wait_for_its_end(client: &mut Client<UnixStream>) -> Vec<(String, String)> {
    let mut events = Vec::new();
    while events.last().is_none_or(|event: &Value| event["data"]["status"] != "null") {
        events.push(client.receive());
    }
    changes(&events)
}

fn told(id: &str, statuses: &[&str]) -> Vec<(String, String)> {
    statuses.iter().map(|status| (id.to_owned(), (*status).to_owned())).collect()
}

#[test]
fn a_job_that_succeeds_goes_through_qemus_statuses_before_its_client_has_the_reply() {
    let file = TestFile::new(b"some bytes");
    let server = start();
    let (mut client, mut watcher) = (server.client(), server.client());

    let answer = call(&mut client, NAME, json!({"filename": file.path()}));

    let seen = changes(&answer.events);
    let id = seen.first().expect("it has begun").0.clone();
    let statuses = ["created", "running", "waiting", "pending", "concluded", "null"];
    assert_eq!(seen, told(&id, &statuses));
    assert_eq!(wait_for_its_end(&mut watcher), seen, "everybody is told");
    assert!(answer.value()["digest"].is_string());
    assert_eq!(call(&mut client, "query-jobs", json!({})).value(), json!([]));
}

/// What `query-jobs` has of the only job.
fn only_job(client: &mut Client<UnixStream>) -> Option<Value> {
    let jobs = call(client, "query-jobs", json!({})).value();
    let jobs = jobs.as_array().expect("it is a list");
    assert!(jobs.len() <= 1, "{jobs:?}");
    jobs.first().cloned()
}

#[test]
fn a_job_is_listed_with_its_progress_and_is_aborted_when_its_task_is_cancelled() {
    let file = TestFile::sparse(ENDLESS);
    let server = start();
    let (mut client, mut other) = (server.client(), server.client());
    send(&mut client, NAME, json!({"filename": file.path()}));
    wait_until("it has done something", || {
        only_job(&mut other).is_some_and(|job| job["current-progress"] != 0)
    });
    let task = task_id(&mut other, "qmp:x-file-checksum").expect("the command runs");
    let id = format!("{NAME}-{task}");

    let mut job = only_job(&mut other).expect("it is still there");
    let current = job["current-progress"].take().as_u64().expect("it is a number");
    let expected = json!({
        "id": id, "type": NAME, "status": "running", "current-progress": null,
        "total-progress": ENDLESS,
    });
    assert_eq!(job, expected);

    let listed = tasks(&mut other, "main");
    let listed = listed.iter().find(|listed| listed["id"] == task).expect("it is listed");
    let progress = &listed["progress"];
    assert_eq!((&progress["job"], &progress["total"]), (&json!(id), &json!(ENDLESS)));
    assert_eq!(progress["label"], format!("'{}'", file.path()));
    assert!(progress["current"].as_u64() >= Some(current), "{progress}");
    let table = commands::tasks::table();
    assert!(table.contains(&format!(" of {ENDLESS} done of '{}'", file.path())), "{table}");

    call(&mut other, "x-task-cancel", json!({"id": task})).value();
    let answer = receive(&mut client);
    assert_eq!(answer.error(), "The command was cancelled");
    let statuses = ["created", "running", "aborting", "concluded", "null"];
    assert_eq!(changes(&answer.events), told(&id, &statuses));
    assert_eq!(only_job(&mut other), None);
}

#[test]
fn a_job_that_fails_and_one_whose_client_goes_are_aborted() {
    let file = TestFile::sparse(ENDLESS);
    let server = start();
    let (mut client, mut other) = (server.client(), server.client());
    let statuses = ["created", "running", "aborting", "concluded", "null"];
    for goes in [false, true] {
        let mut watcher = server.client();
        send(&mut client, NAME, json!({"filename": file.path()}));
        wait_until("it runs", || only_job(&mut other).is_some());
        let id = only_job(&mut other).expect("it runs")["id"].as_str().expect("text").to_owned();
        if goes {
            client = server.client();
        } else {
            file.set_length(1);
            assert!(receive(&mut client).error().ends_with("The file has become shorter"));
            file.set_length(ENDLESS);
        }
        assert_eq!(wait_for_its_end(&mut watcher), told(&id, &statuses));
    }
    wait_until("the command has gone", || command_tasks() == 0);
}

/// Runs `scenario` as a task of the main loop, with jobs whose changes are returned.
fn with_jobs(
    panics: bool,
    scenario: impl AsyncFnOnce(&MainCx, &Jobs) + Send + 'static,
) -> Vec<(String, JobStatus)> {
    let changes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&changes);
    let jobs = Jobs::telling(move |change| {
        let change = (change.id.clone(), change.status);
        seen.lock().expect("nobody panics").push(change);
    });
    let task = async move |cx: &MainCx| scenario(cx, &jobs).await;
    let ended = futures::executor::block_on(main_handle().run(task));
    assert_eq!(ended.is_err(), panics);
    Arc::try_unwrap(changes).expect("the jobs are gone").into_inner().expect("nobody panics")
}

fn statuses(changes: &[(String, JobStatus)]) -> Vec<JobStatus> {
    changes.iter().map(|(_, status)| *status).collect()
}

const ABORTED: [JobStatus; 5] = [
    JobStatus::Created,
    JobStatus::Running,
    JobStatus::Aborting,
    JobStatus::Concluded,
    JobStatus::Null,
];

#[test]
fn a_job_of_a_task_that_panics_is_aborted() {
    let _turn = start();
    let changes = with_jobs(true, async |cx: &MainCx, jobs: &Jobs| {
        let _job = jobs.begin(cx, "x-test", "something", 1);
        panic!("as planned");
    });
    assert_eq!(statuses(&changes), ABORTED);
}

#[test]
fn progress_is_counted_and_listed_from_any_thread() {
    let _turn = start();
    let changes = with_jobs(false, async |cx: &MainCx, jobs: &Jobs| {
        let job = jobs.begin(cx, "x-test", "something", 0);
        let (progress, list) = (job.progress().clone(), jobs.clone());
        let counted = thread::spawn(move || {
            progress.set_total(1000);
            (0..500).for_each(|_| progress.advance(2));
            list.list()
        });
        let listed = counted.join().expect("it does not panic");
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].current, listed[0].total), (1000, 1000));
        assert_eq!((&*listed[0].id, listed[0].task), (job.id(), job.task()));
        assert_eq!(listed[0].id, format!("x-test-{}", job.task()));
        job.conclude();
        assert_eq!(jobs.list(), []);
    });
    assert_eq!(changes.len(), 6, "{changes:?}");
}

#[test]
fn two_jobs_of_a_kind_in_a_task_are_refused_and_the_first_goes_on() {
    let _turn = start();
    let changes = with_jobs(false, async |cx: &MainCx, jobs: &Jobs| {
        let first = jobs.begin(cx, "x-test", "one", 1);
        let other = jobs.begin(cx, "x-other", "another kind", 1);
        let again = catch_unwind(AssertUnwindSafe(|| jobs.begin(cx, "x-test", "two", 1)));
        let message = again.map(drop).expect_err("it panics");
        let message = message.downcast_ref::<String>().expect("it is a sentence");
        assert!(message.contains("the task has a job `x-test-"), "{message}");
        let labels: Vec<_> = jobs.list().into_iter().map(|job| job.label).collect();
        assert_eq!(labels, ["another kind", "one"]);
        first.conclude();
        other.conclude();
    });
    assert_eq!(changes.len(), 12, "{changes:?}");
}

#[test]
fn a_job_outside_of_tasks_is_refused() {
    let _turn = start();
    on_main(move |nc| {
        block_on(nc, async move |cx: &MainCx| {
            let jobs = Jobs::new(EventSink::new());
            let begun = catch_unwind(AssertUnwindSafe(|| jobs.begin(cx, "x-test", "", 0)));
            assert!(begun.is_err());
            assert_eq!(jobs.list(), []);
        });
    });
}
