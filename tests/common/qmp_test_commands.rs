//! Commands that wait, fail and tell what becomes of them.

#![allow(dead_code, reason = "every test program uses another part")]

use std::future::pending;
use std::sync::{Mutex, mpsc};

use executor::qmp::{Blocking, Command, Coroutine, Error, EventSink, Oob, Registry, boxed};
use executor::{MainCx, NoCoroutine, OobContext};
use serde::Deserialize;

/// Answers with its argument, at once.
struct Echo;

#[derive(Deserialize)]
struct EchoArgs {
    text: String,
}

impl Command for Echo {
    const NAME: &'static str = "x-echo";
    type Mode = Coroutine;
    type Args = EchoArgs;
    type Ret = String;
}

async fn echo(_: &MainCx, args: EchoArgs) -> Result<String, Error> {
    Ok(args.text)
}

/// Answers at once, out of band.
struct Ping;

impl Command for Ping {
    const NAME: &'static str = "x-ping";
    type Mode = Oob;
    type Args = ();
    type Ret = String;
}

fn ping(_: &OobContext, (): ()) -> Result<String, Error> {
    Ok("pong".into())
}

/// Emits STOP.
struct Stop;

impl Command for Stop {
    const NAME: &'static str = "stop";
    type Mode = Blocking;
    type Args = ();
    type Ret = ();
}

/// Registers `x-echo`, `x-ping` and `stop`.
pub(crate) fn add_quick_commands(registry: &mut Registry, events: &EventSink) {
    let events = events.clone();
    registry.command::<Echo, _>(echo);
    registry.command::<Ping, _>(ping);
    registry.command::<Stop, _>(move |_: &mut NoCoroutine, ()| {
        events.emit("STOP", ());
        Ok(())
    });
}

/// Never answers.
struct Wait;

impl Command for Wait {
    const NAME: &'static str = "x-wait";
    type Mode = Coroutine;
    type Args = ();
    type Ret = ();
}

/// Says so when it is dropped.
struct Dropped(mpsc::Sender<&'static str>);

impl Drop for Dropped {
    fn drop(&mut self) {
        // A test that has ended does not listen.
        let _ended = self.0.send("dropped");
    }
}

/// Registers `x-wait`, a task that tells when it begins and when it is dropped.
pub(crate) fn add_wait(registry: &mut Registry, told: mpsc::Sender<&'static str>) {
    registry.command::<Wait, _>(boxed(move |_: &MainCx, ()| {
        let told = told.clone();
        Box::pin(async move {
            told.send("begun").expect("the test listens");
            let _dropped = Dropped(told);
            pending().await
        })
    }));
}

/// Holds up the main loop until it is released.
struct Block;

impl Command for Block {
    const NAME: &'static str = "x-block";
    type Mode = Blocking;
    type Args = ();
    type Ret = ();
}

/// The test's end of `x-block`.
pub(crate) struct Release {
    pub(crate) begun: mpsc::Receiver<()>,
    pub(crate) release: mpsc::Sender<()>,
}

/// What [`add_block`] needs.
pub(crate) struct BlockParts {
    begun: mpsc::Sender<()>,
    released: Mutex<mpsc::Receiver<()>>,
}

pub(crate) fn block() -> (Release, BlockParts) {
    let (begin, begun) = mpsc::channel();
    let (release, released) = mpsc::channel();
    (Release { begun, release }, BlockParts { begun: begin, released: Mutex::new(released) })
}

/// Registers `x-block`.
pub(crate) fn add_block(registry: &mut Registry, parts: BlockParts) {
    registry.command::<Block, _>(move |_: &mut NoCoroutine, ()| {
        parts.begun.send(()).expect("the test listens");
        parts.released.lock().unwrap().recv().expect("the test releases it");
        Ok(())
    });
}

/// Panic, in each of the modes.
struct PanicInTask;
struct PanicInLoop;
struct PanicOutOfBand;

impl Command for PanicInTask {
    const NAME: &'static str = "x-panic-in-task";
    type Mode = Coroutine;
    type Args = ();
    type Ret = ();
}

impl Command for PanicInLoop {
    const NAME: &'static str = "x-panic-in-loop";
    type Mode = Blocking;
    type Args = ();
    type Ret = ();
}

impl Command for PanicOutOfBand {
    const NAME: &'static str = "x-panic-out-of-band";
    type Mode = Oob;
    type Args = ();
    type Ret = ();
}

async fn panic_in_task(_: &MainCx, (): ()) -> Result<(), Error> {
    panic!("as planned, in a task")
}

/// Registers `x-panic-in-task`, `x-panic-in-loop` and `x-panic-out-of-band`.
pub(crate) fn add_panics(registry: &mut Registry) {
    registry.command::<PanicInTask, _>(panic_in_task);
    registry.command::<PanicInLoop, _>(|_: &mut NoCoroutine, ()| panic!("as planned, in the loop"));
    registry.command::<PanicOutOfBand, _>(|_: &OobContext, ()| panic!("as planned, out of band"));
}
