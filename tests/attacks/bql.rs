//! Attacks on the Big QEMU Lock and its cells.

#![allow(
    clippy::await_holding_invalid_type,
    clippy::mem_forget,
    reason = "to hold and to forget are the attacks"
)]

use std::cell::{Cell, RefCell};
use std::mem;
use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread::{self, ThreadId};

use executor::bql::{is_locked, with_bql};
use executor::{
    BqlCell, BqlRef, BqlRefCell, DropOnMain, LocalSpawner, MainCx, NoCoroutine, block_on,
    reschedule_to, run_main,
};

use crate::process;
use crate::tools::{OnDrop, here, io_thread, panic_of, run_for, yield_now};

static CELL: BqlRefCell<u32> = BqlRefCell::new(0);

pub(crate) const CASES: &[crate::Case] = &[
    ("r1: an ambient guard across an await", r1),
    ("r6: a second borrow", r6),
    ("r7: the lock, taken twice", r7),
    ("r8: an ambient guard at a nested loop", r8),
    ("r9: the same cell from a callback", r9),
    ("r12: a destructor that needs the lock", r12),
    ("n8: state in a thread-local, taken into `unlocked`", n8),
    ("a panic with a guard and with the lock released", panics_leave_nothing_behind),
    ("a destructor that looks into the cell it comes from", a_destructor_looks_back),
    ("lock_bql on an iothread", an_iothread_takes_turns),
];

/// The task fails at the `.await`, and the message names the task, where it was spawned and who borrowed.
fn r1(nc: &mut NoCoroutine) {
    let (spawn, borrow) = (line!() + 1, line!() + 2);
    let task = nc.spawn(async |_: &MainCx| {
        let guard = CELL.borrow_ambient();
        yield_now().await;
        drop(guard);
    });
    let error = block_on(nc, async |_: &MainCx| task.await.unwrap_err()).to_string();

    assert!(error.contains("was suspended while a BqlRefCell is borrowed"), "{error}");
    assert!(error.contains(&format!("bql.rs:{spawn}:")), "{error}");
    assert!(error.contains(&format!("bql.rs:{borrow}:")), "{error}");
    CELL.replace(nc, 1);
}

fn r6(nc: &mut NoCoroutine) {
    let line = line!() + 1;
    let first = CELL.borrow_mut(nc);
    let message = panic_of(|| drop(CELL.borrow(nc)));
    assert!(message.contains(&format!("bql.rs:{line}:")), "{message}");
    drop(first);
}

fn r7(nc: &mut NoCoroutine) {
    let message = panic_of(|| with_bql(|_| ()));
    assert!(message.contains("holds the BQL already"), "{message}");
    let task = nc.spawn(async |_: &MainCx| with_bql(|_| ()));
    let error = block_on(nc, async |_: &MainCx| task.await.unwrap_err()).to_string();
    assert!(error.contains("holds the BQL already"), "{error}");
}

fn r8(nc: &mut NoCoroutine) {
    let guard = CELL.borrow_ambient();
    let messages = [
        panic_of(|| nc.wait_while(|_| false)),
        panic_of(|| block_on(nc, async |_: &MainCx| ())),
        panic_of(|| nc.unlocked(|| ())),
    ];
    drop(guard);
    for message in messages {
        assert!(message.contains("while a `BqlRefCell` is borrowed at"), "{message}");
    }
    nc.wait_while(|_| false);
}

/// A callback that is handed nothing still has a witness, its own: the count in the cell decides.
fn r9(nc: &mut NoCoroutine) {
    let message = panic_of(|| CELL.with_mut(nc, |_| with_it_again(nc)));
    assert!(message.contains("mutably borrowed already"), "{message}");
    CELL.with_mut(nc, |value| *value += 1);
}

fn with_it_again(nc: &NoCoroutine) {
    CELL.with(nc, |_| ());
}

static DROPPED_AT: Mutex<Vec<ThreadId>> = Mutex::new(Vec::new());

/// Asserts the lock when it is dropped, as QEMU's objects do.
struct Disk;

impl Drop for Disk {
    fn drop(&mut self) {
        CELL.borrow_mut_ambient().add_assign(1);
        DROPPED_AT.lock().unwrap().push(here());
    }
}

/// It is `Send`, so it may end up anywhere; bare, its destructor fails there, wrapped it is dropped here.
fn r12(nc: &mut NoCoroutine) {
    let (thread, _) = io_thread(nc, "r12");
    let bare = Disk;
    let bare = reschedule_to(&thread.io(), async move { drop(bare) });
    let wrapped = DropOnMain::new(Disk);
    let wrapped = reschedule_to(&thread.io(), async move { drop(wrapped) });
    let forgotten = DropOnMain::new(Disk);
    let cancelled = reschedule_to(&thread.io(), async move {
        let _disk = forgotten;
        std::future::pending::<()>().await;
    });
    let error = block_on(nc, async |_: &MainCx| {
        wrapped.await.unwrap();
        cancelled.cancel().await;
        bare.await.unwrap_err().to_string()
    });
    assert!(error.contains("does not hold the BQL"), "{error}");
    run_for(nc, 3);
    assert_eq!(*DROPPED_AT.lock().unwrap(), [here(); 2]);
    thread.destroy(nc).unwrap();
}

thread_local! {
    static SPAWNER: RefCell<Option<LocalSpawner>> = const { RefCell::new(None) };
    static SEEN: Cell<Option<bool>> = const { Cell::new(None) };
}

/// `unlocked` takes a `Send` closure, but a closure finds thread-locals. What it finds there cannot be a
/// capability; a spawner can be, and what it spawns is polled later, under the lock.
fn n8(nc: &mut NoCoroutine) {
    let executor = executor::LocalExecutor::new().unwrap();
    SPAWNER.set(Some(executor.spawner()));
    nc.unlocked(|| {
        assert!(!is_locked());
        let message = panic_of(|| drop(CELL.borrow_ambient()));
        assert!(message.contains("does not hold the BQL"), "{message}");
        let spawner = SPAWNER.take().unwrap();
        spawner.spawn(async { SEEN.set(Some(is_locked())) }).detach();
    });
    nc.wait_while(|_| SEEN.get().is_none());
    assert_eq!(SEEN.get(), Some(true));
}

fn panics_leave_nothing_behind(nc: &mut NoCoroutine) {
    let task = nc.spawn(async |cx: &MainCx| {
        cx.bql(|bql| {
            let _guard = CELL.borrow_mut(bql);
            panic!("with a guard");
        })
    });
    let error = block_on(nc, async |_: &MainCx| task.await.unwrap_err()).to_string();
    assert!(error.ends_with("with a guard"), "{error}");
    assert_eq!(panic_of(|| nc.unlocked(|| panic!("without the lock"))), "without the lock");
    assert!(is_locked());
    assert_eq!(panic_of(|| nc.wait_while(|_| panic!("in the loop"))), "in the loop");
    CELL.replace(nc, 3);
    run_for(nc, 2);
}

type LooksBack = OnDrop<fn()>;

thread_local! {
    static NOSY: BqlRefCell<Vec<LooksBack>> = const { BqlRefCell::new(Vec::new()) };
}

fn look_back() {
    NOSY.with(|cell| drop(cell.borrow_ambient()));
}

/// While the value is dropped in place the cell is borrowed, so its destructor cannot look in.
fn a_destructor_looks_back(nc: &mut NoCoroutine) {
    NOSY.with(|cell| cell.borrow_mut(nc).push(OnDrop::new(look_back as fn())));
    let message = panic_of(|| NOSY.with(|cell| cell.borrow_mut(nc).clear()));
    assert!(message.contains("mutably borrowed already"), "{message}");

    let whole: BqlCell<Option<LooksBack>> = BqlCell::new(Some(OnDrop::new(look_back)));
    whole.set(nc, None);
}

fn an_iothread_takes_turns(nc: &mut NoCoroutine) {
    let (thread, _) = io_thread(nc, "turns");
    let io = thread.io();
    CELL.replace(nc, 0);
    let remote = io.run(async |io: &executor::IoCx| {
        for _ in 0..100 {
            io.lock_bql(|bql| CELL.with_mut(bql, |value| *value += 1));
            yield_now().await;
        }
        panic_of(|| io.lock_bql(|_| io.lock_bql(|_| ())))
    });
    let message = block_on(nc, async |cx: &MainCx| {
        for _ in 0..100 {
            cx.bql(|bql| CELL.with_mut(bql, |value| *value += 1));
            yield_now().await;
        }
        remote.await.unwrap()
    });
    assert!(message.contains("holds the BQL already"), "{message}");
    assert_eq!(CELL.replace(nc, 0), 200);
    thread.destroy(nc).unwrap();
}

const LEAKED: &str = "can never be released again";
const NAMED: &str = "attacks/bql.rs";

#[test]
fn r2_a_forgotten_guard_ends_the_process_with_its_place() {
    process::aborts("bql::r2_a_forgotten_guard_ends_the_process_with_its_place", LEAKED, || {
        run_main(|nc| {
            nc.spawn(async |_: &MainCx| {
                mem::forget(CELL.borrow_ambient());
                yield_now().await;
            })
            .detach();
            run_for(nc, 3);
        });
    });
}

#[test]
fn a_guard_forgotten_inside_its_scope_ends_the_process() {
    process::aborts("bql::a_guard_forgotten_inside_its_scope_ends_the_process", LEAKED, || {
        run_main(|nc| {
            nc.spawn(async |cx: &MainCx| cx.bql(|bql| mem::forget(CELL.borrow(bql)))).detach();
            run_for(nc, 3);
        });
    });
}

thread_local! {
    static KEPT: RefCell<Option<BqlRef<'static, u32>>> = const { RefCell::new(None) };
}

#[test]
fn a_guard_kept_by_a_destructor_ends_the_process_at_the_release_with_its_place() {
    let name = "bql::a_guard_kept_by_a_destructor_ends_the_process_at_the_release_with_its_place";
    process::aborts(name, NAMED, || {
        run_main(|nc| {
            let task = nc.spawn(async |_: &MainCx| {
                let _keep = OnDrop::new(|| KEPT.set(Some(CELL.borrow_ambient())));
                std::future::pending::<()>().await;
            });
            run_for(nc, 1);
            task.abort();
            run_for(nc, 3);
        });
    });
}

#[test]
fn a_guard_forgotten_by_another_thread_ends_the_process_with_its_place() {
    let name = "bql::a_guard_forgotten_by_another_thread_ends_the_process_with_its_place";
    process::aborts(name, NAMED, || {
        let forget = || with_bql(|bql| mem::forget(CELL.borrow(bql)));
        let _caught = catch_unwind(AssertUnwindSafe(forget));
        let _still_locked = thread::spawn(|| with_bql(|_| ())).join();
    });
}
