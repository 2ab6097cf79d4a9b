//! File descriptors that clients pass with `getfd`: named, taken, closed, and never left open.
//!
//! What clients see is compared with a QEMU, if there is one at `$QEMU_7_2` or on the path.

#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/passed_fds.rs"]
mod passed_fds;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};

use common::{Client, TestServer, connect, open_fds, wait_until};
use executor::qmp::{self, Blocking, Coroutine, Error, take_fd};
use executor::{MainCx, NoCoroutine};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use passed_fds::pass;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct FdArgs {
    fdname: String,
}

/// Takes an fd and returns what is in the file.
struct ReadFd;

impl qmp::Command for ReadFd {
    const NAME: &'static str = "x-read-fd";
    type Mode = Coroutine;
    type Args = FdArgs;
    type Ret = String;
}

async fn read_fd(cx: &MainCx, args: FdArgs) -> Result<String, Error> {
    // Polled again before it takes the fd.
    cx.run_in_bh(|_| ()).await.expect("nothing panics");
    let mut file = File::from(take_fd(&args.fdname)?);
    let flags = fcntl(&file, FcntlArg::F_GETFD).expect("it is open");
    assert_eq!(flags, FdFlag::FD_CLOEXEC.bits(), "it is not closed in programs that are started");
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(|error| Error::generic(error.to_string()))?;
    Ok(text)
}

/// Tells whether there is an fd, from a bottom half.
struct HasFd;

impl qmp::Command for HasFd {
    const NAME: &'static str = "x-has-fd";
    type Mode = Blocking;
    type Args = FdArgs;
    type Ret = bool;
}

fn start() -> TestServer {
    TestServer::start(|registry, _| {
        registry.add_fd_commands();
        registry.add_human_monitor();
        registry.command::<ReadFd, _>(read_fd);
        registry.command::<HasFd, _>(|_: &mut NoCoroutine, args: FdArgs| {
            Ok(take_fd(&args.fdname).is_ok())
        });
    })
}

/// A file without a name that says `text`.
fn file(text: &str) -> OwnedFd {
    let path = std::env::temp_dir().join(format!("fd-{}-{text}", std::process::id()));
    let mut file = File::options().create(true).truncate(true).read(true).write(true).open(&path);
    let file = file.as_mut().expect("there is room for a file");
    std::fs::remove_file(path).expect("the file is there");
    file.write_all(text.as_bytes()).expect("there is room");
    file.rewind().expect("a file can be rewound");
    file.as_fd().try_clone_to_owned().expect("there are fds")
}

fn request(command: &str, name: &str) -> String {
    json!({"execute": command, "arguments": {"fdname": name}}).to_string()
}

fn get_fd(client: &mut Client<UnixStream>, name: &str, fds: Vec<OwnedFd>) -> Value {
    pass(client.stream(), &request("getfd", name), fds);
    client.receive()
}

#[test]
fn a_command_takes_the_fd_that_its_client_has_named() {
    let server = start();
    let (mut client, mut other) = (server.client(), server.client());
    let before = open_fds();

    assert_eq!(get_fd(&mut client, "disk", vec![file("one")]), json!({"return": {}}));
    let not_found = "File descriptor named 'disk' not found";
    assert_eq!(other.ask(&request("x-read-fd", "disk"))["error"]["desc"], not_found);
    assert_eq!(client.ask(&request("x-read-fd", "disk")), json!({"return": "one"}));
    assert_eq!(client.ask(&request("x-read-fd", "disk"))["error"]["desc"], not_found);

    wait_until("it is closed", || open_fds() == before);
}

#[test]
fn by_hand_it_is_the_fd_of_the_same_client() {
    let server = start();
    let mut client = server.client();
    let by_hand = |line: &str| {
        json!({"execute": "human-monitor-command", "arguments": {"command-line": line}}).to_string()
    };

    pass(client.stream(), &by_hand("getfd disk"), vec![file("by-hand")]);
    assert_eq!(client.receive(), json!({"return": ""}));
    assert_eq!(client.ask(&by_hand("x-read-fd disk")), json!({"return": "by-hand\r\n"}));
    assert_eq!(client.ask(&by_hand("x-has-fd disk")), json!({"return": "off\r\n"}));
}

/// What a monitor says to everything that can be done with fds, and whether it closes them.
fn script(path: &Path) -> Vec<String> {
    let mut client = connect(path);
    let mut said = Vec::new();
    client.receive();
    said.push(client.ask("{'execute': 'qmp_capabilities'}").to_string());
    said.push(client.ask(&request("getfd", "a")).to_string());
    said.push(get_fd(&mut client, "1a", vec![file("digit")]).to_string());
    said.push(client.ask(&request("getfd", "a")).to_string());
    said.push(get_fd(&mut client, "a", vec![file("first"), file("second")]).to_string());
    said.push(client.ask(&request("getfd", "b")).to_string());
    said.push(get_fd(&mut client, "a", vec![file("again")]).to_string());
    said.push(client.ask(&request("closefd", "a")).to_string());
    said.push(client.ask(&request("closefd", "a")).to_string());
    // What comes with another command waits for the next one.
    pass(client.stream(), &request("closefd", "b"), vec![file("early")]);
    said.push(client.receive().to_string());
    said.push(client.ask(&request("getfd", "")).to_string());
    said.push(client.ask(&request("closefd", "")).to_string());
    said.push(client.ask("{'execute': 'getfd'}").to_string());
    said
}

#[test]
fn a_client_hears_what_went_wrong_and_nothing_stays_open() {
    let server = start();
    // When it is answered, the server has all that it needs.
    let _first = server.client();
    let before = open_fds();

    let said = script(&server.path);

    let error = |text: &str| format!(r#"{{"error":{{"class":"GenericError","desc":"{text}"}}}}"#);
    let (done, none) = (r#"{"return":{}}"#, error("No file descriptor supplied via SCM_RIGHTS"));
    let not_found = |name: &str| error(&format!("File descriptor named '{name}' not found"));
    let expected = [
        done,
        &none,
        &error("Parameter 'fdname' expects a name not starting with a digit"),
        &none,
        done,
        &none,
        done,
        done,
        &not_found("a"),
        &not_found("b"),
        done,
        done,
        &error("Parameter 'fdname' is missing"),
    ];
    assert_eq!(said, expected);
    wait_until("everything is closed", || open_fds() == before);
}

/// A QEMU without a machine. Killed at the end.
struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn qemu_says_the_same() {
    // Others count fds: it is this test's turn.
    let server = start();
    let program = std::env::var_os("QEMU_7_2").unwrap_or_else(|| "qemu-system-x86_64".into());
    let path = common::socket_path();
    let monitor = format!("unix:{},server=on,wait=off", path.display());
    let options = ["-machine", "none", "-nodefaults", "-display", "none", "-qmp", &monitor];
    let Ok(child) = Command::new(program).args(options).spawn() else {
        println!("skipped: there is no QEMU at $QEMU_7_2 nor on the path");
        return;
    };
    let qemu = Qemu(child);
    wait_until("QEMU listens", || UnixStream::connect(&path).is_ok());

    let theirs = script(&path);

    drop(qemu);
    std::fs::remove_file(&path).expect("a killed QEMU leaves its socket behind");
    assert_eq!(script(&server.path), theirs);
}

#[test]
fn a_client_that_goes_leaves_no_fd_behind() {
    let server = start();
    // When it is answered, the server has all that it needs.
    let _first = server.client();
    let before = open_fds();

    let mut client = server.client();
    for name in ["a", "b", "c"] {
        get_fd(&mut client, name, vec![file(name)]);
    }
    // Without a name, and in the middle of a request.
    pass(client.stream(), "{'execute': ", vec![file("d"), file("e")]);
    drop(client);

    wait_until("everything is closed", || server.clients() == 1 && open_fds() == before);
}

#[test]
fn a_client_can_have_64_of_them_and_pass_16_at_a_time() {
    let server = start();
    // When it is answered, the server has all that it needs.
    let _first = server.client();
    let before = open_fds();
    let mut client = server.client();

    for number in 0..64 {
        assert_eq!(
            get_fd(&mut client, &format!("fd{number}"), vec![file("x")])["return"],
            json!({})
        );
    }
    let refused = get_fd(&mut client, "one-more", vec![file("x")]);
    assert_eq!(refused["error"]["desc"], "Only 64 file descriptors can be kept at a time");
    assert_eq!(get_fd(&mut client, "fd0", vec![file("new")])["return"], json!({}));
    assert_eq!(client.ask(&request("x-read-fd", "fd0")), json!({"return": "new"}));
    let many: Vec<_> = (0..100).map(|_| file("y")).collect();
    pass(client.stream(), &request("getfd", "many"), many);
    assert_eq!(client.receive(), json!({"return": {}}));
    assert_eq!(client.ask(&request("x-read-fd", "many")), json!({"return": "y"}));

    drop(client);
    wait_until("everything is closed", || server.clients() == 1 && open_fds() == before);
}
