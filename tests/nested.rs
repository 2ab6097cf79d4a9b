//! Nested event loops: what they run, what stands still, and where they are refused.

mod common;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{Signal, on_main, panic_of, yield_now};
use executor::async_fd::AsyncFd;
use executor::time::sleep;
use executor::{LocalExecutor, MainCx, NoCoroutine, block_on};

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
                    yield_now().await;
                }
            });
            yield_now().await;
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

#[test]
fn wait_while_runs_a_nested_loop_until_another_thread_kicks_it() {
    let flag = Arc::new(AtomicBool::new(false));
    let its_flag = Arc::clone(&flag);
    let looks = on_main(move |nc| {
        let setting = thread::spawn(move || {
            its_flag.store(true, Ordering::Release);
            executor::wait_kick();
        });
        let mut looks = 0;
        nc.wait_while(|_bql| {
            looks += 1;
            !flag.load(Ordering::Acquire)
        });
        setting.join().unwrap();
        looks
    });
    assert!(looks >= 1);
}

#[test]
fn main_tasks_stand_still_during_wait_while_and_go_on_afterwards() {
    on_main(|nc| {
        block_on(nc, async |cx: &MainCx| {
            let polls = Rc::new(Cell::new(0));
            let counting = Rc::clone(&polls);
            let task = cx.spawn(async move |_cx: &MainCx| {
                for _ in 0..1_000 {
                    counting.set(counting.get() + 1);
                    yield_now().await;
                }
            });
            let still = cx
                .run_in_bh(move |nc| {
                    let (before, mut rounds) = (polls.get(), 0);
                    nc.wait_while(|_bql| {
                        rounds += 1;
                        executor::wait_kick();
                        rounds < 10
                    });
                    polls.get() == before
                })
                .await
                .unwrap();
            task.await.unwrap();
            assert!(still, "a task of the main loop was polled in a nested loop");
        });
    });
}

#[test]
fn nested_loops_nest() {
    fn deeper(nc: &mut NoCoroutine, levels: u32) -> u32 {
        if levels == 0 {
            return 0;
        }
        let below = block_on(nc, async move |cx: &MainCx| {
            cx.run_in_bh(move |nc| deeper(nc, levels - 1)).await.unwrap()
        });
        below + 1
    }
    assert_eq!(on_main(|nc| deeper(nc, 20)), 20);
}

#[test]
fn a_nested_loop_serves_timers_and_fds_of_its_own_tasks() {
    use nix::sys::eventfd::{EfdFlags, EventFd};
    on_main(|nc| {
        block_on(nc, async |cx: &MainCx| {
            cx.run_in_bh(|nc| {
                block_on(nc, async |cx: &MainCx| {
                    let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap();
                    let fd = Rc::new(AsyncFd::new(event).unwrap());
                    let reading = Rc::clone(&fd);
                    let reader = cx.spawn(async move |_cx: &MainCx| {
                        reading.read_with(|event| event.read().map_err(Into::into)).await.unwrap()
                    });
                    sleep(Duration::from_millis(2)).await;
                    fd.get_ref().write(7).unwrap();
                    assert_eq!(reader.await.unwrap(), 7);
                });
            })
            .await
            .unwrap();
        });
    });
}

#[test]
fn what_a_nested_block_on_left_behind_goes_on_in_the_main_loop() {
    on_main(|nc| {
        block_on(nc, async |cx: &MainCx| {
            let left = cx
                .run_in_bh(|nc| {
                    let signal = Signal::new();
                    let its_signal = signal.clone();
                    block_on(nc, async |cx: &MainCx| {
                        cx.spawn(async move |_cx: &MainCx| {
                            sleep(Duration::from_millis(5)).await;
                            its_signal.set();
                        })
                        .detach();
                    });
                    signal
                })
                .await
                .unwrap();
            left.wait().await;
        });
    });
}

#[test]
fn a_future_of_a_nested_block_on_that_panics_unwinds_to_its_caller_alone() {
    on_main(|nc| {
        block_on(nc, async |cx: &MainCx| {
            let error = cx
                .run_in_bh(|nc| block_on(nc, async |_cx: &MainCx| panic!("inside")))
                .await
                .unwrap_err();
            assert!(error.to_string().ends_with("panicked: inside"), "{error}");
            assert_eq!(cx.run_in_bh(|nc| block_on(nc, async |_cx: &MainCx| 7)).await.unwrap(), 7);
        });
    });
}

#[test]
fn a_task_on_the_stack_is_not_polled_again() {
    // A destructor of an output runs a private loop: not inside a poll of that executor, but on top of it.
    let executor = Rc::new(LocalExecutor::new().unwrap());
    let polls = Rc::new(Cell::new(0));
    let (inner, counting) = (Rc::clone(&executor), Rc::clone(&polls));
    let task = executor.spawn(async move {
        counting.set(counting.get() + 1);
        let refused = panic_of(|| inner.run_once());
        assert!(refused.contains("nested event loop"), "{refused}");
        let waker = common::own_waker().await;
        waker.wake();
        assert_eq!(counting.get(), 1);
        yield_now().await;
    });
    executor.run(task).unwrap();
    assert_eq!(polls.get(), 1);
    assert_eq!(executor.stats().polls, 2);
}

#[test]
fn run_main_is_refused_inside_itself() {
    on_main(|nc| {
        let text = panic_of(|| executor::run_main(|_nc| ()));
        assert!(text.contains("`run_main` runs already"), "{text}");
        let text = nc.unlocked(|| panic_of(|| executor::run_main(|_nc| ())));
        assert!(text.contains("`run_main` runs already"), "{text}");
        block_on(nc, async |_cx: &MainCx| {
            let text = panic_of(|| executor::run_main(|_nc| ()));
            assert!(text.contains("`run_main` inside"), "{text}");
        });
    });
}

#[test]
fn run_main_is_refused_on_a_second_thread() {
    on_main(|_nc| ());
    let text = thread::spawn(|| panic_of(|| executor::run_main(|_nc| ()))).join().unwrap();
    assert!(text.contains("the main loop belongs to the thread"), "{text}");
}

#[test]
fn an_executor_of_the_main_loop_is_not_run_by_hand() {
    on_main(|_nc| {
        let executor = LocalExecutor::new().unwrap();
        for text in [panic_of(|| executor.run(async {})), panic_of(|| executor.run_once())] {
            assert!(text.contains("the main loop is run by `run_main`"), "{text}");
        }
    });
}

#[test]
fn run_main_runs_again_and_again() {
    for round in 0..3 {
        let slept = on_main(move |nc| {
            block_on(nc, async |_cx: &MainCx| {
                sleep(Duration::from_millis(1)).await;
                round
            })
        });
        assert_eq!(slept, round);
    }
}

#[test]
fn whoever_blocks_inside_wait_while_starts_a_nested_loop_too() {
    on_main(|nc| {
        let polls = Rc::new(Cell::new(0));
        let counting = Rc::clone(&polls);
        let ticking = nc.spawn(async move |_cx: &MainCx| {
            loop {
                counting.set(counting.get() + 1);
                yield_now().await;
            }
        });
        // Leaves a task in the executor that nested loops run, which blocks when it is told to.
        let (go, done) = (Signal::new(), Rc::new(Cell::new(false)));
        let (wait_for_go, set_done) = (go.clone(), Rc::clone(&done));
        block_on(nc, async |cx: &MainCx| {
            let leave = |nc: &mut NoCoroutine| {
                block_on(nc, async |cx: &MainCx| {
                    cx.spawn(async move |cx: &MainCx| {
                        wait_for_go.wait().await;
                        let sleeping = |nc: &mut NoCoroutine| {
                            block_on(nc, async |_cx: &MainCx| {
                                sleep(Duration::from_millis(2)).await;
                            });
                        };
                        cx.run_in_bh(sleeping).await.unwrap();
                        set_done.set(true);
                    })
                    .detach();
                });
            };
            cx.run_in_bh(leave).await.unwrap();
        });
        go.set();
        let before = polls.get();

        nc.wait_while(|_bql| !done.get());

        assert_eq!(polls.get(), before, "a task of the main loop was polled in a nested loop");
        ticking.abort();
    });
}
