//! Faults of the system and of clients: no fds left, signals without end, peers that stall, vanish or never read.
//!
//! Limits, signal handlers and what is counted are the process's, so each case has a process of its own, or a
//! server that is one.

#[path = "common/qmp_test_commands.rs"]
mod commands;
#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/process.rs"]
mod process;
#[path = "common/usage.rs"]
mod usage;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use commands::add_quick_commands;
use common::{
    Client, LONG, TestServer, command_tasks, connect, on_main, open_fds, socket_path, wait_until,
};
use executor::blocking::File as AsyncFile;
use executor::qmp::{Address, Command, Coroutine, Error, Registry};
use executor::{LocalExecutor, MainCx, net};
use futures_util::io::{AsyncReadExt, AsyncWriteExt};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, socket};
use nix::unistd::Pid;
use process::in_own_process;
use serde_json::json;
use usage::{DoneOnDrop, cpu_time, resident_kib};

/// Replies with a quarter of a mebibyte.
struct Large;

const LARGE: usize = 1 << 18;

impl Command for Large {
    const NAME: &'static str = "x-large";
    type Mode = Coroutine;
    type Args = ();
    type Ret = String;
}

async fn large(_: &MainCx, (): ()) -> Result<String, Error> {
    Ok("a".repeat(LARGE))
}

fn start() -> TestServer {
    TestServer::start(|registry: &mut Registry, events| {
        add_quick_commands(registry, events);
        registry.command::<Large, _>(large);
    })
}

/// Takes every fd that the process may have.
fn take_all_fds() -> Vec<File> {
    let mut taken = Vec::new();
    loop {
        match File::open("/dev/null") {
            Ok(file) => taken.push(file),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                return taken;
            }
        }
    }
}

fn limit_fds_to(soft: libc::rlim_t) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is ours to be written.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur = soft;
    // SAFETY: `limit` is initialised.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
}

#[test]
fn without_fds_the_clients_that_are_there_are_served_and_others_once_there_are_fds() {
    let name = "without_fds_the_clients_that_are_there_are_served_and_others_once_there_are_fds";
    in_own_process(name, || {
        let server = start();
        let mut early = server.client();
        let flags = SockFlag::SOCK_CLOEXEC;
        let late: Vec<UnixStream> = (0..20)
            .map(|_| socket(AddressFamily::Unix, SockType::Stream, flags, None))
            .map(|fd| fd.expect("there are fds").into())
            .collect();
        limit_fds_to(64);
        let taken = take_all_fds();

        let address = UnixAddr::new(&server.path).expect("the path is short");
        for stream in &late {
            nix::sys::socket::connect(stream.as_raw_fd(), &address).expect("the queue has room");
        }
        let before = cpu_time();
        late[0].set_read_timeout(Some(Duration::from_millis(500))).expect("it is not zero");
        let silence = (&late[0]).read(&mut [0]).expect_err("nobody can accept it");
        assert_eq!(silence.kind(), ErrorKind::WouldBlock);
        let spent = cpu_time() - before;
        assert!(spent < Duration::from_millis(50), "{spent:?} of half a second are not patience");
        for _ in 0..100 {
            assert_eq!(early.ask("{'execute': 'x-ping'}"), json!({"return": "pong"}));
            let echo = early.ask("{'execute': 'x-echo', 'arguments': {'text': 'a'}}");
            assert_eq!(echo, json!({"return": "a"}));
        }
        drop(taken);
        for stream in late {
            let mut client = Client::new(stream);
            assert!(client.receive()["QMP"].is_object());
        }
        assert!(server.client().ask("{'execute': 'x-ping'}")["return"].is_string());
    });
}

/// Sends requests until nothing moves any more, as seen between many answers to a client that is well.
fn stuff(deaf: &UnixStream, request: &[u8], well: &mut Client<UnixStream>) -> usize {
    deaf.set_nonblocking(true).expect("the socket is open");
    let (mut sent, mut refused) = (0, 0);
    while refused < 20 {
        let mut stream = deaf;
        match stream.write(request) {
            Ok(count) => (sent, refused) = (sent + count, 0),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                refused += 1;
                let echo = well.ask("{'execute': 'x-echo', 'arguments': {'text': 'a'}}");
                assert_eq!(echo, json!({"return": "a"}));
            }
        }
        assert!(sent < 32 << 20, "the server reads on and on");
    }
    sent
}

/// The bound for a client that does not read: the limit of the output (1 MiB) and the one reply that was running,
/// in a vector that doubles when it grows, while it grows beside the one before, and 4 KiB of input.
/// 100 000 replies of x-large would be 25 GiB.
#[test]
fn clients_that_never_read_cost_four_mebibytes_each_at_most() {
    let name = "clients_that_never_read_cost_four_mebibytes_each_at_most";
    in_own_process(name, || {
        const CLIENTS: usize = 16;
        let server = start();
        let mut well = server.client();
        let deaf: Vec<_> = (0..CLIENTS).map(|_| server.client()).collect();
        let requests = "{'execute': 'x-large'}".repeat(100);
        let before = resident_kib();

        for deaf in &deaf {
            stuff(deaf.stream(), requests.as_bytes(), &mut well);
        }

        let grown = resident_kib().saturating_sub(before);
        println!("{grown} KiB for {CLIENTS} clients");
        assert!(grown <= CLIENTS * 4096, "{grown} KiB for {CLIENTS} clients");
        drop(deaf);
        wait_until("they are gone", || server.clients() == 1);
        assert_eq!(well.ask("{'execute': 'x-ping'}"), json!({"return": "pong"}));
    });
}

#[test]
fn two_hundred_clients_that_send_a_byte_at_a_time_are_answered_and_delay_nobody() {
    let name = "two_hundred_clients_that_send_a_byte_at_a_time_are_answered_and_delay_nobody";
    in_own_process(name, || {
        let server = start();
        let mut well = server.client();
        let mut slow: Vec<_> = (0..200).map(|_| server.client()).collect();
        let request = |number: usize| {
            format!("{{'execute': 'x-echo', 'arguments': {{'text': 'client {number:03}'}}}}")
        };
        for place in 0..request(0).len() {
            for (number, client) in slow.iter_mut().enumerate() {
                client.send(&request(number).as_bytes()[place..=place]);
            }
            let echo = well.ask("{'execute': 'x-echo', 'arguments': {'text': 'quick'}}");
            assert_eq!(echo, json!({"return": "quick"}));
        }
        for (number, client) in slow.iter_mut().enumerate() {
            assert_eq!(client.receive(), json!({"return": format!("client {number:03}")}));
        }
    });
}

/// How many signals have arrived.
static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_signal(_: libc::c_int) {
    // Relaxed: only the number matters.
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Sends signals to every thread but its own until `done`; system calls are not restarted.
fn storm(done: &AtomicBool) {
    let handler = SigHandler::Handler(count_signal);
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing but add to an atomic.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.expect("the signal can be handled");
    let (process, own) = (std::process::id(), nix::unistd::gettid().as_raw());
    while !done.load(Ordering::Relaxed) {
        let threads = fs::read_dir("/proc/self/task").expect("the kernel lists the threads");
        let ids = threads.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        for id in ids.filter(|id: &i32| *id != own) {
            // SAFETY: no memory is involved. A thread that has ended is an error, which is fine.
            unsafe { libc::syscall(libc::SYS_tgkill, process, id, libc::SIGUSR1) };
        }
    }
}

/// Repeats `f` until ten thousand signals have arrived.
fn in_a_storm(mut f: impl FnMut()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let storm = scope.spawn(|| storm(&done));
        let _done = DoneOnDrop(&done);
        while SIGNALS.load(Ordering::Relaxed) < 10_000 && !storm.is_finished() {
            f();
        }
    });
}

async fn sum_of(path: PathBuf) -> (u64, usize) {
    let file = AsyncFile::open(path).await.expect("the file is there");
    let (mut sum, mut length) = (0, 0);
    loop {
        let offset = u64::try_from(length).expect("it is small");
        let (buffer, result) = file.read_at(vec![0; 4096], offset).await;
        match result.expect("the file is readable") {
            0 => return (sum, length),
            count => {
                sum += buffer[..count].iter().map(|&byte| u64::from(byte)).sum::<u64>();
                length += count;
            }
        }
    }
}

async fn ping_pong(rounds: u32) {
    let (mut one, mut other) = net::UnixStream::pair().expect("there are fds");
    let echo = async {
        let mut bytes = [0; 4];
        while other.read_exact(&mut bytes).await.is_ok() {
            other.write_all(&bytes).await.expect("somebody reads");
        }
    };
    let play = async move {
        for round in 0..rounds {
            one.write_all(&round.to_ne_bytes()).await.expect("somebody reads");
            let mut bytes = [0; 4];
            one.read_exact(&mut bytes).await.expect("somebody answers");
            assert_eq!(u32::from_ne_bytes(bytes), round);
        }
    };
    futures_util::future::join(echo, play).await;
}

#[test]
fn results_are_right_in_a_storm_of_signals_that_interrupt_every_system_call() {
    let name = "results_are_right_in_a_storm_of_signals_that_interrupt_every_system_call";
    in_own_process(name, || {
        let path = std::env::temp_dir().join(format!("faults-{}", std::process::id()));
        let bytes: Vec<u8> = (0..2_000_000u32).map(|number| (number % 251) as u8).collect();
        fs::write(&path, &bytes).expect("the folder is writable");
        let sum = bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();

        in_a_storm(|| {
            let executor = LocalExecutor::new().expect("there are fds");
            let games = (0..4).map(|_| executor.spawn(ping_pong(500))).collect::<Vec<_>>();
            assert_eq!(executor.run(sum_of(path.clone())), (sum, bytes.len()));
            for game in games {
                executor.run(game).expect("nothing panics");
            }
        });
        fs::remove_file(path).expect("it is still there");
    });
}

#[test]
fn a_server_answers_in_a_storm_of_signals() {
    let name = "a_server_answers_in_a_storm_of_signals";
    in_own_process(name, || {
        let server = start();
        in_a_storm(|| {
            let mut client = server.client();
            for number in 0..1000 {
                let text = format!("'execute': 'x-echo', 'arguments': {{'text': '{number}'}}");
                assert_eq!(client.ask(&format!("{{{text}}}"))["return"], number.to_string());
            }
            for _ in 0..20 {
                let reply = client.ask("{'execute': 'x-large'}");
                assert_eq!(reply["return"].as_str().map(str::len), Some(LARGE));
            }
        });
        server.shut_down();
    });
}

/// Reads `count` bytes of replies; more than the greeting are on their way.
fn ask_much_and_read(mut stream: impl Read + Write, count: usize) {
    let requests =
        "{'execute': 'qmp_capabilities'}".to_owned() + &"{'execute': 'x-large'}".repeat(9);
    stream.write_all(requests.as_bytes()).expect("the server listens");
    stream.read_exact(&mut vec![0; count]).expect("the server answers");
}

fn reset_on_close(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::Linger, &linger)
        .expect("the option is known");
}

#[test]
fn clients_that_break_off_in_the_middle_of_replies_leave_nothing() {
    let name = "clients_that_break_off_in_the_middle_of_replies_leave_nothing";
    in_own_process(name, || {
        let server = start();
        server.listen(Address::Tcp("127.0.0.1:0".into())).expect("the kernel has a port");
        let addresses = server.with(|server| server.local_addresses());
        let Address::Tcp(place) = &addresses[1] else { panic!("{addresses:?}") };
        let mut well = server.client();
        let fds = open_fds();

        for round in 0..50 {
            let count = 100 + round * LARGE / 8;
            // The server's write fails with EPIPE …
            ask_much_and_read(UnixStream::connect(&server.path).expect("it listens"), count);
            // … or, as here, with ECONNRESET.
            let tcp = TcpStream::connect(place).expect("it listens");
            reset_on_close(&tcp);
            ask_much_and_read(tcp, count);
            // A client that stays, and has only said that it will not read, is told with EPIPE, too.
            let mut stays = UnixStream::connect(&server.path).expect("it listens");
            stays.shutdown(Shutdown::Read).expect("it is connected");
            // The server may have met the error at its greeting.
            let _closed = stays.write_all(b"{'execute': 'qmp_capabilities'}");
            assert_eq!(well.ask("{'execute': 'x-ping'}"), json!({"return": "pong"}));
            wait_until("the server lets go", || server.clients() == 1);
        }

        assert_eq!(open_fds(), fds);
        wait_until("no command runs", || command_tasks() == 0);
        assert!(connect(&server.path).receive()["QMP"].is_object());
        assert_eq!(on_main(|_| 1), 1, "the main loop is well");
    });
}

/// A program that is killed if its test fails.
struct Program(Option<Child>);

impl Program {
    fn id(&self) -> Pid {
        let id = self.0.as_ref().expect("it runs").id();
        Pid::from_raw(i32::try_from(id).expect("it is small"))
    }

    /// Waits for the end, which may not take long.
    fn wait(mut self) -> ExitStatus {
        let id = self.id();
        let mut child = self.0.take().expect("it runs");
        let (tell, told) = mpsc::channel();
        thread::spawn(move || tell.send(child.wait().expect("it is our child")));
        told.recv_timeout(LONG).unwrap_or_else(|_| {
            let _ended = kill(id, Signal::SIGKILL);
            panic!("the server does not end")
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ended = self.0.as_mut().map(Child::kill);
    }
}

/// Starts `target/debug/examples/qmp_server` and waits until it listens at `path`.
fn start_program(path: &Path) -> Program {
    let test = std::env::current_exe().expect("a test has an executable");
    let profile = test.ancestors().nth(2).expect("it is in a folder of a folder");
    let program = profile.join("examples/qmp_server");
    assert!(program.exists(), "{} is missing: run all of `cargo test`", program.display());
    let mut process = Process::new(program);
    process.arg("--qmp").arg(format!("unix:{}", path.display()));
    let mut child = process.stderr(Stdio::piped()).spawn().expect("the program can be started");
    let stderr = child.stderr.take().expect("it is a pipe");
    let program = Program(Some(child));
    let said = BufReader::new(stderr).lines().next();
    assert!(said.is_some_and(|line| line.is_ok_and(|line| line.contains("listening"))));
    program
}

/// Sends commands without a pause until the server has gone; counts the replies.
fn keep_busy(path: &Path, replies: &AtomicUsize) {
    let Ok(stream) = UnixStream::connect(path) else { return };
    let mut writer = stream.try_clone().expect("there are fds");
    let requests = "{'execute': 'query-name'}{'execute': 'query-commands'}".repeat(20);
    thread::scope(|scope| {
        scope.spawn(move || {
            let negotiation = "{'execute': 'qmp_capabilities'}";
            let mut sent = writer.write_all(negotiation.as_bytes());
            while sent.is_ok() {
                sent = writer.write_all(requests.as_bytes());
            }
        });
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            serde_json::from_str::<serde_json::Value>(&line).expect("no line is cut in two");
            replies.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// Ends a server that three clients keep busy after so many replies; one more reads nothing in every third round.
fn end_after(count: usize, with_deaf: bool) {
    let path = socket_path();
    let program = start_program(&path);
    let replies = AtomicUsize::new(0);
    let deaf = with_deaf.then(|| UnixStream::connect(&path).expect("it listens"));
    if let Some(mut deaf) = deaf.as_ref() {
        let requests = "{'execute': 'qmp_capabilities'}{'execute': 'query-commands'}";
        deaf.write_all(requests.as_bytes()).expect("it listens");
    }
    let (path, replies) = (&path, &replies);
    thread::scope(move |scope| {
        (0..3).for_each(|_| drop(scope.spawn(|| keep_busy(path, replies))));
        wait_until("so many replies", || replies.load(Ordering::Relaxed) >= count);
        kill(program.id(), Signal::SIGTERM).expect("it runs");
        let start = Instant::now();
        let status = program.wait();
        let took = start.elapsed();
        assert_eq!(status.code(), Some(0), "after {count} replies: {status}");
        // A second is what a client has for its farewell.
        assert!(took < Duration::from_secs(5), "after {count} replies it took {took:?}");
        assert!(!path.exists(), "after {count} replies the socket's file is still there");
    });
}

#[test]
fn a_busy_server_that_is_told_to_end_does_so_in_time_at_whatever_point() {
    // The same points each time (Lehmer's generator); the threads' timing makes them different ones.
    let mut seed: usize = 48_271;
    for round in 0..50 {
        seed = seed * 48_271 % 0x7fff_ffff;
        end_after(seed % 300, round % 3 == 0);
    }
}
