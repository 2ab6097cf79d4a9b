//! Many at once: clients, tasks and commands by the thousand, and nothing left of them.
//!
//! Each takes some seconds at most. `SOAK_SECONDS=60 cargo test --test floods` repeats each for so long.

#[path = "common/qmp_test_commands.rs"]
mod commands;
#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/process.rs"]
mod process;
#[path = "common/usage.rs"]
mod usage;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::Write;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use commands::add_quick_commands;
use common::{TestServer, open_fds, wait_until};
use executor::{JoinHandle, LocalExecutor};
use process::in_own_process;
use serde_json::json;
use usage::{cpu_time, resident_kib};

/// Does it once, and then again until `SOAK_SECONDS` are over.
fn soak(mut once: impl FnMut()) {
    let seconds = std::env::var("SOAK_SECONDS").map_or(0, |text| text.parse().expect("a number"));
    let start = Instant::now();
    once();
    while start.elapsed() < Duration::from_secs(seconds) {
        once();
    }
}

/// Clients that come in groups of fifty: some say nothing, some ask, some leave in the middle of a request.
fn come_and_go(server: &TestServer, count: usize) {
    for _ in 0..count / 50 {
        let mut group: Vec<_> = (0..50).map(|_| server.connect()).collect();
        for (number, client) in group.iter_mut().enumerate() {
            match number % 4 {
                0 => client.send("{'execute': 'qmp_capabilities'}{'execute': 'x-echo', 'argu"),
                1 => assert!(client.receive()["QMP"].is_object()),
                2 => client.send("{'execute': 'qmp_capabilities'}{'execute': 'query-commands'}"),
                _ => (),
            }
        }
    }
    wait_until("everybody is gone", || server.clients() == 0);
}

/// The processor time that the process uses while this thread waits for `time`.
fn used_while_waiting(time: Duration) -> Duration {
    let (_open, nothing) = mpsc::channel::<()>();
    let before = cpu_time();
    nothing.recv_timeout(time).expect_err("nobody sends");
    cpu_time() - before
}

#[test]
fn two_thousand_clients_that_come_and_go_leave_no_fd_no_memory_and_no_work() {
    let name = "two_thousand_clients_that_come_and_go_leave_no_fd_no_memory_and_no_work";
    in_own_process(name, || {
        let server = TestServer::start(add_quick_commands);
        // What is made once is made now.
        come_and_go(&server, 500);
        let (fds, memory) = (open_fds(), resident_kib());

        soak(|| come_and_go(&server, 2000));

        assert_eq!(open_fds(), fds);
        let grown = resident_kib().saturating_sub(memory);
        println!("{grown} KiB more than after 500");
        assert!(grown < 1024, "{grown} KiB more than after 500 clients");
        // Less than one tick of the clock that /proc counts in. Somebody's last steps may still be under way.
        let idle = || used_while_waiting(Duration::from_millis(300));
        println!("{:?} of 300 ms while idle", idle());
        wait_until("the process is idle", || idle() < Duration::from_millis(1));
        assert_eq!(server.client().ask("{'execute': 'x-ping'}"), json!({"return": "pong"}));
    });
}

type Wakers = Rc<RefCell<Vec<Waker>>>;

/// A task that waits to be woken, once; its output is its number.
fn spawn_waiting(executor: &LocalExecutor, wakers: &Wakers, number: usize) -> JoinHandle<usize> {
    let wakers = Rc::clone(wakers);
    let mut polls = 0;
    executor.spawn(poll_fn(move |cx| {
        polls += 1;
        if polls == 2 {
            return Poll::Ready(number);
        }
        assert_eq!(polls, 1, "nobody wakes it twice");
        wakers.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }))
}

fn a_million_tasks() {
    const TASKS: usize = 1_000_000;
    let executor = LocalExecutor::new().expect("there are fds");
    let wakers = Wakers::default();
    let tasks: Vec<_> =
        (0..TASKS).map(|number| spawn_waiting(&executor, &wakers, number)).collect();
    while wakers.borrow().len() < TASKS {
        executor.run_once();
    }
    println!("{} MiB with a million tasks", resident_kib() >> 10);
    wakers.take().into_iter().for_each(Waker::wake);
    executor.run(async {
        for (number, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.expect("nothing panics"), number);
        }
    });
    assert!(executor.shutdown().is_empty(), "nobody is left");
}

#[test]
fn a_million_tasks_live_at_a_time_and_each_gives_its_output() {
    let name = "a_million_tasks_live_at_a_time_and_each_gives_its_output";
    in_own_process(name, || soak(a_million_tasks));
}

/// Many commands of one client, who reads the replies while it still sends.
fn pipeline(server: &TestServer, commands: usize) {
    let mut client = server.client();
    let mut writer = client.stream().try_clone().expect("there are fds");
    thread::scope(|scope| {
        scope.spawn(move || {
            let request = |id| format!("{{'execute': 'x-ping', 'id': {id}}}");
            for first in (0..commands).step_by(100) {
                let requests: String = (first..first + 100).map(request).collect();
                writer.write_all(requests.as_bytes()).expect("the server reads");
            }
        });
        for id in 0..commands {
            let reply = client.receive_line();
            assert_eq!(reply, format!("{{\"return\": \"pong\", \"id\": {id}}}\r\n"));
        }
    });
}

#[test]
fn a_hundred_thousand_pipelined_commands_are_answered_in_their_order() {
    let name = "a_hundred_thousand_pipelined_commands_are_answered_in_their_order";
    in_own_process(name, || {
        let server = TestServer::start(add_quick_commands);
        pipeline(&server, 2000);
        let memory = resident_kib();

        soak(|| pipeline(&server, 100_000));

        let grown = resident_kib().saturating_sub(memory);
        println!("{grown} KiB more than after 2000");
        assert!(grown < 1024, "{grown} KiB more than after 2000");
    });
}
