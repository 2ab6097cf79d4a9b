//! Nested event loops: what they run, what stands still, and where they are refused.

mod common;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use common::{on_main, panic_of};
use executor::time::sleep;
use executor::{LocalExecutor, MainCx, block_on};

#[test]
fn a_block_on_inside_a_task_panics_with_the_tasks_name_and_spawn_site() {
    let executor = Rc::new(LocalExecutor::new().unwrap());
    let inner = Rc::clone(&executor);
    let line = line!() + 1;
    let handle = executor.spawn_named("outer", async move {
        inner.run(async {});
    });

    let error = executor.run(handle).unwrap_err().to_string();

    assert!(error.contains("a nested event loop was started inside task "), "{error}");
    assert!(error.contains(&format!("`outer` spawned at {}:{line}:", file!())), "{error}");
    assert!(error.contains("run_in_bh"), "it says what to do instead: {error}");
}

#[test]
fn a_run_inside_the_future_of_a_run_panics() {
    let executor = LocalExecutor::new().unwrap();

    let text = panic_of(|| executor.run(async { executor.run(async {}) }));

    assert!(text.contains("inside the future of a `block_on`"), "{text}");
    assert_eq!(executor.run(async { 1 }), 1, "the executor is as good as new");
}

#[test]
fn a_nested_block_on_runs_what_it_spawned_while_main_tasks_stand_still() {
    let (polled_inside, polled_after) = on_main(|nc| {
        block_on(nc, async |cx: &MainCx| {
            let polls = Rc::new(Cell::new(0));
            let counting = Rc::clone(&polls);
            let ticking = cx.spawn(async move |_cx: &MainCx| {
                loop {
                    counting.set(counting.get() + 1);
                    common::yield_now().await;
                }
            });
            common::yield_now().await;
            let inside = Rc::clone(&polls);
            let during = cx
                .run_in_bh(move |nc| {
                    let before = inside.get();
                    block_on(nc, async |cx: &MainCx| {
                        let child = cx.spawn(async |_cx: &MainCx| {
                            sleep(Duration::from_millis(5)).await;
                            7
                        });
                        assert_eq!(child.await.unwrap(), 7);
                    });
                    inside.get() - before
                })
                .await
                .unwrap();
            let before = polls.get();
            sleep(Duration::from_millis(1)).await;
            let after = polls.get() - before;
            ticking.cancel().await;
            (during, after)
        })
    });

    assert_eq!(polled_inside, 0, "a task of the main loop was polled in a nested loop");
    assert!(polled_after > 0);
}

#[test]
fn a_nested_block_on_can_leave_its_own_future_for_a_nested_loop() {
    let answer = on_main(|nc| {
        block_on(nc, async |cx: &MainCx| {
            cx.run_in_bh(|nc| {
                block_on(nc, async |cx: &MainCx| {
                    cx.run_in_bh(|nc| block_on(nc, async |_cx: &MainCx| 7)).await.unwrap()
                })
            })
            .await
            .unwrap()
        })
    });

    assert_eq!(answer, 7);
}
