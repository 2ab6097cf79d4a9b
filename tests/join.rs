//! Join handles: results, cancellation, detaching, and what they say about the task.

mod common;

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::task::Poll;

use common::trace::Trace;
use common::{OnDrop, Signal, panic_of, yield_now};
use executor::{JoinError, JoinHandle, LocalExecutor};
use futures_util::future::{Either, join_all, select};
use futures_util::task::{LocalSpawn, LocalSpawnExt};

#[test]
fn a_handle_gives_an_output_that_is_not_send() {
    let executor = LocalExecutor::new().unwrap();
    let handle = executor.spawn(async { Rc::new(7) });
    assert_eq!(*executor.run(handle).unwrap(), 7);
}

#[test]
fn a_dropped_handle_lets_the_task_run_on() {
    let executor = LocalExecutor::new().unwrap();
    let done = Rc::new(Cell::new(false));
    let its_done = Rc::clone(&done);
    drop(executor.spawn(async move {
        yield_now().await;
        its_done.set(true);
    }));

    executor.run(async {
        while !done.get() {
            yield_now().await;
        }
    });
}

#[test]
fn an_aborted_future_is_dropped_on_its_next_turn_and_not_inside_abort() {
    let executor = LocalExecutor::new().unwrap();
    let trace = Trace::new();
    let its_trace = trace.clone();
    let handle = executor.spawn(async move {
        let _guard = OnDrop(|| its_trace.add("dropped"));
        pending::<()>().await;
    });
    executor.run_once();

    handle.abort();
    trace.add("abort returned");
    executor.run_once();
    trace.add("one turn later");

    assert_eq!(trace.take(), ["abort returned", "dropped", "one turn later"]);
    assert!(executor.run(handle).unwrap_err().is_cancelled());
}

#[test]
fn cancel_gives_the_output_of_a_task_that_was_faster() {
    let executor = LocalExecutor::new().unwrap();
    let handle = executor.spawn(async { 7 });
    executor.run_once();
    assert_eq!(executor.run(handle.cancel()), Some(7));
}

#[test]
fn cancel_waits_for_a_destructor_that_takes_its_time() {
    let executor = Rc::new(LocalExecutor::new().unwrap());
    let dropped = Rc::new(Cell::new(false));
    let its_dropped = Rc::clone(&dropped);
    let handle = executor.spawn(async move {
        let _guard = OnDrop(move || its_dropped.set(true));
        pending::<()>().await;
    });
    executor.run_once();
    let seen = executor.run(async {
        handle.cancel().await;
        dropped.get()
    });
    assert!(seen);
}

#[test]
fn aborting_twice_and_after_completion_does_nothing() {
    let executor = LocalExecutor::new().unwrap();
    let handle = executor.spawn(async { 7 });
    executor.run_once();
    handle.abort();
    handle.abort();
    executor.run_once();
    assert_eq!(executor.run(handle).unwrap(), 7);
}

#[test]
fn a_task_can_abort_itself_and_is_dropped_when_it_yields() {
    let executor = LocalExecutor::new().unwrap();
    let own = Rc::new(RefCell::new(None::<JoinHandle<()>>));
    let (its_own, trace) = (Rc::clone(&own), Trace::new());
    let its_trace = trace.clone();
    *own.borrow_mut() = Some(executor.spawn(async move {
        let _guard = OnDrop(|| its_trace.add("dropped"));
        its_own.borrow().as_ref().unwrap().abort();
        its_trace.add("goes on");
        yield_now().await;
        its_trace.add("never");
    }));
    executor.run_once();
    executor.run_once();

    assert_eq!(trace.take(), ["goes on", "dropped"]);
    let handle = own.take().unwrap();
    assert!(executor.run(handle).unwrap_err().is_cancelled());
}

#[test]
fn a_task_that_awaits_its_own_handle_is_cancelled_with_the_executor() {
    let executor = LocalExecutor::new().unwrap();
    let own = Rc::new(RefCell::new(None::<JoinHandle<()>>));
    let its_own = Rc::clone(&own);
    let dropped = Rc::new(Cell::new(false));
    let its_dropped = Rc::clone(&dropped);
    *own.borrow_mut() = Some(executor.spawn(async move {
        let _guard = OnDrop(move || its_dropped.set(true));
        let handle = its_own.take().unwrap();
        let _never = handle.await;
    }));
    executor.run_once();
    assert!(!dropped.get());

    assert!(executor.shutdown().is_empty());

    assert!(dropped.get());
}

#[test]
fn a_handle_that_is_polled_after_it_was_ready_panics() {
    let executor = LocalExecutor::new().unwrap();
    let mut handle = executor.spawn(async { 7 });
    executor.run(async {
        assert_eq!((&mut handle).await.unwrap(), 7);
    });
    let text = panic_of(|| executor.run(&mut handle).is_ok());
    assert!(text.contains("polled after it was ready"), "{text}");
}

#[test]
fn handles_compose_with_the_futures_of_others() {
    let executor = LocalExecutor::new().unwrap();
    let handles: Vec<_> = (0..50)
        .map(|n| {
            executor.spawn(async move {
                for _ in 0..n % 7 {
                    yield_now().await;
                }
                n
            })
        })
        .collect();
    let sum: i32 = executor.run(join_all(handles)).into_iter().map(Result::unwrap).sum();
    assert_eq!(sum, 1225);

    let never = executor.spawn(pending::<()>());
    let once = executor.spawn(async { 7 });
    let Either::Right((first, _never)) = executor.run(select(never, once)) else {
        panic!("the other one never ends");
    };
    assert_eq!(first.unwrap(), 7);
}

#[test]
fn a_spawner_that_others_know_spawns_here() {
    let executor = LocalExecutor::new().unwrap();
    let spawner = executor.spawner();
    let signal = Signal::new();
    let its_signal = signal.clone();
    spawner.spawn_local(async move { its_signal.set() }).unwrap();
    executor.run(signal.wait());

    executor.shutdown();

    assert!(spawner.status_local().is_err());
    assert!(spawner.spawn_local(async {}).is_err());
}

#[test]
fn the_error_names_the_task_and_the_line_that_spawned_it() {
    let executor = LocalExecutor::new().unwrap();
    let line = line!() + 1;
    let handle = executor.spawn_named("worker", async { panic!("as {}", "planned") });
    let error: JoinError = executor.run(handle).unwrap_err();

    let text = error.to_string();
    assert!(text.contains(&format!("`worker` spawned at {}:{line}:", file!())), "{text}");
    assert!(text.ends_with("panicked: as planned"), "{text}");
    assert_eq!(format!("{error:?}"), format!("JoinError({text})"));
    let payload = error.into_panic().unwrap();
    assert_eq!(common::message(&*payload), "as planned");
}

#[test]
fn the_error_of_a_cancelled_task_has_no_panic_to_give() {
    let executor = LocalExecutor::new().unwrap();
    let handle = executor.spawn(pending::<()>());
    handle.abort();
    let error = executor.run(handle).unwrap_err();
    assert!(error.is_cancelled() && !error.is_panic());
    assert!(error.into_panic().unwrap_err().is_cancelled());
}

#[test]
fn a_probe_lists_the_tasks_and_cancels_them_from_another_thread() {
    let executor = LocalExecutor::new().unwrap();
    let handle = executor.spawn_named("stuck", pending::<()>());
    executor.spawn(async {}).detach();
    executor.run_once();
    let probe = executor.probe();

    let cancelled = std::thread::spawn(move || {
        let tasks = probe.tasks();
        assert_eq!(tasks.len(), 1, "{tasks:?}");
        assert_eq!(tasks[0].label.name.as_deref(), Some("stuck"));
        assert_eq!(tasks[0].polls, 1);
        assert!(!probe.cancel(u64::MAX));
        probe.cancel(tasks[0].label.id)
    });

    assert!(cancelled.join().unwrap());
    assert!(executor.run(handle).unwrap_err().is_cancelled());
    assert!(executor.probe().tasks().is_empty());
}

#[test]
fn a_message_from_the_destructor_of_a_detached_output_names_its_own_task() {
    let executor = Rc::new(LocalExecutor::new().unwrap());
    let (inner, text) = (Rc::downgrade(&executor), Rc::new(RefCell::new(String::new())));
    let its_text = Rc::clone(&text);
    executor
        .spawn_named("first", async move {
            OnDrop(move || {
                let executor = inner.upgrade().unwrap();
                executor.spawn_named("second", async {}).detach();
                *its_text.borrow_mut() = panic_of(|| executor.run(async {}));
            })
        })
        .detach();
    executor.run_once();
    assert!(text.borrow().contains("`first`"), "{}", text.borrow());
}

#[test]
fn tens_of_thousands_of_tasks_reuse_memory_and_all_end() {
    let executor = LocalExecutor::new().unwrap();
    for _ in 0..3 {
        let signal = Signal::new();
        let handles: Vec<_> = (0..10_000_usize)
            .map(|n| {
                let signal = signal.clone();
                executor.spawn(async move {
                    signal.wait().await;
                    n
                })
            })
            .collect();
        // The signal keeps one waker: one task completes, the others are cancelled.
        executor.run_once();
        signal.set();
        for handle in &handles {
            handle.abort();
        }
        let done = executor.run(join_all(handles));
        assert!(done.iter().all(|r| r.as_ref().map_or_else(JoinError::is_cancelled, |_| true)));
    }
    assert_eq!(executor.stats().spawned, 30_000);
    assert_eq!(executor.stats().live, 0);
}

#[test]
fn a_future_that_must_not_move_is_polled_and_dropped_in_one_place() {
    let executor = LocalExecutor::new().unwrap();
    let handle = executor.spawn(async {
        let local = [1_u8; 64];
        let borrowed = &local;
        let before = borrowed.as_ptr();
        yield_now().await;
        assert_eq!(before, local.as_ptr());
        let address = poll_fn(|_| Poll::Ready(borrowed.as_ptr())).await;
        address == before
    });
    assert!(executor.run(handle).unwrap());
}
