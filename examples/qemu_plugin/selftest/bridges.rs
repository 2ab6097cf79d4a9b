//! The ways out of async code: `x-selftest-bridges`.
//!
//! A nested event loop in a bottom half, blocking code without the lock, and the lock from an iothread, from a
//! task that stays there and from one that visits the main loop.
//!
//! Threads: the main loop's, and that of the iothread `io0`.

use executor::bql::is_locked;
use executor::clock::Clock;
use executor::qmp::{Command, Coroutine, Error, Registry};
use executor::time::sleep_on;
use executor::{Bql, BqlCell, IoCx, IoThread, MainCx, Migratable, NoCoroutine, block_on};

use super::SHORT;

pub(super) fn register(registry: &mut Registry) {
    registry.command::<Bridges, _>(bridges);
}

struct Bridges;

impl Command for Bridges {
    const NAME: &'static str = "x-selftest-bridges";
    type Mode = Coroutine;
    type Args = ();
    type Ret = u32;
}

/// How many bridges were crossed.
static CROSSED: BqlCell<u32> = BqlCell::new(0);

fn cross(bql: &Bql) {
    CROSSED.set(bql, CROSSED.get(bql) + 1);
}

async fn bridges(cx: &MainCx, (): ()) -> Result<u32, Error> {
    let thread = cx.bql(|bql| {
        CROSSED.set(bql, 0);
        IoThread::by_id(bql, "io0")
    });
    let io = thread.ok_or_else(|| Error::generic("there is no iothread io0"))?.io();
    let failed = |error: executor::JoinError| Error::generic(error.to_string());
    cx.run_in_bh(in_bottom_half).await.map_err(failed)?;
    let stays = io.run(async |io: &IoCx| {
        assert!(!is_locked(), "an iothread does not hold the lock");
        io.lock_bql(cross);
    });
    stays.await.map_err(failed)?;
    let visits = cx.spawn_migratable(async move |m: &mut Migratable| {
        m.reschedule_to(&io).await;
        m.on_main(cross).await;
        assert!(!is_locked(), "it is back");
    });
    visits.await.map_err(failed)?;
    Ok(cx.bql(|bql| CROSSED.get(bql)))
}

/// What only code outside of coroutines may do.
fn in_bottom_half(nc: &mut NoCoroutine) {
    block_on(nc, async |_: &MainCx| sleep_on(Clock::Realtime, SHORT).await);
    assert!(nc.unlocked(|| !is_locked()), "others may have the lock meanwhile");
    cross(nc);
}
