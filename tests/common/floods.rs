//! Clients by the thousand: some come and go, some are slow, some do not read.

#![allow(dead_code, reason = "every test program uses another part")]

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::common::{Client, TestServer, wait_until};
use crate::usage::cpu_time;

/// Clients that come in groups of fifty: some say nothing, some ask, some leave in the middle of a request.
pub(crate) fn come_and_go(server: &TestServer, count: usize) {
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
}

/// Clients that send a byte at a time and read a byte at a time, one after the other; each gets its own answer.
pub(crate) fn slow_clients(server: &TestServer, count: usize) {
    let clients: Vec<_> = (0..count).map(|_| server.client()).collect();
    let text = |number| format!("client {number:03}");
    let request =
        |number| format!("{{'execute': 'x-echo', 'arguments': {{'text': '{}'}}}}", text(number));
    for place in 0..request(0).len() {
        for (number, client) in clients.iter().enumerate() {
            let byte = request(number).as_bytes()[place];
            client.stream().write_all(&[byte]).expect("the server is there");
        }
    }
    let reply = |number| format!("{{\"return\": \"{}\"}}\r\n", text(number));
    for place in 0..reply(0).len() {
        for (number, client) in clients.iter().enumerate() {
            let mut byte = [0];
            client.stream().read_exact(&mut byte).expect("the server answers");
            assert_eq!(byte[0], reply(number).as_bytes()[place], "client {number}, byte {place}");
        }
    }
}

/// Commands that a client sends without reading, and the replies that it reads when the server takes no more.
pub(crate) struct Pipeline {
    client: Client<UnixStream>,
    commands: usize,
    /// What is still to be sent.
    rest: Vec<u8>,
}

fn ping(id: usize) -> String {
    format!("{{'execute': 'x-ping', 'id': {id}}}")
}

impl Pipeline {
    /// Sends as much of so many commands as the server takes while nobody reads.
    pub(crate) fn stuff(server: &TestServer, commands: usize) -> Self {
        let client = server.client();
        let text: String = (0..commands).map(ping).collect();
        let mut stream = client.stream();
        stream.set_nonblocking(true).expect("the socket is open");
        let (mut sent, mut refused) = (0, 0);
        // Each answer to another client is a turn that the server had.
        let mut well = server.client();
        while refused < 50 && sent < text.len() {
            match stream.write(&text.as_bytes()[sent..]) {
                Ok(count) => (sent, refused) = (sent + count, 0),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    assert_eq!(well.ask("{'execute': 'x-ping'}")["return"], "pong");
                    refused += 1;
                }
            }
        }
        stream.set_nonblocking(false).expect("the socket is open");
        Self { client, commands, rest: text.as_bytes()[sent..].to_vec() }
    }

    /// Whether the server has stopped to take commands.
    pub(crate) fn is_stuck(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Reads all replies, which are in the order of the commands, while the rest is sent.
    pub(crate) fn read_all(mut self) {
        let mut writer = self.client.stream().try_clone().expect("there are fds");
        let rest = std::mem::take(&mut self.rest);
        thread::scope(|scope| {
            scope.spawn(move || writer.write_all(&rest).expect("the server reads on"));
            for id in 0..self.commands {
                let reply = self.client.receive_line();
                assert_eq!(reply, format!("{{\"return\": \"pong\", \"id\": {id}}}\r\n"));
            }
        });
    }
}

/// The processor time that the process uses while this thread waits for `time`.
fn used_while_waiting(time: Duration) -> Duration {
    let (_open, nothing) = mpsc::channel::<()>();
    let before = cpu_time();
    nothing.recv_timeout(time).expect_err("nobody sends");
    cpu_time() - before
}

/// Waits until the process does nothing: less than one tick of the clock that /proc counts in. Somebody's last steps
/// may still be under way.
pub(crate) fn wait_until_idle() {
    let idle = || used_while_waiting(Duration::from_millis(300));
    println!("{:?} of 300 ms while idle", idle());
    wait_until("the process is idle", || idle() < Duration::from_millis(1));
}
