//! The clients, and what each is to find at a server, whichever server it is.
//!
//! All of them leave the guest running, as they have found it, and use only commands that the standalone server and
//! QEMU with the plugin both have.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::common::wait_until;
use super::pty::Pty;
use super::python_clients::{find, find_complete, type_into};
use super::strict_client::StrictClient;

mod rust;
mod screen;
mod wrap;

pub(crate) use wrap::Wrapped;

use screen::Screen;

/// A server that listens at a UNIX socket.
pub(crate) struct Server {
    pub(crate) path: PathBuf,
    /// What it greets clients with.
    pub(crate) version: String,
    /// A file that it may read.
    pub(crate) file: PathBuf,
}

/// The checksum of the file's contents.
const CONTENTS: &[u8] = b"123456789";
const CRC32C: &str = "e3069283";

/// Drives a client through everything that it is to be able to do.
type Drive = fn(&Server);

/// The clients that connect. `wrap` is for the one that is connected to.
pub(crate) const CLIENTS: [(&str, Drive); 5] = [
    ("qmp-shell", shell),
    ("qmp-shell -H", human_shell),
    ("qmp-tui", terminal_interface),
    ("crate qapi", rust::drive),
    ("a strict reader", strict_reader),
];

impl Server {
    /// One at `path` that is version `version`, with its file in `folder`.
    pub(crate) fn new(path: PathBuf, version: &str, folder: &Path) -> Self {
        let file = folder.join("contents");
        fs::write(&file, CONTENTS).expect("there is room for a file");
        Self { path, version: version.to_owned(), file }
    }

    /// Drives every client, one after another.
    pub(crate) fn serve_everybody(&self) {
        for (name, drive) in CLIENTS {
            println!("    {name}");
            drive(self);
        }
    }

    fn path(&self) -> &str {
        self.path.to_str().expect("the path is text")
    }

    fn file(&self) -> &str {
        self.file.to_str().expect("the path is text")
    }
}

/// Checks that all `texts` are in what was printed, one behind another.
#[track_caller]
fn assert_in_order<'t>(printed: &str, texts: impl IntoIterator<Item = &'t str>) {
    let mut rest = printed;
    for text in texts {
        let Some((_, after)) = rest.split_once(text) else {
            panic!("{text:?} is not printed, or out of turn: {printed}")
        };
        rest = after;
    }
}

/// The empty line asks for events.
fn shell(server: &Server) {
    let Some(shell) = find("qmp-shell") else { return };
    let lines = format!(
        "query-status\nx-sleep ns=1\nx-sleep\nno-such-command\nx-file-checksum filename={} algorithm=crc32c\n\
         stop\n\nquery-status\ncont\n\n",
        server.file()
    );
    let printed = type_into(&shell, &[], server.path(), &lines);
    let connected = format!("Connected to QEMU {}", server.version);
    let expected = [
        &*connected,
        "\"running\": true",
        "{\"return\": {}}",
        "Need exactly one of 'seconds' and 'ns'",
        "The command no-such-command has not been found",
        CRC32C,
        "\"return\": {}",
        "STOP",
        "paused",
        "RESUME",
    ];
    assert_in_order(&printed, expected);
}

fn human_shell(server: &Server) {
    let Some(shell) = find("qmp-shell") else { return };
    let lines = "info version\nno-such-command\nstop\ninfo status\ncont\ninfo status\n";
    let printed = type_into(&shell, &["-H"], server.path(), lines);
    let expected = [
        "Welcome to the HMP shell!",
        &*server.version,
        "unknown command: 'no-such-command'",
        "paused",
        "running",
    ];
    assert_in_order(&printed, expected);
}

/// It begins with the keyboard at the history, which takes no text; sends what was typed at Alt+Enter; and draws
/// what has come at the next key.
fn terminal_interface(server: &Server) {
    let Some(program) = find_complete("qmp-tui") else { return };
    let mut command = std::process::Command::new(program);
    command.args(["--num-retries", "0"]).arg(server.path()).env("TERM", "xterm-256color");
    let mut screen = Screen::new(Pty::start(&mut command));
    const DOWN: &str = "\x1b[B";
    const LEFT: &str = "\x1b[D";
    const ALT_ENTER: &str = "\x1b\r";

    screen.wait_for(&format!("[Connected {}", server.path()), DOWN);
    let checksum = json!({"filename": server.file(), "algorithm": "crc32c"});
    for (command, arguments, shown) in [
        ("x-file-checksum", checksum, CRC32C),
        ("no-such-command", json!({}), "CommandNotFound"),
        ("stop", json!({}), "\"STOP\""),
        ("cont", json!({}), "\"RESUME\""),
    ] {
        let request = json!({"execute": command, "arguments": arguments}).to_string();
        screen.type_in(&request);
        screen.type_in(ALT_ENTER);
        screen.wait_for(shown, LEFT);
    }
    let status = screen.end("\x1b");
    assert!(status.success(), "qmp-tui fails: {status}");
}

/// Asks as libvirt does when it probes for what there is.
fn strict_reader(server: &Server) {
    let mut client = StrictClient::connect(&server.path);
    let mut other = StrictClient::connect(&server.path);
    let early = client.ask("query-commands", json!({}));
    assert_eq!(early["error"]["class"], "CommandNotFound");
    for client in [&mut client, &mut other] {
        assert_eq!(client.ask("qmp_capabilities", json!({}))["return"], json!({}));
    }
    let version = client.ask("query-version", json!({}));
    assert_eq!(dotted(&version["return"]["qemu"]), server.version);
    for (command, most) in [("query-commands", 10), ("query-qmp-schema", 20)] {
        let list = client.ask(command, json!({}));
        let list = list["return"].as_array().expect("it is a list");
        assert!(list.len() > most, "{command}: {}", list.len());
    }
    let checksum = json!({"filename": server.file(), "algorithm": "crc32c"});
    assert_eq!(client.ask("x-file-checksum", checksum)["return"]["digest"], CRC32C);
    // What has to be escaped, and comes back.
    let name = "\u{e9}\u{2028}\u{1F600}\u{7f}\r\n";
    let unknown = client.ask(name, json!({}));
    assert_eq!(unknown["error"]["desc"], format!("The command {name} has not been found"));
    for command in ["stop", "cont"].repeat(3) {
        assert_eq!(other.ask(command, json!({}))["return"], json!({}));
    }
    wait_until("both have heard of everything", || {
        [&mut client, &mut other].into_iter().all(|client| {
            client.ask("query-name", json!({}));
            // The checksum has some of its own.
            client.events.retain(|event| ["STOP", "RESUME"].contains(&&**event));
            client.events.len() >= 6
        })
    });
    for client in [client, other] {
        assert_eq!(client.events, ["STOP", "RESUME"].repeat(3));
        assert!(client.unread.is_empty());
    }
}

/// As in "7.2.22".
fn dotted(version: &serde_json::Value) -> String {
    format!("{}.{}.{}", version["major"], version["minor"], version["micro"])
}
