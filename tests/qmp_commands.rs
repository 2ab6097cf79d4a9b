//! Commands of all shapes behind a session: registered, found, called, answered.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use executor::qmp::{
    Arguments, Blocking, Call, CallFuture, Command, Coroutine, CoroutineCall, Error, Oob, Outcome,
    Registry, Session, SessionOptions, Version, VersionNumber, boxed,
};
use executor::{MainCx, NoCoroutine, OobContext, block_on, run_main};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Resize {
    device: String,
    size: i64,
}

#[derive(Deserialize, Serialize)]
struct Resized {
    device: String,
    old: i64,
}

struct BlockResize;

impl Command for BlockResize {
    const NAME: &'static str = "block_resize";
    type Mode = Coroutine;
    type Args = Resize;
    type Ret = Resized;
}

struct QueryCounter;

impl Command for QueryCounter {
    const NAME: &'static str = "x-query-counter";
    type Mode = Blocking;
    type Args = ();
    type Ret = u32;
}

struct CountLater;

impl Command for CountLater {
    const NAME: &'static str = "x-count-later";
    type Mode = Coroutine;
    type Args = ();
    type Ret = ();
}

struct Log;

impl Command for Log {
    const NAME: &'static str = "x-log";
    type Mode = Coroutine;
    type Args = ();
    type Ret = usize;
}

struct Yank;

impl Command for Yank {
    const NAME: &'static str = "yank";
    type Mode = Oob;
    type Args = ();
    type Ret = ();
}

/// Is pending once.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn block_resize(_cx: &MainCx, args: Resize) -> Result<Resized, Error> {
    yield_now().await;
    if args.size < 0 {
        return Err(Error::generic("Parameter 'size' expects a >0 size"));
    }
    Ok(Resized { device: args.device, old: 0 })
}

fn registry() -> Registry {
    let counter = Rc::new(Cell::new(0));
    let log = Rc::new(RefCell::new(Vec::new()));
    let mut registry = Registry::new();
    registry.command::<BlockResize, _>(block_resize);
    registry.command::<Yank, _>(|_: &OobContext, ()| Ok(()));
    registry.command::<QueryCounter, _>({
        let counter = Rc::clone(&counter);
        move |_: &mut NoCoroutine, ()| Ok(counter.get())
    });
    registry.command::<CountLater, _>(boxed(move |_cx, ()| {
        let counter = Rc::clone(&counter);
        Box::pin(async move {
            yield_now().await;
            counter.set(counter.get() + 1);
            Ok(())
        })
    }));
    registry.command::<Log, _>(boxed(move |_cx, ()| {
        let log = Rc::clone(&log);
        Box::pin(async move {
            log.borrow_mut().push("called");
            Ok(log.borrow().len())
        })
    }));
    registry
}

struct Ping;

impl Command for Ping {
    const NAME: &'static str = "x-ping";
    type Mode = Coroutine;
    type Args = ();
    type Ret = String;
}

fn task<F>(task: F) -> F
where
    F: for<'a> FnOnce(&'a MainCx) -> CallFuture<'a>,
{
    task
}

fn wait_for(nc: &mut NoCoroutine, call: CoroutineCall, arguments: Arguments) -> Outcome {
    block_on(nc, task(move |cx| call(cx, arguments)))
}

/// Answers everything in `input`, one request after the other.
fn converse(nc: &mut NoCoroutine, registry: &Registry, input: &str) -> Vec<String> {
    let qemu = VersionNumber { micro: 0, minor: 0, major: 1 };
    let mut session = Session::new(SessionOptions::new(Version { qemu, package: String::new() }));
    session.advance(session.unsent().len());
    session.feed(b"{'execute': 'qmp_capabilities'}");
    session.feed(input.as_bytes());
    while let Some(request) = session.next_request() {
        let oob = request.ticket.is_oob();
        let outcome = registry.find(&request.name, oob).and_then(|call| match call {
            Call::Blocking(call) => call(nc, request.arguments),
            Call::Coroutine(call) => wait_for(nc, call, request.arguments),
            Call::Oob(_) => {
                Err(Error::generic("out-of-band commands are for the monitor's thread"))
            }
        });
        session.respond(request.ticket, outcome);
    }
    let output = std::str::from_utf8(session.unsent()).expect("the output is ASCII");
    output.lines().skip(1).map(str::to_owned).collect()
}

/// One test, because the main loop has one thread.
#[test]
fn commands_are_called_with_their_types_and_answered_in_order() {
    let mut registry = registry();
    registry.command::<Ping, _>(async |_: &MainCx, (): ()| {
        yield_now().await;
        Ok("pong".into())
    });

    let input = "{'execute': 'block_resize', 'arguments': {'device': 'd', 'size': 1}, 'id': 1}
        {'execute': 'block_resize', 'arguments': {'device': 'd', 'size': -1}}
        {'execute': 'block_resize', 'arguments': {'size': 1}}
        {'execute': 'x-count-later'} {'execute': 'x-count-later', 'id': 2}
        {'execute': 'x-query-counter'}
        {'execute': 'x-log'} {'execute': 'x-log'}
        {'execute': 'x-ping'}
        {'execute': 'nope'}";
    let replies = run_main(|nc| converse(nc, &registry, input));

    assert_eq!(
        replies,
        [
            r#"{"return": {"device": "d", "old": 0}, "id": 1}"#,
            r#"{"error": {"class": "GenericError", "desc": "Parameter 'size' expects a >0 size"}}"#,
            r#"{"error": {"class": "GenericError", "desc": "Parameter 'device' is missing"}}"#,
            r#"{"return": {}}"#,
            r#"{"return": {}, "id": 2}"#,
            r#"{"return": 2}"#,
            r#"{"return": 1}"#,
            r#"{"return": 2}"#,
            r#"{"return": "pong"}"#,
            r#"{"error": {"class": "CommandNotFound", "desc": "The command nope has not been found"}}"#,
        ]
    );
}
