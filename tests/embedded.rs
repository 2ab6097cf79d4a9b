//! The main loop below a loop that is not ours: `MainLoop`, driven by `poll()`.

mod common;
#[path = "common/poll_host.rs"]
mod poll_host;

use std::cell::Cell;
use std::io::{Read, Write};
use std::os::unix::net;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use common::{Signal, in_main_thread, own_waker, panic_of, yield_now};
use executor::clock::{Clock, pause_virtual, resume_virtual};
use executor::net::UnixStream;
use executor::time::{sleep, sleep_on};
use executor::{
    BqlCell, IoThread, MainCx, MainHandle, MainLoop, NoCoroutine, block_on, bql, reschedule_to,
};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use poll_host::{FOR_EVER, drive, is_readable, main_loop, settle};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A task that waits for a signal, and has been polled for the first time.
fn waiting(main: &mut MainLoop) -> (Signal, executor::JoinHandle<()>) {
    let signal = Signal::new();
    let its = signal.clone();
    let task = main.enter(|nc| nc.spawn(async move |_: &MainCx| its.wait().await));
    settle(main);
    assert!(!task.is_finished() && main.prepare().is_none());
    (signal, task)
}

#[test]
fn a_host_that_only_watches_the_descriptor_is_woken_for_timers_in_time_and_no_more_often() {
    in_main_thread(|| {
        let mut main = main_loop();
        let begun = Instant::now();
        let task = main.enter(|nc| {
            nc.spawn(async |_: &MainCx| {
                for _ in 0..3 {
                    sleep(ms(10)).await;
                }
                sleep_on(Clock::Virtual, ms(10)).await;
                sleep_on(Clock::Host, ms(10)).await;
            })
        });
        let wake_ups = drive(&mut main, || task.is_finished());
        assert!(begun.elapsed() >= ms(50), "a sleep ended early");
        assert!(wake_ups <= 12, "{wake_ups} wake-ups for one spawn and five timers");
    });
}

#[test]
fn prepare_says_how_long_nothing_is_due() {
    in_main_thread(|| {
        let mut main = main_loop();
        assert_eq!(main.prepare(), None, "nothing to wait for");
        let task = main.enter(|nc| nc.spawn(async |_: &MainCx| sleep(ms(60_000)).await));
        assert_eq!(main.prepare(), Some(Duration::ZERO), "a task is ready");
        settle(&mut main);
        let timeout = main.prepare().expect("a timer is armed");
        assert!(timeout > ms(50_000) && timeout <= ms(60_000), "{timeout:?}");
        task.detach();
        let handle = main.enter(|nc| nc.main());
        thread::spawn(move || handle.call(|_| ()).detach()).join().unwrap();
        assert_eq!(main.prepare(), Some(Duration::ZERO), "somebody has rung");
        settle(&mut main);
        assert!(main.prepare() > Some(ms(50_000)));
    });
}

#[test]
fn the_guests_clock_is_waited_for_while_it_runs() {
    in_main_thread(|| {
        let mut main = main_loop();
        let task =
            main.enter(|nc| nc.spawn(async |_: &MainCx| sleep_on(Clock::Virtual, ms(1)).await));
        main.enter(|nc| pause_virtual(nc));
        settle(&mut main);
        assert!(!is_readable(&main, 20), "the guest is paused");
        assert!(!task.is_finished());
        main.enter(|nc| resume_virtual(nc));
        drive(&mut main, || task.is_finished());
    });
}

#[test]
fn an_idle_main_loop_leaves_its_host_asleep() {
    in_main_thread(|| {
        let mut main = main_loop();
        let (signal, task) = waiting(&mut main);
        let (ours, _theirs) = net::UnixStream::pair().unwrap();
        let reading = main.enter(|nc| {
            nc.spawn(async move |_: &MainCx| {
                let mut stream = UnixStream::from_std(ours).unwrap();
                stream.read(&mut [0]).await.unwrap()
            })
        });
        settle(&mut main);
        assert!(!is_readable(&main, 50), "there is nothing to do");
        // A call too many does no harm, and makes nothing to do.
        main.dispatch();
        main.enter(|_| ());
        assert!(!is_readable(&main, 50), "there is nothing to do");
        assert!(!task.is_finished() && !reading.is_finished());
        signal.set();
        drive(&mut main, || task.is_finished());
    });
}

#[test]
fn descriptors_of_tasks_are_served() {
    in_main_thread(|| {
        let mut main = main_loop();
        let (ours, mut theirs) = net::UnixStream::pair().unwrap();
        let task = main.enter(|nc| {
            nc.spawn(async move |_: &MainCx| {
                let mut stream = UnixStream::from_std(ours).unwrap();
                let mut byte = [0];
                while stream.read(&mut byte).await.unwrap() > 0 {
                    stream.write_all(&[byte[0] + 1]).await.unwrap();
                }
            })
        });
        let client = thread::spawn(move || {
            let mut byte = [0];
            for _ in 0..100 {
                theirs.write_all(&byte).unwrap();
                theirs.read_exact(&mut byte).unwrap();
            }
            byte[0]
        });
        drive(&mut main, || task.is_finished());
        assert_eq!(client.join().unwrap(), 100);
    });
}

/// What makes a ring, from another thread.
type Ring = Box<dyn FnOnce(MainHandle, Waker) + Send>;

#[test]
fn no_ring_between_prepare_and_the_hosts_sleep_is_lost_whatever_rings_and_whatever_came_between() {
    let rings: [fn() -> Ring; 3] = [
        || Box::new(|_, waker| waker.wake()),
        || Box::new(|main, waker| main.call(move |_| waker.wake()).detach()),
        || Box::new(|main, waker| main.run(async move |_: &MainCx| waker.wake()).detach()),
    ];
    // A turn of the main loop that sleeps by itself takes its announcement back when it ends.
    let between: [fn(&mut MainLoop); 5] = [
        |_| (),
        |main| main.enter(|_| ()),
        |main| main.dispatch(),
        |main| main.enter(|nc| block_on(nc, async |_: &MainCx| sleep(ms(1)).await)),
        |main| {
            let panic = panic_of(|| main.enter(|_| panic!("a host may fail")));
            assert_eq!(panic, "a host may fail");
        },
    ];
    in_main_thread(move || {
        let mut main = main_loop();
        for ring in rings {
            for first in between {
                for then in between {
                    let waker = Rc::new(Cell::new(None));
                    let gives = Rc::clone(&waker);
                    let task = main.enter(|nc| {
                        nc.spawn(async move |_: &MainCx| {
                            gives.set(Some(own_waker().await));
                            yield_once().await;
                        })
                    });
                    drive(&mut main, || {
                        let given = waker.take();
                        let was = given.is_some();
                        waker.set(given);
                        was
                    });
                    settle(&mut main);
                    assert_eq!(main.prepare(), None);
                    first(&mut main);
                    let (ring, handle) = (ring(), main.enter(|nc| nc.main()));
                    let waker = waker.take().unwrap();
                    then(&mut main);
                    thread::spawn(move || ring(handle, waker)).join().unwrap();
                    drive(&mut main, || task.is_finished());
                }
            }
        }
    });
}

/// Pending once, without a wake of its own.
async fn yield_once() {
    let mut first = true;
    std::future::poll_fn(|_| {
        if std::mem::take(&mut first) {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
}

#[test]
fn no_wake_up_is_lost_in_a_storm_of_them_and_none_comes_from_nowhere() {
    const THREADS: usize = 3;
    const ROUNDS: usize = 700;
    in_main_thread(|| {
        let mut main = main_loop();
        let (handle, ended) = (main.enter(|nc| nc.main()), Arc::new(AtomicUsize::new(0)));
        let threads = [(); THREADS].map(|()| {
            let (handle, ended) = (handle.clone(), Arc::clone(&ended));
            thread::spawn(move || {
                // Each round waits for its answer, so that one lost ring is the end of it.
                let (answer, answered) = channel();
                for round in 0..ROUNDS {
                    let answer = answer.clone();
                    let task = async move |_: &MainCx| answer.send(round).unwrap();
                    handle.run(task).detach();
                    assert_eq!(answered.recv().unwrap(), round);
                }
                ended.fetch_add(1, Ordering::SeqCst);
                handle.call(|_| ()).detach();
            })
        });
        let wake_ups = drive(&mut main, || ended.load(Ordering::SeqCst) == THREADS);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        // A ring may come while the work it is for is being done already.
        assert!(wake_ups <= 4 * THREADS * ROUNDS, "{wake_ups} wake-ups");
        settle(&mut main);
        assert!(!is_readable(&main, 20), "there is nothing to do");
    });
}

#[test]
fn the_host_may_wake_tasks_itself_and_be_told_at_once() {
    in_main_thread(|| {
        let mut main = main_loop();
        let (signal, task) = waiting(&mut main);
        signal.set();
        assert_eq!(main.prepare(), Some(Duration::ZERO));
        assert!(is_readable(&main, 0));
        main.dispatch();
        assert!(task.is_finished());
        settle(&mut main);
        let (_signal, task) = waiting(&mut main);
        task.abort();
        assert!(is_readable(&main, 0));
        drive(&mut main, || task.is_finished());
    });
}

#[test]
fn work_goes_to_an_iothread_and_comes_back() {
    in_main_thread(|| {
        let mut main = main_loop();
        let io0 = main.enter(|nc| IoThread::create(nc, "io0").unwrap());
        let io = io0.io();
        let home = thread::current().id();
        let task = main.enter(|nc| {
            nc.spawn(async move |_: &MainCx| {
                for _ in 0..100 {
                    let there = reschedule_to(&io, async { thread::current().id() }).await.unwrap();
                    assert_ne!(there, home);
                    assert_eq!(thread::current().id(), home);
                }
            })
        });
        drive(&mut main, || task.is_finished());
        main.enter(|nc| {
            block_on(nc, async move |_: &MainCx| task.await.unwrap());
            io0.destroy(nc).unwrap();
        });
    });
}

#[test]
fn a_busy_main_loop_leaves_the_host_its_turn() {
    in_main_thread(|| {
        let mut main = main_loop();
        let task = main.enter(|nc| {
            nc.spawn(async |_: &MainCx| {
                loop {
                    yield_now().await;
                }
            })
        });
        for _ in 0..100 {
            assert!(is_readable(&main, 0), "a task is always ready");
            main.dispatch();
        }
        task.abort();
        drive(&mut main, || task.is_finished());
        settle(&mut main);
        assert!(!is_readable(&main, 20), "there is nothing to do");
    });
}

#[test]
fn the_lock_is_held_in_dispatch_and_enter_and_free_between_them() {
    static SEEN: BqlCell<u32> = BqlCell::new(0);
    in_main_thread(|| {
        let mut main = main_loop();
        assert!(!bql::is_locked());
        let task = main.enter(|nc| {
            assert!(bql::is_locked());
            nc.spawn(async |cx: &MainCx| cx.bql(|bql| SEEN.set(bql, SEEN.get(bql) + 1)))
        });
        assert!(!bql::is_locked());
        let other = || bql::with_bql(|bql| SEEN.set(bql, SEEN.get(bql) + 1));
        thread::spawn(other).join().unwrap();
        drive(&mut main, || task.is_finished());
        assert!(!bql::is_locked());
        thread::spawn(other).join().unwrap();
        assert_eq!(main.enter(|nc| SEEN.get(nc)), 3);
        let misuses: [fn(&mut MainLoop); 2] = [|main| main.dispatch(), |main| main.enter(|_| ())];
        for misuse in misuses {
            let text = bql::with_bql(|_| panic_of(|| misuse(&mut main)));
            assert!(text.contains("which this thread holds already"), "{text}");
            assert!(!bql::is_locked());
        }
    });
}

#[test]
fn a_nested_loop_below_dispatch_runs_and_leaves_the_main_loop_as_it_was() {
    in_main_thread(|| {
        let mut main = main_loop();
        let task = main.enter(|nc| {
            nc.spawn(async |cx: &MainCx| {
                let nested = |nc: &mut NoCoroutine| {
                    block_on(nc, async |cx: &MainCx| {
                        cx.spawn(async |_: &MainCx| sleep(ms(5)).await).await.unwrap();
                        7
                    })
                };
                cx.run_in_bh(nested).await.unwrap()
            })
        });
        drive(&mut main, || task.is_finished());
        settle(&mut main);
        assert!(!is_readable(&main, 20), "there is nothing to do");
        let (signal, woken) = waiting(&mut main);
        thread::spawn(move || signal.set()).join().unwrap();
        drive(&mut main, || woken.is_finished());
        assert_eq!(main.enter(|nc| block_on(nc, async move |_: &MainCx| task.await.unwrap())), 7);
    });
}

#[test]
fn the_descriptor_may_be_watched_by_epoll_below_epoll() {
    in_main_thread(|| {
        let mut main = main_loop();
        let epoll = || Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let (inner, outer) = (epoll(), epoll());
        inner.add(&main, EpollEvent::new(EpollFlags::EPOLLIN, 1)).unwrap();
        outer.add(&inner.0, EpollEvent::new(EpollFlags::EPOLLIN, 2)).unwrap();
        let (ours, mut theirs) = net::UnixStream::pair().unwrap();
        let task = main.enter(|nc| {
            nc.spawn(async move |_: &MainCx| {
                sleep(ms(2)).await;
                let mut stream = UnixStream::from_std(ours).unwrap();
                stream.read_exact(&mut [0]).await.unwrap();
                sleep(ms(2)).await;
            })
        });
        theirs.write_all(b"x").unwrap();
        let mut events = [EpollEvent::empty(); 4];
        while !task.is_finished() {
            let timeout = EpollTimeout::from(FOR_EVER);
            assert_eq!(outer.wait(&mut events, timeout).unwrap(), 1, "a wake-up was lost");
            inner.wait(&mut events, EpollTimeout::ZERO).unwrap();
            main.dispatch();
        }
    });
}
