//! The Big QEMU Lock at run time: what the types cannot see is refused with the place that did it.

#![allow(
    clippy::await_holding_invalid_type,
    reason = "what the lint misses is what is tested here"
)]
#![allow(clippy::mem_forget, reason = "a leaked borrow is a case")]

mod common;

use std::cell::RefCell;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::{OnDrop, on_main, panic_of, yield_now};
use executor::bql::{is_locked, with_bql};
use executor::time::sleep;
use executor::{
    BqlCell, BqlRefCell, BqlRefMut, Context, IoCx, IoThread, LocalExecutor, MainCx, block_on,
};

static LIST: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

#[test]
fn a_task_that_suspends_with_a_borrow_fails_and_the_error_names_everything() {
    static CELL: BqlRefCell<u32> = BqlRefCell::new(0);
    on_main(|nc| {
        block_on(nc, async |cx: &MainCx| {
            let spawned = line!() + 1;
            let handle = cx.spawn_named("careless", async |_cx: &MainCx| {
                let _guard = CELL.borrow_mut_ambient();
                yield_now().await;
            });
            let error = handle.await.unwrap_err();
            assert!(error.is_panic());
            let text = error.to_string();
            assert!(
                text.contains(&format!("`careless` spawned at tests/bql.rs:{spawned}:")),
                "{text}"
            );
            assert!(text.contains("was suspended while a BqlRefCell is borrowed"), "{text}");
            assert!(text.contains(&format!("borrowed at tests/bql.rs:{}:", spawned + 1)), "{text}");
            assert!(cx.bql(|bql| CELL.try_borrow_mut(bql).is_ok()), "the borrow has ended");
            // The loop sleeps, which releases the lock.
            sleep(Duration::from_millis(1)).await;
        });
    });
}

#[test]
fn a_task_whose_output_is_a_borrow_fails_too() {
    static CELL: BqlRefCell<u32> = BqlRefCell::new(0);
    on_main(|nc| {
        block_on(nc, async |cx: &MainCx| {
            let handle = cx.spawn(async |_cx: &MainCx| CELL.borrow_ambient());
            let text = handle.await.unwrap_err().to_string();
            assert!(text.contains("while a BqlRefCell is borrowed"), "{text}");
            assert!(cx.bql(|bql| CELL.try_borrow_mut(bql).is_ok()));
        });
    });
}

#[test]
fn a_borrow_that_ends_before_the_suspension_is_no_fault() {
    static CELL: BqlRefCell<u32> = BqlRefCell::new(0);
    on_main(|nc| {
        block_on(nc, async |cx: &MainCx| {
            for _ in 0..3 {
                *CELL.borrow_mut_ambient() += 1;
                yield_now().await;
                cx.bql(|bql| *CELL.borrow_mut(bql) += 1);
            }
            assert_eq!(*CELL.borrow_ambient(), 6);
        });
    });
}

#[test]
fn a_cancelled_task_may_borrow_in_its_destructor() {
    static CELL: BqlRefCell<u32> = BqlRefCell::new(0);
    on_main(|nc| {
        block_on(nc, async |cx: &MainCx| {
            let handle = cx.spawn(async |_cx: &MainCx| {
                let _guard = OnDrop(|| *CELL.borrow_mut_ambient() += 1);
                pending::<()>().await;
            });
            yield_now().await;
            handle.cancel().await;
            assert_eq!(*CELL.borrow_ambient(), 1);
        });
    });
}

#[test]
fn the_future_of_a_block_on_that_suspends_with_a_borrow_panics_with_the_place() {
    static CELL: BqlRefCell<u32> = BqlRefCell::new(0);
    on_main(|nc| {
        let line = line!() + 3;
        let text = panic_of(|| {
            block_on(nc, async |_cx: &MainCx| {
                let _guard = CELL.borrow_ambient();
                yield_now().await;
            });
        });
        assert!(text.contains("the future of a `block_on` was suspended"), "{text}");
        assert!(text.contains(&format!("tests/bql.rs:{line}:")), "{text}");
        assert!(CELL.try_borrow_mut(nc).is_ok(), "unwinding has ended the borrow");
    });
}

#[test]
fn a_forgotten_borrow_aborts_with_a_sentence_that_names_the_task_and_the_place() {
    if common::is_child() {
        on_main(|nc| {
            block_on(nc, async |cx: &MainCx| {
                let forgetful = async |_cx: &MainCx| {
                    std::mem::forget(LIST.borrow_ambient());
                    yield_now().await;
                };
                cx.spawn_named("forgetful", forgetful).await.unwrap();
            });
        });
    }
    let said = common::abort_of(
        "a_forgotten_borrow_aborts_with_a_sentence_that_names_the_task_and_the_place",
    );
    assert!(said.contains("`forgetful` spawned at tests/bql.rs:"), "{said}");
    assert!(said.contains("borrowed at tests/bql.rs:"), "{said}");
    assert!(said.contains("the BQL can never be released again"), "{said}");
}

#[test]
fn nested_loops_and_unlocked_sections_are_refused_while_something_is_borrowed() {
    static CELL: BqlRefCell<u32> = BqlRefCell::new(0);
    on_main(|nc| {
        let line = line!() + 1;
        let guard = CELL.borrow_ambient();
        let texts = [
            panic_of(|| block_on(nc, async |_cx: &MainCx| ())),
            panic_of(|| nc.wait_while(|_bql| false)),
            panic_of(|| nc.unlocked(|| ())),
        ];
        for text in texts {
            assert!(text.contains("while a `BqlRefCell` is borrowed at"), "{text}");
            assert!(text.contains(&format!("tests/bql.rs:{line}:")), "{text}");
        }
        drop(guard);
        block_on(nc, async |_cx: &MainCx| ());
    });
}

#[test]
fn a_callback_that_comes_back_finds_the_cell_borrowed_and_learns_by_whom() {
    static CELL: BqlRefCell<u32> = BqlRefCell::new(0);
    // What C does when it calls back synchronously: code without the outer borrow in its hands.
    fn callback() -> String {
        panic_of(|| *CELL.borrow_mut_ambient() += 1)
    }
    on_main(|nc| {
        let line = line!() + 1;
        let text = CELL.with_mut(nc, |_value| callback());
        assert!(text.contains("mutably borrowed already"), "{text}");
        assert!(text.contains(&format!("tests/bql.rs:{line}:")), "{text}");
        assert_eq!(*CELL.borrow(nc), 0);
    });
}

#[test]
fn the_lock_is_not_taken_twice() {
    on_main(|nc| {
        let text = panic_of(|| with_bql(|_bql| ()));
        assert!(text.contains("holds the BQL already"), "{text}");
        nc.unlocked(|| with_bql(|_bql| assert!(is_locked())));
        assert!(is_locked());
    });
}

#[test]
fn unlocked_sections_take_the_lock_again_even_when_they_panic() {
    on_main(|nc| {
        let text = panic_of(|| {
            nc.unlocked(|| {
                assert!(!is_locked());
                panic!("inside");
            })
        });
        assert_eq!(text, "inside");
        assert!(is_locked());
    });
}

#[test]
fn tasks_are_polled_with_the_lock_and_iothreads_without() {
    on_main(|nc| {
        let iothread = IoThread::create(nc, "unlocked").unwrap();
        let io = iothread.io();
        block_on(nc, async |_cx: &MainCx| {
            assert!(is_locked());
            let there = io
                .run(async |io: &IoCx| {
                    let before = is_locked();
                    let inside = io.lock_bql(|bql| {
                        LIST.with(bql, Vec::len);
                        is_locked()
                    });
                    yield_now().await;
                    (before, inside, is_locked())
                })
                .await
                .unwrap();
            assert_eq!(there, (false, true, false));
            assert!(is_locked());
        });
        iothread.destroy(nc).unwrap();
    });
}

#[test]
fn threads_like_vcpus_share_cells_with_the_tasks_of_the_main_loop() {
    static COUNTER: BqlCell<u64> = BqlCell::new(0);
    static LOG: BqlRefCell<Vec<u64>> = BqlRefCell::new(Vec::new());
    const EACH: u64 = 300;
    on_main(|nc| {
        let finished = Arc::new(AtomicUsize::new(0));
        let vcpus: Vec<_> = (0..3)
            .map(|_| {
                let finished = Arc::clone(&finished);
                thread::spawn(move || {
                    for _ in 0..EACH {
                        with_bql(|bql| {
                            let number = COUNTER.get(bql);
                            LOG.borrow_mut(bql).push(number);
                            COUNTER.set(bql, number + 1);
                        });
                    }
                    finished.fetch_add(1, Ordering::SeqCst);
                })
            })
            .collect();
        block_on(nc, async |cx: &MainCx| {
            let mut tasks = 0;
            while finished.load(Ordering::SeqCst) < 3 {
                cx.bql(|bql| {
                    let number = COUNTER.get(bql);
                    LOG.borrow_mut(bql).push(number);
                    COUNTER.set(bql, number + 1);
                });
                tasks += 1;
                sleep(Duration::from_micros(50)).await;
            }
            let log = cx.bql(|bql| LOG.take(bql));
            assert_eq!(log, (0..3 * EACH + tasks).collect::<Vec<_>>());
        });
        vcpus.into_iter().for_each(|vcpu| vcpu.join().unwrap());
    });
}

#[test]
fn a_thread_that_attaches_to_the_main_loop_cannot_run_it_and_leaves_it_idle() {
    on_main(|nc| {
        let done = Arc::new(AtomicBool::new(false));
        let its_done = Arc::clone(&done);
        // As a vCPU thread could: it holds the lock, so the main loop's contexts count as its own.
        let vcpu = thread::spawn(move || {
            with_bql(|_bql| {
                for context in [Context::main(), Context::iohandler()] {
                    let executor = LocalExecutor::attach(&context);
                    executor.spawn(async {}).detach();
                    let text = panic_of(|| executor.run_once());
                    assert!(text.contains("the main loop is run by"), "{text}");
                }
            });
            its_done.store(true, Ordering::SeqCst);
        });
        block_on(nc, async |_cx: &MainCx| {
            while !done.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(1)).await;
            }
        });
        vcpu.join().unwrap();
    });
}

#[test]
fn a_borrow_that_is_kept_beyond_its_lock_is_refused_by_the_lock() {
    thread_local! {
        static KEPT: RefCell<Option<BqlRefMut<'static, u32>>> = const { RefCell::new(None) };
    }
    static CELL: BqlRefCell<u32> = BqlRefCell::new(0);
    if common::is_child() {
        with_bql(|_bql| KEPT.set(Some(CELL.borrow_mut_ambient())));
    }
    let said = common::abort_of("a_borrow_that_is_kept_beyond_its_lock_is_refused_by_the_lock");
    assert!(said.contains("the BQL cannot be released while a `BqlRefCell` is borrowed"), "{said}");
    assert!(said.contains("tests/bql.rs:"), "{said}");
}

#[test]
fn a_call_into_the_main_loop_that_leaves_a_borrow_behind_ends_with_its_place() {
    thread_local! {
        static KEPT: RefCell<Option<BqlRefMut<'static, u32>>> = const { RefCell::new(None) };
    }
    static CELL: BqlRefCell<u32> = BqlRefCell::new(0);
    if common::is_child() {
        on_main(|nc| {
            let main = nc.main();
            block_on(nc, async |_cx: &MainCx| {
                main.call(|_nc| KEPT.set(Some(CELL.borrow_mut_ambient()))).await.unwrap();
                sleep(Duration::from_millis(1)).await;
            });
        });
    }
    let said = common::abort_of(
        "a_call_into_the_main_loop_that_leaves_a_borrow_behind_ends_with_its_place",
    );
    assert!(said.contains("borrowed at tests/bql.rs:"), "{said}");
}

#[test]
fn cells_without_the_lock_are_refused_even_with_a_witness_from_elsewhere() {
    static CELL: BqlRefCell<u32> = BqlRefCell::new(0);
    let text = thread::spawn(|| panic_of(|| drop(CELL.borrow_ambient()))).join().unwrap();
    assert!(text.contains("does not hold the BQL"), "{text}");
    // In the unlocked section there is no witness; the ambient way is refused at run time.
    on_main(|nc| {
        let text = nc.unlocked(|| panic_of(|| drop(CELL.borrow_ambient())));
        assert!(text.contains("does not hold the BQL"), "{text}");
    });
}
