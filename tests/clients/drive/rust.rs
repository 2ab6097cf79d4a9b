//! The crate `qapi`: blocking, and with types of its own, made of QEMU's schema.
//!
//! Its connection ends with an error at an event that its schema does not have.

use std::os::unix::net::UnixStream;

use qapi::qmp::{self, Event, RunState};
use qapi::{Command, ErrorClass, ExecuteError, Qmp};
use serde::{Deserialize, Serialize};

use super::super::common::LONG;
use super::{CRC32C, Server};

/// A command of ours, told in its terms.
#[derive(Serialize)]
struct FileChecksum<'a> {
    filename: &'a str,
    algorithm: &'a str,
}

#[derive(Deserialize)]
struct Checksum {
    digest: String,
    bytes: u64,
}

impl Command for FileChecksum<'_> {
    const NAME: &'static str = "x-file-checksum";
    const ALLOW_OOB: bool = false;
    type Ok = Checksum;
}

pub(super) fn drive(server: &Server) {
    let stream = UnixStream::connect(&server.path).expect("the server listens");
    stream.set_read_timeout(Some(LONG)).expect("the time is not zero");
    let mut client = Qmp::from_stream(&stream);
    let greeting = client.handshake().expect("the negotiation succeeds");
    let qemu = &greeting.version.qemu;
    assert_eq!(format!("{}.{}.{}", qemu.major, qemu.minor, qemu.micro), server.version);

    assert!(client.execute(&qmp::query_status {}).expect("it succeeds").running);
    client.execute(&qmp::stop {}).expect("it succeeds");
    let status = client.execute(&qmp::query_status {}).expect("it succeeds").status;
    assert_eq!(status, RunState::paused);
    client.execute(&qmp::cont {}).expect("it succeeds");
    client.nop().expect("the server answers");
    let events: Vec<Event> = client.events().collect();
    assert!(matches!(&events[..], [Event::STOP { .. }, Event::RESUME { .. }]), "{events:?}");

    let iothreads = client.execute(&qmp::query_iothreads {}).expect("it succeeds");
    assert_eq!(iothreads.len(), 1);
    assert_eq!(iothreads[0].id, "io0");

    let checksum = FileChecksum { filename: server.file(), algorithm: "crc32c" };
    let checksum = client.execute(&checksum).expect("it succeeds");
    assert_eq!((&*checksum.digest, checksum.bytes), (CRC32C, 9));
    let checksum = client.execute(&FileChecksum { filename: "/no/such/file", algorithm: "crc32c" });
    let Err(ExecuteError::Qapi(error)) = checksum.map(|checksum| checksum.bytes) else {
        panic!("there is no such file")
    };
    assert!(matches!(error.class, ErrorClass::GenericError), "{error}");
    assert_eq!(error.desc, "Could not open '/no/such/file': No such file or directory");
}
