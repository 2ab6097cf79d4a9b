//! A command that keeps an iothread busy while sockets there become readable and sleeps end.
//!
//! Threads: the main loop's, and the iothread's.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use executor::clock::Clock;
use executor::net::UnixStream;
use executor::qmp::{Command, Coroutine, Error, Registry};
use executor::time::sleep_on;
use executor::{IoCx, IoThread, MainCx};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use serde::Deserialize;

pub(super) fn register(registry: &mut Registry) {
    registry.command::<BusyIothread, _>(busy_iothread);
}

struct BusyIothread;

impl Command for BusyIothread {
    const NAME: &'static str = "x-selftest-busy-iothread";
    type Mode = Coroutine;
    type Args = BusyIothreadArgs;
    /// How many bytes came back.
    type Ret = u32;
}

#[derive(Deserialize)]
struct BusyIothreadArgs {
    iothread: String,
}

/// Longer than it takes.
const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_micros(100);
/// So many bytes go there and back, with a sleep after each.
const BYTES: u32 = 100;

async fn busy_iothread(cx: &MainCx, args: BusyIothreadArgs) -> Result<u32, Error> {
    let thread = cx.bql(|bql| IoThread::by_id(bql, &args.iothread));
    let thread = thread.ok_or_else(|| Error::generic("there is no such iothread"))?;
    let arrived = thread.io().run(echo_beside_a_busy_task).await;
    arrived.map_err(|error| Error::generic(error.to_string()))
}

async fn echo_beside_a_busy_task(cx: &IoCx) -> u32 {
    let (mut here, mut there) = UnixStream::pair().expect("there are descriptors left");
    let arrived = Rc::new(Cell::new(0));
    let counted = Rc::clone(&arrived);
    let echo = cx.spawn(async move |_: &IoCx| {
        let mut byte = [0];
        while there.read_exact(&mut byte).await.is_ok() {
            if there.write_all(&byte).await.is_err() {
                return;
            }
        }
    });
    let send = cx.spawn(async move |_: &IoCx| {
        let mut byte = [1];
        while counted.get() < BYTES {
            here.write_all(&byte).await.expect("the other end is there");
            here.read_exact(&mut byte).await.expect("the other end answers");
            sleep_on(Clock::Realtime, SHORT).await;
            counted.set(counted.get() + 1);
        }
    });
    // First the loop learns to ask for descriptors without a system call.
    while arrived.get() < BYTES / 2 {
        sleep_on(Clock::Realtime, SHORT).await;
    }
    let begun = Instant::now();
    poll_fn(|cx| {
        if arrived.get() == BYTES || begun.elapsed() > LONG {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    drop((echo, send));
    arrived.get()
}
