//! Values whose destructor needs the Big QEMU Lock: where they are dropped, from where.

#![forbid(unsafe_code)]

#[path = "common/process.rs"]
mod process;
#[path = "attacks/tools.rs"]
#[allow(dead_code, reason = "a module of several tests")]
mod tools;

use std::future::pending;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use executor::bql::{is_locked, with_bql};
use executor::{
    BqlRefCell, DropOnMain, IoCx, MainCx, NoCoroutine, block_on, run_main, set_task_panic_hook,
};

use tools::{here, io_thread, run_for};

static CELL: BqlRefCell<u32> = BqlRefCell::new(0);

/// Where values were dropped.
type Drops = Arc<Mutex<Vec<ThreadId>>>;

/// Checks that its destructor is in the right place.
struct Disk(Drops);

impl Drop for Disk {
    fn drop(&mut self) {
        assert!(is_locked());
        drop(CELL.borrow_mut_ambient());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(here());
    }
}

fn disk() -> (Drops, DropOnMain<Disk>) {
    let drops = Drops::default();
    (Arc::clone(&drops), DropOnMain::new(Disk(drops)))
}

fn places(drops: &Drops) -> Vec<ThreadId> {
    drops.lock().unwrap().clone()
}

fn blocking_code_drops_at_once(nc: &mut NoCoroutine) {
    let (drops, disk) = disk();
    drop(disk);
    assert_eq!(places(&drops), [here()]);
    run_for(nc, 1);
}

fn a_task_drops_after_its_poll(nc: &mut NoCoroutine) {
    let (drops, disk) = disk();
    let seen = Arc::clone(&drops);
    let task = nc.spawn(async move |_: &MainCx| {
        drop(disk);
        places(&seen)
    });
    let at_once = block_on(nc, async |_: &MainCx| task.await.unwrap());
    run_for(nc, 2);
    assert_eq!((at_once, places(&drops)), (vec![], vec![here()]));
}

fn a_borrow_is_waited_for(nc: &mut NoCoroutine) {
    let (drops, disk) = disk();
    CELL.with_mut(nc, |_| drop(disk));
    assert!(places(&drops).is_empty());
    run_for(nc, 2);
    assert_eq!(places(&drops), [here()]);
}

fn an_iothread_sends_it_here_with_or_without_the_lock(nc: &mut NoCoroutine) {
    let (thread, _) = io_thread(nc, "drop");
    let (drops, first) = disk();
    let second = DropOnMain::new(Disk(Arc::clone(&drops)));
    let remote = thread.io().run(async move |io: &IoCx| {
        drop(first);
        io.lock_bql(|_| drop(second));
    });
    block_on(nc, async |_: &MainCx| remote.await.unwrap());
    run_for(nc, 2);
    assert_eq!(places(&drops), [here(); 2]);
    thread.destroy(nc).unwrap();
}

/// A vCPU is a thread without a loop; with the lock it may do what the main loop may.
fn another_holder_of_the_lock_drops_at_once(nc: &mut NoCoroutine) {
    let (drops, disk) = disk();
    let vcpu = nc.unlocked(|| {
        let drop_there = || {
            with_bql(|_| drop(disk));
            here()
        };
        thread::spawn(drop_there).join().unwrap_or_else(|payload| resume_unwind(payload))
    });
    assert_eq!(places(&drops), [vcpu]);
}

fn a_panic_in_a_destructor_goes_to_the_hook(nc: &mut NoCoroutine) {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("a destructor on the main loop");
        }
    }
    static HOOKED: AtomicUsize = AtomicUsize::new(0);
    set_task_panic_hook(|panic| {
        assert_eq!(panic.message(), "a destructor on the main loop");
        HOOKED.fetch_add(1, Ordering::Relaxed);
    });
    let (drops, disk) = disk();
    let panics = DropOnMain::new(Panics);
    thread::spawn(move || drop((panics, disk))).join().unwrap();
    run_for(nc, 2);
    assert_eq!(HOOKED.load(Ordering::Relaxed), 1);
    assert_eq!(places(&drops), [here()]);
}

fn the_value_can_be_used_and_taken_out_under_the_lock(nc: &mut NoCoroutine) {
    let mut value = DropOnMain::new(vec![1]);
    value.get_mut(nc).push(2);
    assert_eq!(value.get(nc), &[1, 2]);
    assert_eq!(value.into_inner(nc), [1, 2]);
}

/// The main loop belongs to one thread, so the cases run one after the other.
#[test]
fn values_are_dropped_on_the_main_loop() {
    type Case = fn(&mut NoCoroutine);
    let cases: [(&str, Case); 7] = [
        ("at once", blocking_code_drops_at_once),
        ("poll", a_task_drops_after_its_poll),
        ("borrow", a_borrow_is_waited_for),
        ("iothread", an_iothread_sends_it_here_with_or_without_the_lock),
        ("vcpu", another_holder_of_the_lock_drops_at_once),
        ("panic", a_panic_in_a_destructor_goes_to_the_hook),
        ("use", the_value_can_be_used_and_taken_out_under_the_lock),
    ];
    for (name, case) in cases {
        println!("case {name}");
        run_main(case);
    }
    what_waits_at_the_end_is_dropped_before_run_main_returns();
}

fn what_waits_at_the_end_is_dropped_before_run_main_returns() {
    let (drops, disk) = disk();
    run_main(|nc| {
        nc.spawn(async move |_: &MainCx| {
            let _disk = disk;
            pending::<()>().await;
        })
        .detach();
        run_for(nc, 1);
    });
    assert_eq!(places(&drops), [here()]);
}

#[test]
fn a_process_without_a_main_loop_drops_under_the_lock() {
    process::in_own_process("a_process_without_a_main_loop_drops_under_the_lock", || {
        let (drops, first) = disk();
        let second = DropOnMain::new(Disk(Arc::clone(&drops)));
        drop(first);
        with_bql(|_| drop(second));
        assert_eq!(places(&drops), [here(); 2]);
    });
}
