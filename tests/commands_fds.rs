//! `x-file-checksum` of files that clients have opened themselves, and passed.

#[allow(dead_code, reason = "the server's program uses the rest")]
#[path = "../examples/commands/mod.rs"]
mod commands;
#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/passed_fds.rs"]
mod passed_fds;
#[path = "common/commands.rs"]
mod session;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use commands::files::Files;
use commands::{register_extensions, register_machine};
use common::{Client, TestServer, main_probe, open_fds, wait_until};
use passed_fds::pass;
use serde_json::{Value, json};
use session::{TestFile, call, receive};

/// A server that opens next to nothing for its clients.
fn start() -> TestServer {
    TestServer::start(|registry, events| {
        registry.add_fd_commands();
        register_machine(registry, None, events);
        let nothing = Files::below(std::path::Path::new("/proc/self/fdinfo"));
        let nothing = nothing.expect("the folder is there");
        register_extensions(registry, main_probe(), events, nothing);
    })
}

fn give(client: &mut Client<UnixStream>, fd: impl Into<OwnedFd>) {
    let request = json!({"execute": "getfd", "arguments": {"fdname": "disk"}});
    pass(client.stream(), &request.to_string(), vec![fd.into()]);
    receive(client).value();
}

fn arguments(more: &Value) -> Value {
    let mut arguments = json!({"fdname": "disk", "algorithm": "crc32c"});
    let more = more.as_object().expect("it is an object").clone();
    arguments.as_object_mut().expect("it is an object").extend(more);
    arguments
}

#[test]
fn a_file_that_the_client_has_opened_is_read_from_its_beginning_wherever_it_is_hashed() {
    let file = TestFile::new(b"123456789");
    let server = start();
    let mut client = server.client();
    call(&mut client, "object-add", json!({"qom-type": "iothread", "id": "io0"})).value();
    let before = open_fds();

    for more in [json!({}), json!({"iothread": "io0"}), json!({"length": 9})] {
        let mut open = File::open(&file.path).expect("the file is there");
        std::io::Seek::seek(&mut open, std::io::SeekFrom::End(0)).expect("a file has an end");
        give(&mut client, open);
        let checksum = call(&mut client, "x-file-checksum", arguments(&more)).value();
        assert_eq!(checksum["digest"], "e3069283", "{more}");
    }
    wait_until("nothing is open any more", || open_fds() == before);
    // It was theirs once.
    let again = call(&mut client, "x-file-checksum", arguments(&json!({})));
    assert_eq!(again.error(), "File descriptor named 'disk' not found");
    call(&mut client, "object-del", json!({"id": "io0"})).value();
}

#[test]
fn what_cannot_be_read_is_refused_and_closed() {
    let file = TestFile::new(b"12345");
    let server = start();
    let mut client = server.client();
    let before = open_fds();
    let write_only = || File::options().write(true).open(&file.path).expect("the file is there");
    let read_only = || File::open(&file.path).expect("the file is there");
    let socket = || UnixStream::pair().expect("there are fds").0;
    let cases: [(OwnedFd, Value, &str); 4] = [
        (
            write_only().into(),
            json!({}),
            "Could not read file descriptor 'disk': Bad file descriptor",
        ),
        (
            socket().into(),
            json!({}),
            "Could not open file descriptor 'disk': A regular file was expected, but something else was given",
        ),
        (
            read_only().into(),
            json!({"offset": 6}),
            "Offset (6) cannot be greater than size of the containing file (5)",
        ),
        (
            read_only().into(),
            json!({"filename": file.path()}),
            "Need exactly one of 'filename' and 'fdname'",
        ),
    ];
    for (fd, more, expected) in cases {
        give(&mut client, fd);
        let refused = call(&mut client, "x-file-checksum", arguments(&more));
        assert_eq!(refused.error(), expected);
    }
    // The last one was refused before it was taken.
    call(&mut client, "closefd", json!({"fdname": "disk"})).value();
    wait_until("nothing is open any more", || open_fds() == before);
    let by_name = call(&mut client, "x-file-checksum", json!({"filename": file.path()}));
    assert!(by_name.error().contains("outside of the allowed folder"), "{by_name:?}");
}
