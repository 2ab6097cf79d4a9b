//! Faults of the system that few programs ever see: no memory, no fds and no threads at whatever point, and a wall
//! clock that leaps.
//!
//! `faults.rs` has those that a client or a signal can cause. A sweep has the first call fail, then the second, and
//! so on until there is none left to fail.

#[path = "faults/inject.rs"]
mod inject;
#[path = "common/process.rs"]
mod process;
#[path = "common/usage.rs"]
mod usage;

use std::fs::{self, File};
use std::future::pending;
use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use executor::async_fd::AsyncFd;
use executor::blocking::blocking;
use executor::clock::Clock;
use executor::qmp::{Registry, Server, SessionOptions, Version, VersionNumber};
use executor::time::{interval_on, sleep, sleep_on};
use executor::{
    IoCx, IoThread, LocalExecutor, MainCx, MainLoop, NoCoroutine, block_on, net, run_main,
};
use futures_util::future::{Either, select};
use futures_util::io::{AsyncReadExt, AsyncWriteExt};
use inject::{EPOLL_CREATE, EPOLL_CTL, EVENTFD, MMAP, SOCKET, THREAD, TIMERFD, failing, leap};
use process::{aborts, in_own_process};
use usage::cpu_time;

fn open_fds() -> usize {
    fs::read_dir("/proc/self/fd").expect("the kernel lists the fds").count()
}

/// Runs a scenario again and again; each time another of its calls fails. Each error is the one that was planned,
/// and each leaves the fds as they were. Returns how many calls have failed.
fn sweep(functions: u32, errno: i32, mut scenario: impl FnMut() -> io::Result<()>) -> usize {
    scenario().expect("it succeeds without faults");
    let fds = open_fds();
    for place in 0.. {
        let (result, failed) = failing(functions, place, 1, errno, &mut scenario);
        assert_eq!(open_fds(), fds, "after the fault in place {place}");
        if !failed {
            result.expect("nothing has failed");
            return place;
        }
        let error = result.expect_err("something has failed");
        // Those that come through C are a text.
        let text = io::Error::from_raw_os_error(errno).to_string();
        let text = text.split(" (os").next().expect("it has a beginning");
        assert!(error.raw_os_error() == Some(errno) || error.to_string().contains(text), "{error}");
    }
    unreachable!("there are not so many calls")
}

/// Two tasks that talk through a socket, on an executor of a thread of its own.
fn talk() -> io::Result<()> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let executor = LocalExecutor::new()?;
            executor.run(async {
                let (mut one, mut other) = net::UnixStream::pair()?;
                one.write_all(b"hello").await?;
                let mut bytes = [0; 5];
                other.read_exact(&mut bytes).await?;
                assert_eq!(&bytes, b"hello");
                Ok(())
            })
        });
        thread.join().expect("it does not panic")
    })
}

#[test]
fn an_executor_that_gets_no_fd_or_memory_at_whatever_point_says_so_and_leaves_nothing() {
    let name = "an_executor_that_gets_no_fd_or_memory_at_whatever_point_says_so_and_leaves_nothing";
    in_own_process(name, || {
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM] {
            let failed = sweep(EVENTFD | EPOLL_CREATE | SOCKET, errno, talk);
            // The loop's doorbell and its epoll instance, the executor's epoll instance, the sockets.
            assert_eq!(failed, 4);
        }
    });
}

#[test]
fn an_iothread_that_cannot_be_made_at_whatever_point_is_an_error_and_its_id_stays_free() {
    let name =
        "an_iothread_that_cannot_be_made_at_whatever_point_is_an_error_and_its_id_stays_free";
    in_own_process(name, || {
        run_main(|nc| {
            let mut make = || {
                let iothread = IoThread::create(nc, "io0")?;
                let sum = iothread.io().run(async |_: &IoCx| 40 + 2);
                let sum = block_on(nc, async |_: &MainCx| sum.await);
                assert_eq!(sum.expect("nothing panics"), 42);
                iothread.destroy(nc)
            };
            assert_eq!(sweep(THREAD, libc::EAGAIN, &mut make), 1);
            assert_eq!(sweep(EVENTFD | EPOLL_CREATE, libc::EMFILE, &mut make), 2);
            assert_eq!(sweep(EPOLL_CTL, libc::ENOMEM, &mut make), 1);
            assert!(IoThread::list(nc).is_empty());
        });
    });
}

/// It does not listen: what the monitor's thread does for a listener, it does when it gets to it.
fn serve(nc: &mut NoCoroutine) -> io::Result<()> {
    block_on(nc, async |cx: &MainCx| {
        let qemu = VersionNumber { micro: 0, minor: 1, major: 0 };
        let options = SessionOptions::new(Version { qemu, package: String::new() });
        Server::start(cx, Registry::new(), options)?.shutdown().await;
        Ok(())
    })
}

#[test]
fn a_server_that_cannot_be_started_at_whatever_point_is_an_error_and_leaves_nothing() {
    let name = "a_server_that_cannot_be_started_at_whatever_point_is_an_error_and_leaves_nothing";
    in_own_process(name, || {
        run_main(|nc| {
            assert_eq!(sweep(THREAD, libc::EAGAIN, || serve(nc)), 1);
            assert_eq!(sweep(EVENTFD | EPOLL_CREATE, libc::ENFILE, || serve(nc)), 2);
        });
    });
}

#[test]
fn without_threads_blocking_work_is_refused_and_with_one_it_waits_for_that_one() {
    let name = "without_threads_blocking_work_is_refused_and_with_one_it_waits_for_that_one";
    in_own_process(name, || {
        let executor = LocalExecutor::new().expect("there are fds");
        let work = || executor.run(blocking(|| 7)).map_err(io::Error::from);
        let (refused, failed) = failing(THREAD, 0, 1, libc::EAGAIN, work);
        assert!(failed);
        let error = refused.expect_err("there is no thread");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");

        // The first piece of work has a thread, and keeps it until the second one was queued.
        let (go, wait) = mpsc::channel::<()>();
        let first = blocking(move || wait.recv().is_ok());
        let second = || {
            let second = blocking(|| 8);
            go.send(()).expect("the first waits");
            executor.run(second).map_err(io::Error::from)
        };
        let (second, failed) = failing(THREAD, 0, usize::MAX, libc::EAGAIN, second);
        assert!(failed, "it was tried");
        assert_eq!(second.expect("the first thread runs it"), 8);
        assert!(executor.run(first).expect("it does not panic"));
        assert_eq!(work().expect("there are threads again"), 7);
    });
}

#[test]
fn an_fd_that_epoll_refuses_is_given_back_open_with_the_reason() {
    let name = "an_fd_that_epoll_refuses_is_given_back_open_with_the_reason";
    in_own_process(name, || {
        let executor = LocalExecutor::new().expect("there are fds");
        executor.run(async {
            let file = File::open("/proc/self/exe").expect("there are fds");
            let (file, error) =
                AsyncFd::new(file).expect_err("a file is ready always").into_parts();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            assert!(error.to_string().contains("use `blocking`"), "{error}");
            file.metadata().expect("it is open");

            // The executor has its own epoll instance by now, so the next call is for the fd.
            for errno in [libc::ENOMEM, libc::ENOSPC] {
                let (reader, writer) = nix::unistd::pipe().expect("there are fds");
                let (refused, failed) =
                    failing(EPOLL_CTL, 0, 1, errno, || AsyncFd::new(reader).map(drop));
                assert!(failed);
                let (reader, error) = refused.expect_err("epoll refuses it").into_parts();
                assert_eq!(error.raw_os_error(), Some(errno));
                let reader = AsyncFd::new(reader).expect("epoll takes it now");
                drop(writer);
                reader.readable().await.expect("it has ended");
            }
        });
    });
}

#[test]
fn a_loop_that_cannot_watch_an_fd_ends_the_process_with_the_fd_and_the_reason() {
    let name = "a_loop_that_cannot_watch_an_fd_ends_the_process_with_the_fd_and_the_reason";
    aborts(name, "cannot watch file descriptor", || {
        let executor = LocalExecutor::new().expect("there are fds");
        // The first fd has the executor watch its own epoll instance in the loop, which is C's interface: there is
        // no way to refuse.
        let first = || executor.run(async { net::UnixStream::pair().is_ok() });
        failing(EPOLL_CTL, 0, 1, libc::ENOSPC, first);
    });
}

#[test]
fn a_main_loop_that_cannot_be_made_is_a_panic_with_the_reason() {
    let name = "a_main_loop_that_cannot_be_made_is_a_panic_with_the_reason";
    in_own_process(name, || {
        let make = || std::panic::catch_unwind(|| run_main(|_| ()));
        let (panic, failed) = failing(EVENTFD, 0, 1, libc::EMFILE, make);
        assert!(failed);
        let panic = panic.expect_err("there are no fds");
        let text = panic.downcast_ref::<String>().expect("it has a text");
        assert!(text.contains("the main loop cannot be initialised: "), "{text}");
        assert!(text.contains("Too many open files"), "{text}");
        run_main(|_| ());
    });
}

#[test]
fn a_main_loop_below_another_loop_that_gets_no_fd_says_so_and_can_be_made_later() {
    let name = "a_main_loop_below_another_loop_that_gets_no_fd_says_so_and_can_be_made_later";
    in_own_process(name, || {
        let refused = |function, errno| {
            let (made, failed) = failing(function, 0, 1, errno, || MainLoop::new().map(drop));
            assert!(failed);
            made.expect_err("there are no fds").to_string()
        };
        let (full, no_memory) = ("Too many open files", "Cannot allocate memory");
        // The first one is the main loop's, the alarm comes last.
        assert!(refused(EVENTFD, libc::EMFILE).contains(full));
        run_main(|_| ());
        let fds = open_fds();
        assert!(refused(TIMERFD, libc::EMFILE).contains(full));
        assert!(refused(EPOLL_CTL, libc::ENOMEM).contains(no_memory));
        assert_eq!(open_fds(), fds);
        let mut main = MainLoop::new().expect("there are fds");
        main.enter(|nc| block_on(nc, async |_: &MainCx| sleep(Duration::from_millis(1)).await));
    });
}

#[test]
fn without_a_context_for_tasks_the_main_loop_ends_the_process_with_the_reason() {
    let name = "without_a_context_for_tasks_the_main_loop_ends_the_process_with_the_reason";
    aborts(name, "cannot create the iohandler context", || {
        // As in QEMU. The first one is the main context's.
        failing(EVENTFD, 1, 1, libc::EMFILE, || run_main(|_| ()));
    });
}

/// # Safety
///
/// None: the type is that of a coroutine.
unsafe extern "C" fn nothing(_: *mut std::ffi::c_void) {}

#[test]
fn a_coroutine_without_memory_for_its_stack_ends_the_process_with_the_reason() {
    let name = "a_coroutine_without_memory_for_its_stack_ends_the_process_with_the_reason";
    aborts(name, "cannot map a stack for a coroutine", || {
        failing(MMAP, 0, 1, libc::ENOMEM, || {
            // SAFETY: the function does not use its argument.
            let _never = unsafe { aio_sys::qemu_coroutine_create(nothing, std::ptr::null_mut()) };
        });
    });
}

const DAY: i64 = 24 * 3600;

/// Lets a wall clock's interval tick ten times, and returns how long that took.
async fn ten_ticks(interval: &mut executor::time::Interval) -> Duration {
    let start = Instant::now();
    for _ in 0..10 {
        interval.tick().await;
    }
    start.elapsed()
}

#[test]
fn a_wall_clock_that_leaps_ahead_makes_sleeps_end_and_an_interval_tick_once_for_all_it_missed() {
    let name = "a_wall_clock_that_leaps_ahead_makes_sleeps_end_and_an_interval_tick_once_for_all_it_missed";
    in_own_process(name, || {
        let executor = LocalExecutor::new().expect("there are fds");
        executor.run(async {
            let mut interval = interval_on(Clock::Host, Duration::from_millis(5));
            interval.tick().await;
            let long = sleep_on(Clock::Host, Duration::from_secs(3600));
            leap(100 * DAY);
            // The loop was asleep for the old deadline at most: some other event, here the interval's.
            long.await;
            // One tick is for the hundred days; the others keep the period.
            let took = ten_ticks(&mut interval).await;
            assert!(took >= Duration::from_millis(35), "a storm of ticks: {took:?}");
        });
    });
}

#[test]
fn a_wall_clock_that_leaps_back_holds_up_its_own_sleeps_alone_and_costs_nothing() {
    let name = "a_wall_clock_that_leaps_back_holds_up_its_own_sleeps_alone_and_costs_nothing";
    in_own_process(name, || {
        let executor = LocalExecutor::new().expect("there are fds");
        let sleeping =
            executor.spawn(async { sleep_on(Clock::Host, Duration::from_millis(20)).await });
        executor.run_once();
        leap(-DAY);

        let before = cpu_time();
        executor.run(sleep(Duration::from_millis(300)));
        let spent = cpu_time() - before;

        assert!(!sleeping.is_finished(), "its time has not come");
        assert!(spent < Duration::from_millis(100), "the loop spins: {spent:?} of 300 ms");
        // A new sleep is not held up by the old one, whose deadline is a day away now.
        let new = sleep_on(Clock::Host, Duration::from_millis(10));
        let guard = sleep(Duration::from_secs(20));
        match executor.run(select(new, guard)) {
            Either::Left(_) => {}
            Either::Right(_) => panic!("the new sleep hangs"),
        }
        leap(DAY);
        // The next event shows the loop the time.
        executor.run(sleep(Duration::from_millis(1)));
        executor.run(sleeping).expect("nothing panics");
    });
}

#[test]
fn leaps_to_and_fro_do_not_hold_up_the_other_clocks_nor_an_iothread() {
    let name = "leaps_to_and_fro_do_not_hold_up_the_other_clocks_nor_an_iothread";
    in_own_process(name, || {
        run_main(|nc| {
            let iothread = IoThread::create(nc, "io0").expect("there are threads");
            let there = iothread.io().run(async |io: &IoCx| {
                io.spawn(async |_: &IoCx| {
                    sleep_on(Clock::Host, Duration::from_secs(3600)).await;
                    pending::<()>().await;
                })
                .detach();
                for _ in 0..50 {
                    sleep(Duration::from_millis(2)).await;
                }
            });
            let start = Instant::now();
            block_on(nc, async |_: &MainCx| {
                for round in 0..50 {
                    leap(if round % 2 == 0 { -7 * DAY } else { 7 * DAY });
                    sleep_on(Clock::Virtual, Duration::from_millis(1)).await;
                    sleep(Duration::from_millis(1)).await;
                }
                there.await.expect("nothing panics");
            });
            assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
            iothread.destroy(nc).expect("it was not destroyed before");
        });
    });
}
