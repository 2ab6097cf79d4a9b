//! Commands that may not take longer than so, and of which only so many may run at a time.

#[path = "common/qmp_server.rs"]
mod common;

use std::future::pending;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use common::{Client, TestServer, command_tasks, on_main, wait_until};
use executor::qmp::{Blocking, Command, Coroutine, Registry, boxed};
use executor::time::sleep;
use executor::{MainCx, NoCoroutine};
use serde_json::json;

/// Says so when it is dropped.
struct Dropped(mpsc::Sender<&'static str>, &'static str);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.send(self.1).expect("the test listens");
    }
}

/// Never ends by itself; has a time of its own.
struct Limited;

impl Command for Limited {
    const NAME: &'static str = "x-limited";
    const TIMEOUT: Option<Duration> = Some(Duration::from_millis(20));
    type Mode = Coroutine;
    type Args = ();
    type Ret = ();
}

/// As long as the registry says.
struct Unlimited;

impl Command for Unlimited {
    const NAME: &'static str = "x-unlimited";
    type Mode = Coroutine;
    type Args = ();
    type Ret = ();
}

/// Ends at once.
struct Quick;

impl Command for Quick {
    const NAME: &'static str = "x-quick";
    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(1000));
    type Mode = Coroutine;
    type Args = ();
    type Ret = ();
}

fn add_timed(registry: &mut Registry, told: mpsc::Sender<&'static str>) {
    let tell = told.clone();
    registry.command::<Limited, _>(boxed(move |_: &MainCx, ()| {
        let dropped = Dropped(tell.clone(), "limited");
        Box::pin(async move {
            let _dropped = dropped;
            pending().await
        })
    }));
    registry.command::<Unlimited, _>(boxed(move |_: &MainCx, ()| {
        let dropped = Dropped(told.clone(), "unlimited");
        Box::pin(async move {
            let _dropped = dropped;
            pending().await
        })
    }));
    registry.command::<Quick, _>(boxed(|_: &MainCx, ()| Box::pin(async { Ok(()) })));
}

#[test]
fn a_command_that_takes_too_long_is_dropped_and_its_client_is_told() {
    let (told, tells) = mpsc::channel();
    let server = TestServer::start(move |registry, _| {
        registry.set_timeout(Duration::from_millis(30));
        add_timed(registry, told);
    });
    let mut client = server.client();

    let reply = client.ask("{'execute': 'x-limited'}");
    assert_eq!(
        reply["error"],
        json!({"class": "GenericError", "desc": "The command timed out after 20ms"})
    );
    assert_eq!(tells.try_recv(), Ok("limited"), "it is dropped before the reply");
    let reply = client.ask("{'execute': 'x-unlimited'}");
    assert_eq!(reply["error"]["desc"], "The command timed out after 30ms");
    assert_eq!(tells.try_recv(), Ok("unlimited"));
    assert_eq!(client.ask("{'execute': 'x-quick'}"), json!({"return": {}}));
    wait_until("nothing is left", || command_tasks() == 0);
}

/// Two may run at a time.
struct Narrow;

impl Command for Narrow {
    const NAME: &'static str = "x-narrow";
    const CONCURRENCY: Option<usize> = Some(2);
    type Mode = Coroutine;
    type Args = ();
    type Ret = ();
}

/// The test's hold on `x-narrow`.
#[derive(Default)]
struct Gate {
    running: AtomicUsize,
    open: AtomicBool,
}

/// Starts a server whose `x-narrow` runs until the gate is open, and so many clients that have called it.
fn narrow(count: usize) -> (TestServer, Arc<Gate>, Vec<Client<UnixStream>>) {
    let gate = Arc::<Gate>::default();
    let shared = Arc::clone(&gate);
    let server = TestServer::start(move |registry, _| {
        registry.command::<Narrow, _>(boxed(move |_: &MainCx, ()| {
            let gate = Arc::clone(&shared);
            Box::pin(async move {
                gate.running.fetch_add(1, Ordering::SeqCst);
                while !gate.open.load(Ordering::SeqCst) {
                    sleep(Duration::from_millis(1)).await;
                }
                gate.running.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            })
        }));
    });
    let mut clients: Vec<_> = (0..count).map(|_| server.client()).collect();
    for (before, client) in clients.iter_mut().enumerate() {
        client.send("{'execute': 'x-narrow'}");
        wait_until("it is there", || command_tasks() == before + 1);
    }
    wait_until("two have begun", || gate.running.load(Ordering::SeqCst) == 2);
    (server, gate, clients)
}

#[test]
fn no_more_commands_run_at_a_time_than_may() {
    let (server, gate, mut clients) = narrow(5);

    // Everything that can run does, in the time of another command.
    server.client().ask("{'execute': 'query-commands'}");
    assert_eq!(gate.running.load(Ordering::SeqCst), 2);
    gate.open.store(true, Ordering::SeqCst);

    for client in &mut clients {
        assert_eq!(client.receive(), json!({"return": {}}));
    }
}

#[test]
fn whoever_waits_for_a_turn_may_go() {
    let (_server, gate, mut clients) = narrow(4);

    // The third and the fourth wait.
    drop(clients.remove(2));
    wait_until("one has gone", || command_tasks() == 3);
    assert_eq!(gate.running.load(Ordering::SeqCst), 2);
    gate.open.store(true, Ordering::SeqCst);

    for client in &mut clients {
        assert_eq!(client.receive(), json!({"return": {}}));
    }
    wait_until("nothing is left", || command_tasks() == 0);
    assert_eq!(clients[0].ask("{'execute': 'x-narrow'}"), json!({"return": {}}));
}

/// Cannot be interrupted.
struct Rigid;

impl Command for Rigid {
    const NAME: &'static str = "x-rigid";
    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(1));
    type Mode = Blocking;
    type Args = ();
    type Ret = ();
}

#[test]
fn a_command_that_cannot_be_interrupted_has_no_time() {
    let refused = on_main(|_| {
        let register = || Registry::new().command::<Rigid, _>(|_: &mut NoCoroutine, ()| Ok(()));
        let payload = std::panic::catch_unwind(register).expect_err("it is refused");
        payload.downcast_ref::<String>().expect("it has a message").clone()
    });

    assert_eq!(refused, "the QMP command `x-rigid` cannot be limited: it does not await");
}
