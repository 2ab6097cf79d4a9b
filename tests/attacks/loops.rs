//! Attacks on "no nested event loop in async code", and on who may run the main loop.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::thread;

use executor::bql::with_bql;
use executor::qmp::{Blocking, Command, Error, Registry};
use executor::{LocalExecutor, MainCx, NoCoroutine, block_on, run_main};

use crate::tools::{OnDrop, here, panic_of, run_for, yield_now};

pub(crate) const CASES: &[crate::Case] = &[
    ("r3: a nested loop in a destructor", r3),
    ("r10: a private loop inside a poll", r10),
    ("r11: the main loop, run twice", r11),
    ("r13: one name, two commands", r13),
    ("r15: a future with the right to nest, polled by hand", r15),
    ("n4: tasks spawned with the lock alone", n4),
    ("the main loop as somebody's private loop", the_main_loop_is_nobodys),
    ("a bottom half that is left behind", a_bottom_half_is_left_behind),
    ("a nested loop in a bottom half", a_nested_loop_in_a_bottom_half),
];

/// A destructor gets no capability. What it can write is a private loop, or a second main loop: both refuse
/// inside a poll, and a future is dropped inside what counts as one.
fn r3(nc: &mut NoCoroutine) {
    let said = Rc::new(RefCell::new(Vec::new()));
    let say = Rc::clone(&said);
    let task = nc.spawn(async move |_: &MainCx| {
        let _nest = OnDrop::new(move || {
            let nested = LocalExecutor::new().unwrap();
            say.borrow_mut().push(panic_of(|| nested.run_once()));
            say.borrow_mut().push(panic_of(|| run_main(|_| ())));
        });
        pending::<()>().await;
    });
    run_for(nc, 1);
    task.abort();
    run_for(nc, 2);
    let said = said.take();
    assert_eq!(said.len(), 2);
    assert!(said[1].contains("`run_main` inside"), "{said:?}");
}

/// On a thread with a loop of its own, nothing stands between a task and that loop but the check.
fn r10(_: &mut NoCoroutine) {
    let message = thread::spawn(|| {
        let executor = Rc::new(LocalExecutor::new().unwrap());
        let nested = Rc::clone(&executor);
        let task = executor.spawn(async move { panic_of(|| nested.run(async {})) });
        executor.run(task).unwrap()
    });
    let message = message.join().unwrap();
    assert!(message.contains("a nested event loop was started inside"), "{message}");
    assert!(message.contains("`run_in_bh`"), "{message}");
}

fn r11(nc: &mut NoCoroutine) {
    let message = panic_of(|| run_main(|_| ()));
    assert!(message.contains("`run_main` runs already"), "{message}");
    let elsewhere = nc.unlocked(|| thread::spawn(|| panic_of(|| run_main(|_| ()))).join().unwrap());
    assert!(elsewhere.contains("belongs to the thread"), "{elsewhere}");
    let unlocked = nc.unlocked(|| panic_of(|| run_main(|_| ())));
    assert!(unlocked.contains("run_main"), "{unlocked}");
}

struct Twice;

impl Command for Twice {
    const NAME: &'static str = "twice";
    type Mode = Blocking;
    type Args = ();
    type Ret = ();
}

fn twice(_: &mut NoCoroutine, (): ()) -> Result<(), Error> {
    Ok(())
}

fn r13(_: &mut NoCoroutine) {
    let mut registry = Registry::new();
    registry.command::<Twice, _>(twice);
    let message = panic_of(|| registry.command::<Twice, _>(twice));
    assert_eq!(message, "the QMP command `twice` is registered already");
    assert_eq!(registry.names(), ["twice"]);
}

/// It is the synchronous stack of whoever has the right, so the loop may be nested there.
fn r15(nc: &mut NoCoroutine) {
    let mut rounds = 0;
    let by_hand = async {
        nc.wait_while(|_| {
            rounds += 1;
            rounds < 3 && {
                executor::wait_kick();
                true
            }
        });
    };
    let ready = pin!(by_hand).as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
    assert!(ready);
    assert_eq!(rounds, 3);
}

/// With the lock a thread may attach to the main loop, but its tasks stay its own: the main loop's thread
/// never polls them, and they are dropped where they were spawned.
fn n4(nc: &mut NoCoroutine) {
    let (attached, dropped_at, me) = nc.unlocked(|| {
        let attack = || {
            let executor = with_bql(|_| LocalExecutor::new().unwrap());
            let dropped_at = Rc::new(Cell::new(None));
            let at = Rc::clone(&dropped_at);
            let guard = OnDrop::new(move || at.set(Some(here())));
            let task = executor.spawn(async move {
                let _guard = guard;
                yield_now().await;
            });
            let message = panic_of(|| executor.run_once());
            // Time for the main loop's thread to take the bait.
            with_bql(|_| ());
            drop(executor);
            assert!(task.is_finished());
            (message, dropped_at.get(), here())
        };
        thread::spawn(attack).join().unwrap()
    });
    run_for(nc, 10);
    assert!(attached.contains("is run by `run_main` and `block_on`"), "{attached}");
    assert_eq!(dropped_at, Some(me));
}

fn the_main_loop_is_nobodys(nc: &mut NoCoroutine) {
    let task = nc.spawn(async |_: &MainCx| {
        let executor = LocalExecutor::new().unwrap();
        panic_of(|| executor.run(async {}))
    });
    let message = block_on(nc, async |_: &MainCx| task.await.unwrap());
    assert!(message.contains("is run by `run_main` and `block_on`"), "{message}");
    let outside = LocalExecutor::new().unwrap();
    let message = panic_of(|| outside.run(async {}));
    assert!(message.contains("is run by `run_main` and `block_on`"), "{message}");
}

/// A bottom half that has not run when the program ends is called, or dropped, on this thread.
fn a_bottom_half_is_left_behind(nc: &mut NoCoroutine) {
    let me = here();
    let kept = Rc::new(());
    let seen = Rc::clone(&kept);
    block_on(nc, async |cx: &MainCx| {
        cx.run_in_bh(move |_| {
            assert_eq!(here(), me);
            drop(seen);
        })
        .detach();
    });
    run_for(nc, 2);
    assert_eq!(Rc::strong_count(&kept), 1);
}

fn a_nested_loop_in_a_bottom_half(nc: &mut NoCoroutine) {
    let depth = block_on(nc, async |cx: &MainCx| {
        let nested = cx.run_in_bh(|nc: &mut NoCoroutine| {
            block_on(nc, async |cx: &MainCx| {
                let deeper = cx.run_in_bh(|nc| block_on(nc, async |_: &MainCx| 3));
                let child = cx.spawn(async |cx: &MainCx| cx.bql(|_| 1));
                deeper.await.unwrap() + child.await.unwrap()
            })
        });
        nested.await.unwrap()
    });
    assert_eq!(depth, 4);
}
