//! A task's cell: futures and outputs of every shape, labels, counters, and when the future goes.

mod common;

use std::cell::Cell;
use std::collections::HashSet;
use std::future::{Future, pending, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use common::trace::Trace;
use common::{OnDrop, yield_now};
use executor::{JoinHandle, LocalExecutor, Stats};

#[test]
fn a_task_is_not_polled_before_the_loop_runs() {
    let executor = LocalExecutor::new().unwrap();
    let polled = Rc::new(Cell::new(false));
    let its_polled = Rc::clone(&polled);
    let handle = executor.spawn(async move { its_polled.set(true) });
    assert!(!polled.get() && !handle.is_finished());
    executor.run_once();
    assert!(polled.get() && handle.is_finished());
}

#[test]
fn the_future_is_gone_before_its_joiner_runs() {
    let executor = LocalExecutor::new().unwrap();
    let trace = Trace::new();
    let its_trace = trace.clone();
    let task = executor.spawn(async move {
        let _guard = OnDrop(|| its_trace.add("future dropped"));
        yield_now().await;
    });
    executor.run(async {
        task.await.unwrap();
        trace.add("joined");
    });
    assert_eq!(trace.take(), ["future dropped", "joined"]);
}

#[test]
fn an_output_lives_in_the_cell_until_it_is_taken() {
    let executor = LocalExecutor::new().unwrap();
    let output = Rc::new(7);
    let its_output = Rc::clone(&output);
    let handle = executor.spawn(async move { its_output });
    executor.run_once();
    assert_eq!(Rc::strong_count(&output), 2);
    let taken = executor.run(handle).unwrap();
    assert!(Rc::ptr_eq(&taken, &output));
    drop(taken);
    assert_eq!(Rc::strong_count(&output), 1);
}

/// A future of any size and alignment, whose output may be of another.
struct Shaped<F, T> {
    _field: F,
    output: Option<T>,
}

impl<F: Unpin, T: Unpin> Future for Shaped<F, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let place = std::ptr::from_ref(&*self).cast::<()>() as usize;
        assert_eq!(place % align_of::<Self>(), 0, "the future is aligned");
        cx.waker().wake_by_ref();
        self.output.take().map_or(Poll::Pending, Poll::Ready)
    }
}

#[repr(align(128))]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Aligned([u8; 3]);

fn check_shape<F: Unpin + 'static, T: Unpin + PartialEq + std::fmt::Debug + Copy + 'static>(
    executor: &LocalExecutor,
    make: impl Fn() -> F,
    output: T,
) {
    let spawn = |output| executor.spawn(Shaped { _field: make(), output });
    assert_eq!(executor.run(spawn(Some(output))).unwrap(), output);
    executor.spawn(Shaped { _field: make(), output: Some(output) }).detach();
    // An error takes the place of the future, and of the output that there is none of.
    let cancelled = spawn(None);
    executor.run_once();
    assert_eq!(executor.run(cancelled.cancel()), None);
}

#[test]
fn futures_and_outputs_of_every_size_and_alignment_fit() {
    let executor = LocalExecutor::new().unwrap();
    for _ in 0..3 {
        check_shape(&executor, || (), ());
        check_shape(&executor, || (), 7_u8);
        check_shape(&executor, || [0_u8; 1], [7_u64; 300]);
        check_shape(&executor, || [0_u8; 4_000], 7_u8);
        check_shape(&executor, || 0_u128, 7_u128);
        check_shape(&executor, || Aligned([1, 2, 3]), 7_u8);
        check_shape(&executor, || 0_u8, Aligned([1, 2, 3]));
        // The largest one that fits beside its output, and the smallest one that does not.
        check_shape(&executor, || [0_u8; 958], 7_u8);
        check_shape(&executor, || [0_u8; 959], 7_u8);
        check_shape(&executor, || 0_u8, [7_u8; 960]);
        check_shape(&executor, || 0_u8, [7_u8; 961]);
    }
    let smallest = executor.spawn(ready(()));
    executor.run(smallest).unwrap();
    let never: JoinHandle<std::convert::Infallible> = executor.spawn(pending());
    assert!(executor.run(never.cancel()).is_none());
    executor.shutdown();
    assert_eq!(executor.stats().live, 0);
}

#[test]
fn cells_of_every_size_are_reused_without_mixing() {
    fn sized<const N: usize>(executor: &LocalExecutor) {
        let handles: Vec<_> = (0..4_u8)
            .map(|n| {
                let bytes = [n; N];
                executor.spawn(async move {
                    yield_now().await;
                    bytes
                })
            })
            .collect();
        for (n, handle) in (0..4_u8).zip(handles) {
            assert_eq!(executor.run(handle).unwrap(), [n; N]);
        }
    }
    let executor = LocalExecutor::new().unwrap();
    for _ in 0..2 {
        sized::<1>(&executor);
        sized::<15>(&executor);
        sized::<16>(&executor);
        sized::<17>(&executor);
        sized::<100>(&executor);
        sized::<200>(&executor);
        sized::<210>(&executor);
        sized::<900>(&executor);
        sized::<1_000>(&executor);
    }
}

#[test]
fn ids_are_unique_across_executors_and_threads() {
    let ids_of = |count| {
        let executor = LocalExecutor::new().unwrap();
        (0..count).for_each(|_| executor.spawn(pending::<()>()).detach());
        let ids: Vec<u64> = executor.probe().tasks().iter().map(|task| task.label.id).collect();
        assert_eq!(ids.len(), count);
        ids
    };
    let other = std::thread::spawn(move || ids_of(1_500));
    let mut all = ids_of(1_500);
    all.extend(ids_of(10));
    all.extend(other.join().unwrap());
    let count = all.len();
    assert_eq!(all.into_iter().collect::<HashSet<_>>().len(), count);
}

#[test]
fn a_label_prints_the_name_if_there_is_one_and_the_place() {
    let executor = LocalExecutor::new().unwrap();
    executor.spawn_named("named", pending::<()>()).detach();
    executor.spawn(pending::<()>()).detach();
    let mut texts: Vec<_> =
        executor.probe().tasks().iter().map(|task| task.label.to_string()).collect();
    texts.sort_by_key(|text| !text.contains('`'));
    assert!(texts[0].contains(" `named` spawned at tests/task.rs:"), "{texts:?}");
    assert!(
        !texts[1].contains('`') && texts[1].contains(" spawned at tests/task.rs:"),
        "{texts:?}"
    );
}

#[test]
fn the_counters_add_up() {
    let executor = LocalExecutor::new().unwrap();
    let zero = executor.stats();
    assert_eq!(zero, Stats::default());
    executor.spawn(async { yield_now().await }).detach();
    executor.spawn(async { panic!("as planned") }).detach();
    executor.spawn(pending::<()>()).detach();
    executor.run_once();

    let now = executor.stats();

    assert_eq!((now.spawned, now.completed, now.live), (3, 2, 1));
    assert_eq!(now.polls, 4);
    assert_eq!(now.slices, 1);
    assert_eq!((now.requests, now.timers, now.fd_events), (0, 0, 0));
}
