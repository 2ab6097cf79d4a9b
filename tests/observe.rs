//! What observers get to see of executors.

mod common;

use std::collections::HashMap;
use std::future::{pending, poll_fn};
use std::sync::mpsc;
use std::sync::{LazyLock, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use common::chrome;
use executor::observe::{Accounts, ChromeTrace, Event, Observer, TaskState, What, observe};
use executor::{LocalExecutor, label};

/// Notes, per task, what happened, in words.
#[derive(Default)]
struct Notes(Mutex<HashMap<u64, Vec<String>>>);

impl Observer for Notes {
    fn observe(&self, event: &Event<'_>) {
        let word = match &event.what {
            What::Spawned { .. } => "spawned".to_owned(),
            What::PollEnds { outcome } => format!("{outcome:?}"),
            what => format!("{what:?}"),
        };
        self.0.lock().unwrap().entry(event.task).or_default().push(word);
    }
}

static NOTES: LazyLock<Notes> = LazyLock::new(Notes::default);
static ACCOUNTS: LazyLock<Accounts> = LazyLock::new(Accounts::new);

/// The tests of this file share the process, and so the observers; each has tasks of its own.
fn observed() -> LocalExecutor {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        observe(&*NOTES);
        observe(&*ACCOUNTS);
    });
    LocalExecutor::new().expect("there are file descriptors left")
}

fn notes_of(id: u64) -> Vec<String> {
    NOTES.0.lock().unwrap().get(&id).cloned().unwrap_or_default()
}

fn newest(executor: &LocalExecutor) -> u64 {
    executor.probe().tasks().iter().map(|task| task.label.id).max().expect("there is a task")
}

/// Lets everything that is ready run.
fn settle(executor: &LocalExecutor) {
    let mut before = None;
    while before.replace(executor.stats()) != Some(executor.stats()) {
        executor.run_once();
    }
}

#[test]
fn a_tasks_life_is_reported_in_order() {
    let executor = observed();
    let mut waker: Option<Waker> = None;
    let (send, receive) = mpsc::channel();
    let mut polls = 0;
    let task = executor.spawn(poll_fn(move |cx| {
        polls += 1;
        send.send(cx.waker().clone()).unwrap();
        if polls == 2 { Poll::Ready(()) } else { Poll::Pending }
    }));
    let id = newest(&executor);
    settle(&executor);
    assert_eq!(notes_of(id), ["spawned", "PollBegins", "Pending"]);
    waker.insert(receive.recv().unwrap()).wake_by_ref();
    settle(&executor);
    assert_eq!(notes_of(id)[3..], ["Ready", "PollBegins", "Completed"]);
    drop(task);
}

#[test]
fn a_wake_from_another_thread_is_reported_there_and_at_home() {
    let executor = observed();
    let (send, receive) = mpsc::channel();
    let _task = executor.spawn(poll_fn(move |cx| {
        send.send(cx.waker().clone()).unwrap();
        Poll::<()>::Pending
    }));
    let id = newest(&executor);
    settle(&executor);
    let waker = receive.recv().unwrap();
    thread::spawn(move || waker.wake()).join().unwrap();
    settle(&executor);
    assert_eq!(notes_of(id)[3..6], ["WokenElsewhere", "Ready", "PollBegins"]);
}

#[test]
fn panics_and_cancellations_are_reported_as_such() {
    let executor = observed();
    let panicking = executor.spawn(async { panic!("as planned") });
    let id = newest(&executor);
    let cancelled = executor.spawn(pending::<()>());
    let other = newest(&executor);
    settle(&executor);
    cancelled.abort();
    settle(&executor);
    assert_eq!(notes_of(id), ["spawned", "PollBegins", "Panicked"]);
    assert_eq!(notes_of(other)[3..], ["Ready", "PollBegins", "Cancelled"]);
    drop(panicking);
}

#[test]
fn accounts_know_who_spawned_a_task_and_what_it_does() {
    let executor = observed();
    let probe = executor.probe();
    let parent = executor.spawn({
        let spawner = executor.spawner();
        async move { spawner.spawn(pending::<()>()).await }
    });
    let parent_id = newest(&executor);
    assert_eq!(ACCOUNTS.task(parent_id).expect("it was spawned").state, TaskState::Ready);
    settle(&executor);
    let child = ACCOUNTS.task(newest(&executor)).expect("its parent has run");
    assert_eq!((child.parent, child.state), (parent_id, TaskState::Waiting));
    assert!(
        child.polled > Duration::ZERO && child.longest <= child.polled && child.polled <= child.age
    );
    assert_eq!(probe.tasks().len(), 2);
    drop(parent);
    drop(executor);
    assert!(ACCOUNTS.task(parent_id).is_none(), "who has ended has no account");
}

#[test]
fn labels_say_what_a_task_waits_for_the_innermost_first() {
    let executor = observed();
    let task = executor.spawn(label("outer", async {
        label("not even begun", async {}).await;
        label("inner", pending::<()>()).await;
    }));
    settle(&executor);
    let waits = |executor: &LocalExecutor| executor.probe().tasks()[0].waits_for.clone();
    assert_eq!(waits(&executor), ["inner", "outer"]);
    let id = newest(&executor);
    task.abort();
    settle(&executor);
    assert!(executor.probe().tasks().iter().all(|task| task.label.id != id));
}

#[test]
fn an_observer_that_panics_stops_nobody() {
    struct Panics;
    impl Observer for Panics {
        fn observe(&self, event: &Event<'_>) {
            if let What::Spawned { label, .. } = event.what {
                assert_ne!(label.name.as_deref(), Some("feared"), "as planned");
            }
        }
    }
    let executor = observed();
    observe(&Panics);
    let task = executor.spawn_named("feared", async { 7 });
    assert_eq!(executor.run(task).expect("it is not the task that panics"), 7);
}

#[test]
fn a_trace_is_json_with_a_slice_for_each_poll_and_an_arrow_for_each_wake() {
    let executor = observed();
    let path = std::env::temp_dir().join(format!("trace-{}.json", std::process::id()));
    let trace: &ChromeTrace = Box::leak(Box::new(ChromeTrace::create(&path).expect("a file")));
    observe(trace);
    let name = "quoted \" \\ \n";
    let waits = executor.spawn_named(name, common::yield_now());
    executor.run(waits).expect("it does not panic");
    trace.flush().expect("there is space left");
    let events = chrome::read(&path);
    let polls = chrome::select(&events, "B", name);
    assert_eq!(polls.len(), 2);
    let lane = &polls[0]["tid"];
    let here =
        |phase: &str| events.iter().filter(|e| e["tid"] == *lane && e["ph"] == phase).count();
    assert_eq!(here("B"), here("E"), "each slice ends");
    assert_eq!((here("s"), here("f")), (2, 2), "spawned, and woken once");
}
