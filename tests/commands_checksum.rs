//! `x-file-checksum` of `examples/commands`: right digests, clear errors, progress, and all ways to end it.

#[allow(dead_code, reason = "the server's program uses the rest")]
#[path = "../examples/commands/mod.rs"]
mod commands;
#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/commands.rs"]
mod session;

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use common::{Client, TestServer, command_tasks, socket_path, wait_until};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use session::{TestFile, call, call_oob, receive, send, start, task_id, tasks};
use sha2::{Digest, Sha256, Sha512};

const ALGORITHMS: [&str; 4] = ["sha256", "sha512", "blake3", "crc32c"];
/// Longer than any test.
const ENDLESS: u64 = 1 << 40;
const CHECKSUM: &str = "qmp:x-file-checksum";

/// The checksum of bytes that are at hand.
fn digest(algorithm: &str, bytes: &[u8]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match algorithm {
        "sha256" => hex(&Sha256::digest(bytes)),
        "sha512" => hex(&Sha512::digest(bytes)),
        "blake3" => hex(blake3::hash(bytes).as_bytes()),
        "crc32c" => format!("{:08x}", crc32c::crc32c(bytes)),
        _ => panic!("no such algorithm: {algorithm}"),
    }
}

fn add_iothread(client: &mut Client<UnixStream>, id: &str) {
    call(client, "object-add", json!({"qom-type": "iothread", "id": id})).value();
}

fn delete_iothread(client: &mut Client<UnixStream>, id: &str) {
    call(client, "object-del", json!({"id": id})).value();
}

#[test]
fn published_test_vectors_are_met() {
    let file = TestFile::new(b"abc");
    let server = start();
    let mut client = server.client();
    let vectors = [
        ("sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "sha512",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
        ("blake3", "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
        ("crc32c", "364b3fb7"),
    ];

    for (algorithm, expected) in vectors {
        let arguments = json!({"filename": file.path(), "algorithm": algorithm});
        let result = call(&mut client, "x-file-checksum", arguments).value();
        assert_eq!(result["digest"], expected, "{algorithm}");
        assert_eq!(result["algorithm"], algorithm);
        assert_eq!(result["bytes"], 3);
    }
}

#[test]
fn every_part_of_a_file_has_the_digest_of_its_bytes_wherever_they_are_hashed() {
    // Several blocks, and a bit; in no block what is in another one.
    let bytes: Vec<u8> = (0..5_000_017_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    let file = TestFile::new(&bytes);
    let server = start();
    let mut client = server.client();
    add_iothread(&mut client, "io0");
    let end = bytes.len();
    let parts = [0..end, 0..0, 0..1, end..end, 1..end, 1_048_575..3_145_729, 77..1_048_653];

    for iothread in [json!({}), json!({"iothread": "io0"})] {
        for (algorithm, part) in ALGORITHMS.iter().flat_map(|a| parts.iter().map(move |p| (a, p))) {
            let mut arguments = iothread.clone();
            arguments["filename"] = file.path().into();
            arguments["algorithm"] = (*algorithm).into();
            arguments["offset"] = part.start.into();
            arguments["length"] = part.len().into();
            let result = call(&mut client, "x-file-checksum", arguments).value();
            assert_eq!(result["digest"], digest(algorithm, &bytes[part.clone()]), "{part:?}");
            assert_eq!(result["bytes"], part.len());
        }
    }
    delete_iothread(&mut client, "io0");
    assert!(!file.is_open());
}

#[test]
fn sha256_of_all_of_the_file_is_what_is_computed_unless_said_otherwise() {
    let file = TestFile::new(b"some bytes");
    let server = start();
    let mut client = server.client();

    let whole = call(&mut client, "x-file-checksum", json!({"filename": file.path()})).value();
    let rest = json!({"filename": file.path(), "offset": 5});
    let rest = call(&mut client, "x-file-checksum", rest).value();

    assert_eq!(whole["digest"], digest("sha256", b"some bytes"));
    assert_eq!(rest["digest"], digest("sha256", b"bytes"));
    assert!(rest["throughput"].as_u64().is_some_and(|throughput| throughput > 0), "{rest}");
}

#[test]
fn what_cannot_be_done_is_refused_in_the_words_of_qemu() {
    let file = TestFile::new(b"12345");
    let socket = TestFile { path: socket_path() };
    let _listener = UnixListener::bind(&socket.path).expect("the path is free");
    let fifo = TestFile { path: socket_path() };
    mkfifo(&fifo.path, Mode::S_IRUSR).expect("the path is free");
    let server = start();
    let mut client = server.client();
    let name = file.path();
    let cases = [
        (json!({}), "Need exactly one of 'filename' and 'fdname'".into()),
        (json!({"fdname": "none"}), "File descriptor named 'none' not found".into()),
        (json!({"filename": 1}), "Invalid parameter type for 'filename', expected: string".into()),
        (json!({"filename": name, "x": 1}), "Parameter 'x' is unexpected".into()),
        (
            json!({"filename": name, "algorithm": "md5"}),
            "Parameter 'algorithm' does not accept value 'md5'".into(),
        ),
        (json!({"filename": name, "iothread": "io9"}), "Cannot find iothread io9".into()),
        (
            json!({"filename": name, "offset": 6}),
            "Offset (6) cannot be greater than size of the containing file (5)".into(),
        ),
        (
            json!({"filename": name, "offset": 2, "length": 4}),
            "The sum of offset (2) and length (4) has to be smaller or equal to the actual size \
             of the containing file (5)"
                .into(),
        ),
        (
            json!({"filename": name, "offset": 1, "length": u64::MAX}),
            format!(
                "The sum of offset (1) and length ({}) has to be smaller or equal to the actual \
                 size of the containing file (5)",
                u64::MAX
            ),
        ),
        (
            json!({"filename": "/no/such/file"}),
            "Could not open '/no/such/file': No such file or directory".into(),
        ),
        (json!({"filename": "/"}), "Could not open '/': Is a directory".into()),
        (
            json!({"filename": socket.path()}),
            format!("Could not open '{}': No such device or address", socket.path()),
        ),
        (
            json!({"filename": fifo.path()}),
            format!(
                "Could not open '{}': A regular file was expected, but something else was given",
                fifo.path()
            ),
        ),
    ];

    for (arguments, expected) in cases {
        let answer = call(&mut client, "x-file-checksum", arguments.clone());
        assert_eq!(answer.error(), expected, "{arguments}");
    }
}

#[test]
fn a_file_without_permission_is_refused() {
    let file = TestFile::new(b"secret");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    std::fs::set_permissions(&file.path, mode).expect("the file is ours");
    if std::fs::File::open(&file.path).is_ok() {
        // Root may read everything; the socket in the test above stands for what cannot be opened.
        return;
    }
    let server = start();

    let answer = call(&mut server.client(), "x-file-checksum", json!({"filename": file.path()}));

    assert_eq!(answer.error(), format!("Could not open '{}': Permission denied", file.path()));
}

#[test]
fn a_file_that_becomes_shorter_is_an_error() {
    let file = TestFile::sparse(ENDLESS);
    let server = start();
    let (mut client, mut other) = (server.client(), server.client());
    start_endless(&mut client, &mut other, &file, json!({}));

    file.set_length(1);

    let expected = format!("Could not read '{}': The file has become shorter", file.path());
    assert_eq!(receive(&mut client).error(), expected);
    wait_until("the file is closed", || !file.is_open());
}

/// Starts a checksum that takes for ever, and waits until it runs; returns its task's id.
fn start_endless(
    client: &mut Client<UnixStream>,
    other: &mut Client<UnixStream>,
    file: &TestFile,
    mut arguments: Value,
) -> u64 {
    arguments["filename"] = file.path().into();
    send(client, "x-file-checksum", arguments);
    wait_until("the file is open", || file.is_open());
    task_id(other, CHECKSUM).expect("the command runs")
}

/// What is true when nothing is left of a checksum.
fn wait_until_nothing_is_left(client: &mut Client<UnixStream>, file: &TestFile) {
    wait_until("the command has gone", || command_tasks() == 0);
    wait_until("the iothread has nothing to do", || tasks(client, "io0").is_empty());
    wait_until("the file is closed", || !file.is_open());
}

/// A server, two of its clients, an iothread, and a checksum that the first of them has asked for.
struct Endless {
    server: TestServer,
    client: Client<UnixStream>,
    other: Client<UnixStream>,
    file: TestFile,
    id: u64,
}

impl Endless {
    fn start() -> Self {
        let file = TestFile::sparse(ENDLESS);
        let server = start();
        let (mut client, mut other) = (server.oob_client(), server.client());
        add_iothread(&mut other, "io0");
        let id = start_endless(&mut client, &mut other, &file, json!({"iothread": "io0"}));
        wait_until("the iothread works", || !tasks(&mut other, "io0").is_empty());
        Self { server, client, other, file, id }
    }

    fn end(mut self) {
        wait_until_nothing_is_left(&mut self.other, &self.file);
        delete_iothread(&mut self.other, "io0");
    }
}

#[test]
fn progress_is_told_to_every_client_about_ten_times_a_second() {
    let mut endless = Endless::start();
    let mut watcher = endless.server.client();

    let events: Vec<Value> = std::iter::repeat_with(|| watcher.receive()).take(4).collect();

    let mut before = 0;
    for event in &events {
        assert_eq!(event["event"], "X_FILE_CHECKSUM_PROGRESS");
        assert_eq!(event["data"]["task"], endless.id);
        assert_eq!(event["data"]["total"], ENDLESS);
        let done = event["data"]["done"].as_u64().expect("it is a number");
        assert!(done > before && done < ENDLESS, "{done} after {before}");
        before = done;
    }
    let micros = |event: &Value| {
        let part = |name: &str| event["timestamp"][name].as_u64().expect("it is a number");
        part("seconds") * 1_000_000 + part("microseconds")
    };
    // The wall clock may be set meanwhile, by little.
    let apart = micros(&events[3]) - micros(&events[0]);
    assert!(apart >= 290_000, "three periods in {apart} µs");
    let id = endless.id;
    call(&mut endless.other, "x-task-cancel", json!({"id": id})).value();
    endless.end();
}

#[test]
fn an_operator_can_cancel_it_in_band() {
    let mut endless = Endless::start();
    let id = endless.id;

    call(&mut endless.other, "x-task-cancel", json!({"id": id})).value();

    assert_eq!(receive(&mut endless.client).error(), "The command was cancelled");
    endless.end();
}

#[test]
fn its_client_can_cancel_it_out_of_band() {
    let mut endless = Endless::start();
    let id = endless.id;

    let cancel = call_oob(&mut endless.client, "x-task-cancel", json!({"id": id}));

    assert_eq!(cancel.reply["return"], json!({}));
    assert_eq!(receive(&mut endless.client).error(), "The command was cancelled");
    endless.end();
}

#[test]
fn cancelling_what_it_does_in_the_iothread_ends_it_too() {
    let mut endless = Endless::start();
    let there = tasks(&mut endless.other, "io0");
    assert_eq!(there.len(), 1, "{there:?}");

    call(&mut endless.other, "x-task-cancel", json!({"id": there[0]["id"]})).value();

    assert_eq!(receive(&mut endless.client).error(), "The command was cancelled");
    endless.end();
}

#[test]
fn it_ends_when_its_client_goes() {
    let Endless { server: _server, client, mut other, file, .. } = Endless::start();

    drop(client);

    wait_until_nothing_is_left(&mut other, &file);
    delete_iothread(&mut other, "io0");
}

#[test]
fn it_ends_when_its_client_goes_also_without_an_iothread() {
    let file = TestFile::sparse(ENDLESS);
    let server = start();
    let (mut client, mut other) = (server.client(), server.client());
    start_endless(&mut client, &mut other, &file, json!({}));

    drop(client);

    wait_until("the command has gone", || command_tasks() == 0);
    wait_until("the file is closed", || !file.is_open());
}

#[test]
fn the_thread_of_a_deleted_iothread_lasts_as_long_as_the_command() {
    let mut endless = Endless::start();
    let list = call(&mut endless.other, "query-iothreads", json!({})).value();
    let thread = format!("/proc/self/task/{}", list[0]["thread-id"]);

    delete_iothread(&mut endless.other, "io0");
    assert_eq!(call(&mut endless.other, "query-iothreads", json!({})).value(), json!([]));
    assert_eq!(task_id(&mut endless.other, CHECKSUM), Some(endless.id));
    assert!(Path::new(&thread).exists());

    let id = endless.id;
    call(&mut endless.other, "x-task-cancel", json!({"id": id})).value();
    wait_until("the thread has ended", || !Path::new(&thread).exists());
    wait_until_nothing_is_left(&mut endless.other, &endless.file);
}
