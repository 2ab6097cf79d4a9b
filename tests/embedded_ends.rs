//! The main loop below a loop that is not ours: panics, misuse, and its end.

mod common;
#[path = "common/poll_host.rs"]
mod poll_host;
#[path = "common/process.rs"]
mod process;

use std::cell::Cell;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use common::{OnDrop, in_main_thread, own_waker, panic_of};
use executor::time::sleep;
use executor::{BqlRefCell, DropOnMain, MainCx, MainLoop, block_on, bql, run_main};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use poll_host::{drive, main_loop, settle};
use process::in_own_process;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn a_panic_in_a_task_is_its_handles_and_one_in_enter_the_hosts() {
    static CELL: BqlRefCell<u32> = BqlRefCell::new(0);
    in_main_thread(|| {
        let mut main = main_loop();
        let task = main.enter(|nc| nc.spawn(async |_: &MainCx| panic!("a task may fail")));
        drive(&mut main, || task.is_finished());
        let error = main.enter(|nc| block_on(nc, async move |_: &MainCx| task.await.unwrap_err()));
        assert!(error.is_panic(), "{error}");

        assert_eq!(panic_of(|| main.enter(|_| panic!("so may a host"))), "so may a host");
        assert!(!bql::is_locked());
        let line = line!() + 1;
        let text = panic_of(|| drop(main.enter(|_| CELL.borrow_ambient())));
        assert!(text.contains("would release the Big QEMU Lock while a `BqlRefCell`"), "{text}");
        assert!(text.contains(&format!("{}:{line}:", file!())), "{text}");
        assert!(!bql::is_locked());
        let task = main.enter(|nc| nc.spawn(async |_: &MainCx| sleep(ms(1)).await));
        drive(&mut main, || task.is_finished());
    });
}

#[test]
fn one_main_loop_at_a_time_in_one_thread() {
    in_main_thread(|| {
        let new = || drop(MainLoop::new());
        let mut main = main_loop();
        assert_eq!(panic_of(new), "a `MainLoop` runs already");
        assert_eq!(panic_of(|| run_main(|_| ())), "a `MainLoop` runs already");
        let task = main.enter(|nc| nc.spawn(async move |_: &MainCx| panic_of(new)));
        drive(&mut main, || task.is_finished());
        let text = main.enter(|nc| block_on(nc, async move |_: &MainCx| task.await.unwrap()));
        assert!(text.contains("`MainLoop::new` inside task"), "{text}");
        let elsewhere = thread::spawn(move || panic_of(new)).join().unwrap();
        assert!(elsewhere.contains("belongs to the thread"), "{elsewhere}");
        drop(main);
        run_main(|_| assert_eq!(panic_of(new), "`run_main` runs already"));
        let text = bql::with_bql(|_| panic_of(new));
        assert!(text.contains("holds already"), "{text}");
        drop(main_loop());
    });
}

#[test]
fn the_end_cancels_the_tasks_under_the_lock_and_the_same_thread_may_begin_again() {
    in_main_thread(|| {
        let ends = Rc::new(Cell::new(0));
        let mut wakers = Vec::new();
        for round in 0..3 {
            let mut main = main_loop();
            let (its_ends, waker) = (Rc::clone(&ends), Rc::new(Cell::new(None)));
            let gives = Rc::clone(&waker);
            let task = main.enter(|nc| {
                nc.spawn(async move |_: &MainCx| {
                    let _counts = OnDrop(move || {
                        assert!(bql::is_locked());
                        its_ends.set(its_ends.get() + 1);
                    });
                    gives.set(Some(own_waker().await));
                    sleep(ms(60_000)).await;
                })
            });
            settle(&mut main);
            let fd = main.as_fd().try_clone_to_owned().unwrap();
            match round {
                0 => drop(main),
                1 => bql::with_bql(|_| drop(main)),
                _ => drop((task, main)),
            }
            assert_eq!(ends.get(), round + 1);
            assert!(!bql::is_locked());
            wakers.push(waker.take().unwrap());
            wakers.iter().for_each(Waker::wake_by_ref);
            let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut fds, PollTimeout::ZERO).unwrap(), 0, "nobody is called any more");
        }
        run_main(|nc| block_on(nc, async |_: &MainCx| sleep(ms(1)).await));
    });
}

#[test]
fn what_must_be_dropped_on_the_main_loop_is_while_the_host_sleeps() {
    struct Told(Arc<AtomicUsize>);
    impl Drop for Told {
        fn drop(&mut self) {
            assert!(bql::is_locked());
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    in_main_thread(|| {
        let mut main = main_loop();
        let told = Arc::new(AtomicUsize::new(0));
        let [here, there, late] = [(); 3].map(|()| DropOnMain::new(Told(Arc::clone(&told))));
        drop(here);
        thread::spawn(move || drop(there)).join().unwrap();
        drive(&mut main, || told.load(Ordering::SeqCst) == 2);
        drop(late);
        drop(main);
        assert_eq!(told.load(Ordering::SeqCst), 3);
    });
}

#[test]
fn a_thread_may_end_with_its_main_loop_in_a_thread_local() {
    thread_local! {
        static KEPT: Cell<Option<MainLoop>> = const { Cell::new(None) };
    }
    let name = "a_thread_may_end_with_its_main_loop_in_a_thread_local";
    in_own_process(name, || {
        let ended = Arc::new(AtomicUsize::new(0));
        let its = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            KEPT.set(None);
            let mut main = main_loop();
            let _task = main.enter(|nc| {
                nc.spawn(async move |_: &MainCx| {
                    let _counts = OnDrop(move || {
                        its.fetch_add(1, Ordering::SeqCst);
                    });
                    sleep(ms(60_000)).await;
                })
            });
            settle(&mut main);
            KEPT.set(Some(main));
        });
        thread.join().unwrap();
        assert_eq!(ended.load(Ordering::SeqCst), 1);
        bql::with_bql(|_| ());
    });
}
