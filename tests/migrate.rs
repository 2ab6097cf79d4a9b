//! Work that moves: to an iothread, to the main loop, and back.

mod common;

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{OnDrop, Signal, on_main, yield_now};
use executor::time::sleep;
use executor::{
    BqlCell, IoContext, IoCx, IoThread, LocalExecutor, MainCx, NoCoroutine, block_on, reschedule_to,
};

/// Runs a task of the main loop that has an iothread.
fn with_iothread<R: Send + 'static>(
    id: &'static str,
    task: impl AsyncFnOnce(&MainCx, IoContext) -> R + Send + 'static,
) -> R {
    on_main(move |nc| {
        let iothread = IoThread::create(nc, id).unwrap();
        let io = iothread.io();
        let result = block_on(nc, async |cx: &MainCx| task(cx, io).await);
        iothread.destroy(nc).unwrap();
        result
    })
}

#[test]
fn a_future_moves_before_its_first_poll_and_its_output_comes_back() {
    with_iothread("moves", async |_cx: &MainCx, io| {
        let here = thread::current().id();
        // The caller is not `Send`: it keeps an `Rc` across the await.
        let kept = Rc::new(7);
        let there = reschedule_to(&io, async {
            let first = thread::current().id();
            yield_now().await;
            assert_eq!(first, thread::current().id());
            first
        })
        .await
        .unwrap();
        assert_ne!(there, here);
        assert_eq!(thread::current().id(), here);
        assert_eq!(*kept, 7);
    });
}

#[test]
fn a_future_that_is_not_send_is_made_where_it_runs() {
    let sum = with_iothread("makes", async |_cx: &MainCx, io| {
        io.run(async |io: &IoCx| {
            let shared = Rc::new(Cell::new(0));
            let counting = Rc::clone(&shared);
            let child = io.spawn(async move |_io: &IoCx| {
                for _ in 0..10 {
                    counting.set(counting.get() + 1);
                    yield_now().await;
                }
                counting
            });
            child.await.unwrap().get()
        })
        .await
        .unwrap()
    });
    assert_eq!(sum, 10);
}

#[test]
fn a_named_async_function_moves_too() {
    async fn work(_io: &IoCx) -> u32 {
        yield_now().await;
        7
    }
    assert_eq!(with_iothread("named", async |_cx: &MainCx, io| io.run(work).await.unwrap()), 7);
}

#[test]
fn work_is_started_in_the_order_in_which_it_was_sent() {
    let order = with_iothread("order", async |_cx: &MainCx, io| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let sent: Vec<_> = (0..100)
            .map(|n| {
                let order = Arc::clone(&order);
                io.run(async move |_io: &IoCx| order.lock().unwrap().push(n))
            })
            .collect();
        for remote in sent {
            remote.await.unwrap();
        }
        Arc::into_inner(order).unwrap().into_inner().unwrap()
    });
    assert_eq!(order, (0..100).collect::<Vec<_>>());
}

#[test]
fn the_first_work_of_a_thread_is_not_overtaken_while_the_executor_is_made() {
    for _ in 0..30 {
        with_iothread("first", async |_cx: &MainCx, io| {
            let order = Arc::new(Mutex::new(Vec::new()));
            let sending: Vec<_> = (0..3)
                .map(|sender| {
                    let (io, order) = (io.clone(), Arc::clone(&order));
                    thread::spawn(move || {
                        for n in 0..20 {
                            let order = Arc::clone(&order);
                            io.run(async move |_io: &IoCx| order.lock().unwrap().push((sender, n)))
                                .detach();
                        }
                        io.run(async |_io: &IoCx| ())
                    })
                })
                .collect();
            for sender in sending {
                sender.join().unwrap().await.unwrap();
            }
            let order = std::mem::take(&mut *order.lock().unwrap());
            for sender in 0..3 {
                let own: Vec<_> =
                    order.iter().filter(|(s, _)| *s == sender).map(|(_, n)| *n).collect();
                assert_eq!(own, (0..20).collect::<Vec<_>>());
            }
        });
    }
}

#[test]
fn a_dropped_remote_cancels_and_the_future_is_dropped_over_there() {
    let (send, receive) = channel();
    with_iothread("drops", async move |_cx: &MainCx, io| {
        let started = Signal::new();
        let its_started = started.clone();
        let remote = io.run(async move |_io: &IoCx| {
            let here = thread::current().id();
            let _guard = OnDrop(move || send.send(thread::current().id() == here).unwrap());
            its_started.set();
            pending::<()>().await;
        });
        started.wait().await;
        drop(remote);
        assert!(receive.recv_timeout(Duration::from_secs(10)).unwrap());
    });
}

#[test]
fn work_whose_remote_is_dropped_at_once_never_starts_or_is_dropped() {
    let started = Arc::new(AtomicBool::new(false));
    let its_started = Arc::clone(&started);
    with_iothread("never", async |_cx: &MainCx, io| {
        // The iothread is kept busy, so the request waits.
        let (go, wait) = channel::<()>();
        let busy = io.run(async move |_io: &IoCx| wait.recv().unwrap());
        drop(io.run(async move |_io: &IoCx| its_started.store(true, Ordering::SeqCst)));
        go.send(()).unwrap();
        busy.await.unwrap();
        io.run(async |_io: &IoCx| ()).await.unwrap();
    });
    assert!(!started.load(Ordering::SeqCst));
}

#[test]
fn a_detached_remote_lets_the_work_finish() {
    let (send, receive) = channel();
    with_iothread("detached", async move |_cx: &MainCx, io| {
        io.run(async move |_io: &IoCx| {
            yield_now().await;
            send.send(7).unwrap();
        })
        .detach();
        assert_eq!(receive.recv_timeout(Duration::from_secs(10)).unwrap(), 7);
    });
}

#[test]
fn cancel_of_a_remote_waits_until_the_future_is_gone() {
    let dropped = Arc::new(AtomicBool::new(false));
    let its_dropped = Arc::clone(&dropped);
    with_iothread("cancel", async move |_cx: &MainCx, io| {
        let started = Signal::new();
        let its_started = started.clone();
        let remote = io.run(async move |_io: &IoCx| {
            let _guard = OnDrop(move || its_dropped.store(true, Ordering::SeqCst));
            its_started.set();
            pending::<()>().await;
        });
        started.wait().await;
        assert_eq!(remote.cancel().await, None);
        assert!(dropped.load(Ordering::SeqCst));

        let done = io.run(async |_io: &IoCx| 7);
        while !done.is_finished() {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(done.cancel().await, Some(7));
    });
}

#[test]
fn a_remote_is_awaited_on_any_executor() {
    with_iothread("any", async |_cx: &MainCx, io| {
        let remote = io.run(async |_io: &IoCx| 7);
        let elsewhere =
            thread::spawn(move || LocalExecutor::new().unwrap().run(remote)).join().unwrap();
        assert_eq!(elsewhere.unwrap(), 7);
    });
}

#[test]
fn an_iothread_calls_back_into_the_main_loop() {
    static COUNTER: BqlCell<u32> = BqlCell::new(0);
    with_iothread("back", async |cx: &MainCx, io| {
        let (here, main) = (thread::current().id(), cx.main());
        io.run(async move |_io: &IoCx| {
            let called = main
                .call(|nc: &mut NoCoroutine| {
                    COUNTER.set(nc, COUNTER.get(nc) + 1);
                    thread::current().id()
                })
                .await
                .unwrap();
            let ran = main
                .run(async |cx: &MainCx| {
                    yield_now().await;
                    cx.bql(|bql| COUNTER.set(bql, COUNTER.get(bql) + 1));
                    thread::current().id()
                })
                .await
                .unwrap();
            assert_eq!((called, ran), (here, here));
        })
        .await
        .unwrap();
        assert_eq!(cx.bql(|bql| COUNTER.get(bql)), 2);
    });
}

#[test]
fn calls_from_several_threads_are_each_made_once() {
    static COUNTER: BqlCell<usize> = BqlCell::new(0);
    on_main(|nc| {
        let main = nc.main();
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let main = main.clone();
                thread::spawn(move || {
                    for _ in 0..100 {
                        main.call(|nc| COUNTER.set(nc, COUNTER.get(nc) + 1)).detach();
                    }
                    main.call(|_nc| ())
                })
            })
            .collect();
        let last: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        block_on(nc, async |_cx: &MainCx| {
            for remote in last {
                remote.await.unwrap();
            }
        });
        assert_eq!(COUNTER.get(nc), 400);
    });
}

#[test]
fn a_chain_through_three_threads_comes_home() {
    on_main(|nc| {
        let (one, two) =
            (IoThread::create(nc, "one").unwrap(), IoThread::create(nc, "two").unwrap());
        let (first, second) = (one.io(), two.io());
        let path = block_on(nc, async |_cx: &MainCx| {
            first
                .run(async move |_io: &IoCx| {
                    let here = thread::current().id();
                    let there = second.run(async |_io: &IoCx| thread::current().id()).await;
                    vec![here, there.unwrap(), thread::current().id()]
                })
                .await
                .unwrap()
        });
        assert!(path[0] == path[2] && path[0] != path[1], "{path:?}");
        one.destroy(nc).unwrap();
        two.destroy(nc).unwrap();
    });
}

#[test]
fn a_task_that_is_spawned_from_elsewhere_is_made_and_polled_on_the_owner() {
    let executor = LocalExecutor::new().unwrap();
    let home = thread::current().id();
    let remote = executor.remote();
    let sent = thread::spawn(move || {
        remote.spawn_with(move || {
            assert_eq!(thread::current().id(), home);
            let local = Rc::new(RefCell::new(Vec::new()));
            async move {
                for n in 0..3 {
                    local.borrow_mut().push(n);
                    yield_now().await;
                }
                local.take()
            }
        })
    })
    .join()
    .unwrap();
    assert_eq!(executor.run(sent).unwrap(), [0, 1, 2]);
}

#[test]
fn the_tasks_of_an_iothread_are_listed_and_cancelled_from_here() {
    with_iothread("listed", async |_cx: &MainCx, io| {
        let line = line!() + 1;
        let remote = io.run(async |_io: &IoCx| pending::<()>().await);
        io.run(async |_io: &IoCx| ()).await.unwrap();
        let probe = io.probe().unwrap();
        let mut tasks = probe.tasks();
        // The second piece of work has answered, and may be about to go.
        tasks.retain(|task| task.label.spawned_at.line() == line);
        assert_eq!(tasks.len(), 1);
        assert_eq!(tasks[0].polls, 1);
        assert!(probe.cancel(tasks[0].label.id));
        assert!(remote.await.unwrap_err().is_cancelled());
    });
}

#[test]
fn iothreads_are_found_by_id_and_destroyed_once() {
    on_main(|nc| {
        let iothread = IoThread::create(nc, "found").unwrap();
        assert!(IoThread::create(nc, "found").is_err(), "the id is in use");
        assert!(IoThread::create(nc, "nul\0").is_err());
        let found = IoThread::by_id(nc, "found").unwrap();
        assert_eq!(found.id(), "found");
        assert_eq!(found.context(), iothread.context());
        iothread.destroy(nc).unwrap();
        assert!(IoThread::by_id(nc, "found").is_none());
        assert!(found.destroy(nc).is_err());
    });
}

#[test]
fn an_iothread_that_drops_its_own_last_reference_ends_on_the_main_loop() {
    on_main(|nc| {
        let iothread = IoThread::create(nc, "itself").unwrap();
        let (io, clone) = (iothread.io(), iothread.clone());
        let (gone, wait) = channel::<()>();
        let remote = io.run(async move |io: &IoCx| {
            wait.recv().unwrap();
            // Also with the lock, which makes it nobody's but the main loop's thread.
            io.lock_bql(|_| drop(clone));
            io.spawn(async |_: &IoCx| pending::<()>().await).await
        });
        iothread.destroy(nc).unwrap();
        gone.send(()).unwrap();
        let error = block_on(nc, async |_cx: &MainCx| remote.await.unwrap_err());
        assert!(error.is_cancelled(), "the thread has ended, and with it its tasks");
    });
}

#[test]
fn the_first_work_for_an_iothread_that_somebody_else_ended_is_refused() {
    on_main(|nc| {
        // As C code does it: nobody of ours destroys the thread, or has a reference when it ends.
        // SAFETY: the id is a string, and a null `errp` is allowed.
        let raw = unsafe { aio_sys::iothread_create(c"foreign".as_ptr(), std::ptr::null_mut()) };
        let io = IoThread::by_id(nc, "foreign").expect("it was just made").io();
        // SAFETY: it is in the registry.
        unsafe { aio_sys::iothread_destroy(raw) };
        let error = block_on(nc, async move |_: &MainCx| io.run(async |_: &IoCx| ()).await);
        assert!(error.unwrap_err().is_cancelled());
    });
}
