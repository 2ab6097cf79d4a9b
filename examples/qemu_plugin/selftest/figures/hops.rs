//! There and back: from the main loop to an iothread and home, `aio_co_reschedule_self` beside ours.
//!
//! What is measured is the round trip of one, with nobody else there, so both sleep and are woken as the iothread's
//! polling (`poll-max-ns`) has it.

use std::future::ready;
use std::time::Instant;

use aio_sys::{host, qemu_get_aio_context};
use executor::host::coroutine::{call, spawn_migratable};
use executor::qmp::Error;
use executor::{IoContext, IoThread, MainCx, Migratable, reschedule_to};

use super::{Contender, Row, per_operation, play};

/// Round trips in a turn.
const TRIPS: u32 = 500;

pub(super) async fn compare(cx: &MainCx, iothread: &str) -> Result<Vec<Row>, Error> {
    let thread = cx.bql(|bql| IoThread::by_id(bql, iothread));
    let thread = thread.ok_or_else(|| Error::generic("there is no such iothread"))?;
    let io = &thread.io();
    let mut contenders = [
        Contender::new("reschedule_to, awaited", || hand_over(io)),
        Contender::new("Migratable", || move_task(cx, io)),
        Contender::new("Migratable in a C coroutine", || move_coroutine(cx, io)),
        Contender::new("aio_co_reschedule_self", || reschedule_self(cx, io)),
    ];
    play(&mut contenders).await;
    let [values, task, coroutine, theirs] = &contenders;
    Ok(vec![values.against(theirs), task.against(theirs), coroutine.against(theirs)])
}

async fn hand_over(io: &IoContext) -> f64 {
    let start = Instant::now();
    for trip in 0..TRIPS {
        let there = reschedule_to(io, ready(trip)).await;
        assert_eq!(there.expect("it does not panic"), trip);
    }
    per_operation(start.elapsed(), TRIPS)
}

async fn travel(m: &mut Migratable, io: IoContext) -> f64 {
    let start = Instant::now();
    for _ in 0..TRIPS {
        m.reschedule_to(&io).await;
        assert!(!executor::bql::is_locked(), "an iothread");
        m.to_main().await;
        assert!(executor::bql::is_locked(), "the main loop");
    }
    per_operation(start.elapsed(), TRIPS)
}

async fn move_task(cx: &MainCx, io: &IoContext) -> f64 {
    let io = io.clone();
    let moving = cx.spawn_migratable(async move |m: &mut Migratable| travel(m, io).await);
    moving.await.expect("it does not panic")
}

async fn move_coroutine(cx: &MainCx, io: &IoContext) -> f64 {
    let io = io.clone();
    let moving = spawn_migratable(cx, async move |m: &mut Migratable| travel(m, io).await);
    moving.await.expect("it does not panic")
}

async fn reschedule_self(cx: &MainCx, io: &IoContext) -> f64 {
    let io = io.clone();
    let moving = call(cx, move |_| {
        let start = Instant::now();
        for _ in 0..TRIPS {
            // SAFETY: in a coroutine that nobody else enters; the frames keep nothing that depends on the thread.
            // The iothread is kept by the caller.
            unsafe { host::aio_co_reschedule_self(io.context().as_raw()) };
            assert!(!executor::bql::is_locked(), "an iothread");
            // SAFETY: as above.
            unsafe { host::aio_co_reschedule_self(qemu_get_aio_context()) };
            assert!(executor::bql::is_locked(), "the main loop");
        }
        per_operation(start.elapsed(), TRIPS)
    });
    moving.await.expect("it does not panic")
}
