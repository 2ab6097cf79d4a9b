//! Many at once: clients, tasks and commands by the thousand, and nothing left of them.
//!
//! Each takes some seconds at most. `SOAK_SECONDS=60 cargo test --test floods` repeats each for so long.

#[path = "common/qmp_test_commands.rs"]
mod commands;
#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/floods.rs"]
mod floods;
#[path = "common/process.rs"]
mod process;
#[path = "common/usage.rs"]
mod usage;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::Write;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use commands::add_quick_commands;
use common::{TestServer, open_fds, wait_until};
use executor::{JoinHandle, LocalExecutor};
use floods::{Pipeline, come_and_go, slow_clients, wait_until_idle};
use process::in_own_process;
use serde_json::json;
use usage::resident_kib;

/// Does it once, and then again until `SOAK_SECONDS` are over.
fn soak(mut once: impl FnMut()) {
    let seconds = std::env::var("SOAK_SECONDS").map_or(0, |text| text.parse().expect("a number"));
    let start = Instant::now();
    once();
    while start.elapsed() < Duration::from_secs(seconds) {
        once();
    }
}

#[test]
fn ten_thousand_clients_that_come_and_go_leave_no_fd_no_memory_and_no_work() {
    let name = "ten_thousand_clients_that_come_and_go_leave_no_fd_no_memory_and_no_work";
    in_own_process(name, || {
        let server = TestServer::start(add_quick_commands);
        let all_gone = || wait_until("everybody is gone", || server.clients() == 0);
        // What is made once is made now.
        come_and_go(&server, 500);
        all_gone();
        let (fds, memory) = (open_fds(), resident_kib());

        soak(|| {
            come_and_go(&server, 10_000);
            all_gone();
        });

        assert_eq!(open_fds(), fds);
        let grown = resident_kib().saturating_sub(memory);
        println!("{grown} KiB more than after 500");
        assert!(grown < 1024, "{grown} KiB more than after 500 clients");
        wait_until_idle();
        assert_eq!(server.client().ask("{'execute': 'x-ping'}"), json!({"return": "pong"}));
    });
}

#[test]
fn two_hundred_clients_that_send_and_read_a_byte_at_a_time_get_their_own_answers() {
    let name = "two_hundred_clients_that_send_and_read_a_byte_at_a_time_get_their_own_answers";
    in_own_process(name, || {
        let server = TestServer::start(add_quick_commands);
        soak(|| slow_clients(&server, 200));
        wait_until("everybody is gone", || server.clients() == 0);
    });
}

/// The bound is that of `faults.rs` for one client: the limit of the output, twice while the vector grows, and the
/// input; 100 000 replies are 3 MiB. What is sent and not taken waits in the socket, which is not this process's.
#[test]
fn a_hundred_thousand_commands_of_a_client_that_does_not_read_wait_in_its_socket_and_are_answered()
{
    let name = "a_hundred_thousand_commands_of_a_client_that_does_not_read_wait_in_its_socket_and_are_answered";
    in_own_process(name, || {
        let server = TestServer::start(add_quick_commands);
        // The test's own memory is there before: the texts of the commands.
        Pipeline::stuff(&server, 100_000).read_all();
        let memory = resident_kib();

        soak(|| {
            let pipelines: Vec<_> = (0..4).map(|_| Pipeline::stuff(&server, 100_000)).collect();
            assert!(pipelines.iter().all(Pipeline::is_stuck), "the server takes it all");
            let grown = resident_kib().saturating_sub(memory);
            println!("{grown} KiB for four clients");
            // The texts that are not sent yet are the test's.
            assert!(grown < 4 * (4096 + 4096), "{grown} KiB for four clients");
            pipelines.into_iter().for_each(Pipeline::read_all);
        });
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
