//! The recorded exchanges against a live QEMU, when there is one of the recorded version.
//!
//! Skips, and says so, when `qemu-system-x86_64` is missing or of another version; `REQUIRE_QEMU=1`
//! turns that into a failure.

#[path = "common/qmp_cases.rs"]
mod cases;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use cases::{State, recorded};

const PROGRAM: &str = "qemu-system-x86_64";
const RECORDED_VERSION: &str = "version 7.2.";
/// Ends whatever a case left unfinished; the reply to it ends the case's output.
const END: &[u8] = b"\xFF{'execute': 'query-name', 'id': 'end of case'}\n";

/// A QEMU whose monitor is its standard input and output.
struct Qemu {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Qemu {
    fn start() -> Self {
        let mut process = Command::new(PROGRAM)
            .args(["-M", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("QEMU was found before");
        let input = process.stdin.take().expect("it is piped");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        Self { process, input, output }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.input.write_all(bytes).expect("QEMU reads");
    }

    fn read_line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("QEMU writes ASCII");
        assert!(!line.is_empty(), "QEMU ended");
        line
    }

    /// Reads up to the reply that ends a case.
    fn read_case(&mut self) -> String {
        let mut text = String::new();
        while !text.contains("\"id\": \"end of case\"") {
            text.push_str(&without_time(&self.read_line()));
        }
        text
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.process.kill().expect("it is our child");
        self.process.wait().expect("it was killed");
    }
}

/// Sets the time stamp of an event to 0.
fn without_time(line: &str) -> String {
    let Some((_, event)) = line.split_once("}, \"event\"") else { return line.to_owned() };
    format!("{{\"timestamp\": {{\"seconds\": 0, \"microseconds\": 0}}, \"event\"{event}")
}

fn is_available() -> bool {
    let version = Command::new(PROGRAM).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    if version.as_ref().is_ok_and(|version| version.contains(RECORDED_VERSION)) {
        return true;
    }
    assert!(std::env::var_os("REQUIRE_QEMU").is_none(), "QEMU is required, found {version:?}");
    eprintln!("skipped: no {PROGRAM} {RECORDED_VERSION}x, found {version:?}");
    false
}

#[test]
fn the_record_is_what_qemu_answers() {
    if !is_available() {
        return;
    }
    let mut ready = Qemu::start();
    let mut oob = Qemu::start();
    ready.write(b"{'execute': 'qmp_capabilities'}");
    oob.write(b"{'execute': 'qmp_capabilities', 'arguments': {'enable': ['oob']}}");
    for qemu in [&mut ready, &mut oob] {
        assert!(qemu.read_line().contains("QMP"));
        assert_eq!(qemu.read_line(), "{\"return\": {}}\r\n");
    }

    for case in recorded() {
        let mut fresh = None;
        let qemu = match case.state {
            State::Raw => fresh.insert(Qemu::start()),
            State::Ready => &mut ready,
            State::Oob => &mut oob,
        };
        qemu.write(&case.input);
        qemu.write(END);
        let output = qemu.read_case();
        assert!(
            output.starts_with(&case.output),
            "{}\n  now:      {output}\n  recorded: {}",
            case.input.escape_ascii(),
            case.output
        );
    }
}
