//! QEMU with our plugin in it, and the clients of its monitors.
//!
//! Which QEMUs there are is said by `$QEMU_7_2`, `$QEMU_10_0` and `$QEMU_11_1`; without them the one on the path is taken.
//! Without any, nothing is tested, which is said, and is a failure if `REQUIRE_QEMU` is 1. The plugin is
//! built here, unless `$QEMU_PLUGIN` is one.

#![allow(dead_code, reason = "every test program uses another part")]

use std::env;
use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::common::{Client, wait_until};

/// Runs `test` with every QEMU that there is.
pub(crate) fn with_each_qemu(test: impl Fn(&Path)) {
    let given = ["QEMU_7_2", "QEMU_10_0", "QEMU_11_1"]
        .into_iter()
        .filter_map(env::var_os)
        .map(PathBuf::from);
    let mut programs: Vec<PathBuf> = given.collect();
    if programs.is_empty() {
        programs.extend(on_path("qemu-system-x86_64"));
    }
    if programs.is_empty() {
        let required = env::var("REQUIRE_QEMU").is_ok_and(|required| required == "1");
        assert!(!required, "QEMU is required and is neither at $QEMU_7_2 nor on the path");
        println!("skipped: QEMU is neither at $QEMU_7_2 nor on the path");
    }
    for program in programs {
        println!("with {}", program.display());
        test(&program);
    }
}

pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The plugin, built for development, or as benchmarks are for one.
fn plugin() -> &'static Path {
    static PLUGIN: OnceLock<PathBuf> = OnceLock::new();
    PLUGIN.get_or_init(|| env::var_os("QEMU_PLUGIN").map_or_else(build_plugin, PathBuf::from))
}

fn build_plugin() -> PathBuf {
    build_example("qemu_plugin", &["--features", "host"]).join("libqemu_plugin.so")
}

/// Builds an example; returns the folder that it is in.
pub(crate) fn build_example(name: &str, options: &[&str]) -> PathBuf {
    let test = env::current_exe().expect("a test has an executable");
    let target = test.ancestors().nth(3).expect("it is in `target/PROFILE/deps`");
    let benchmarks = env::args().any(|argument| argument == "--bench");
    // What is built under the profile `bench` is in the folder of releases.
    let (profile, folder) = if benchmarks { ("bench", "release") } else { ("dev", "debug") };
    // Some of the tests are in packages of their own, below the one with the examples.
    let mut packages = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let examples = packages.find(|package| package.join("examples").is_dir());
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--example", name, "--profile", profile])
        .args(options)
        .arg("--target-dir")
        .arg(target)
        .current_dir(examples.expect("there are examples"))
        .status()
        .expect("cargo starts");
    assert!(built.success(), "the example {name} cannot be built");
    target.join(folder).join("examples")
}

/// A folder of a test's own, removed at its end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("qemu-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("nobody else has a folder of that name");
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left over is the system's to clean up.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A QEMU that runs.
pub(crate) struct Qemu {
    child: Child,
    folder: Folder,
}

/// What every QEMU is started with: no machine, no window, an iothread.
pub(crate) fn command(program: &Path, plugin_arguments: &str, more: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["-M", "none", "-accel", "tcg", "-display", "none", "-nodefaults"]);
    command.args(["-object", "iothread,id=io0"]).args(more);
    command.arg("-plugin").arg(format!("{}{plugin_arguments}", plugin().display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Starts a QEMU that ends by itself.
pub(crate) fn run_to_end(program: &Path, plugin_arguments: &str) -> Output {
    run_to_end_with(program, plugin_arguments, &[])
}

/// The same in an environment with more variables.
pub(crate) fn run_to_end_with(
    program: &Path,
    plugin_arguments: &str,
    variables: &[(&str, &Path)],
) -> Output {
    let mut command = command(program, plugin_arguments, &[]);
    command.envs(variables.iter().copied()).output().expect("QEMU starts")
}

impl Qemu {
    /// Starts a QEMU with two monitors of its own and a server of ours.
    pub(crate) fn start(program: &Path, plugin_arguments: &str, more: &[&str]) -> Self {
        let folder = Folder::new();
        let ours = format!(",qmp=unix:{}{plugin_arguments}", folder.file("ours").display());
        let mut command = command(program, &ours, more);
        for monitor in ["first", "second"] {
            let path = folder.file(monitor);
            command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", path.display()));
        }
        let child = command.spawn().expect("QEMU starts");
        let mut qemu = Self { child, folder };
        wait_until("our server listens", || {
            assert!(qemu.child.try_wait().expect("it is our child").is_none(), "QEMU has ended");
            UnixStream::connect(qemu.folder.file("ours")).is_ok()
        });
        qemu
    }

    /// Connects to the first of QEMU's own monitors.
    pub(crate) fn first(&self) -> Monitor {
        self.connect("first", &json!({}))
    }

    /// Connects to the second of QEMU's own monitors.
    pub(crate) fn second(&self) -> Monitor {
        self.connect("second", &json!({}))
    }

    /// As [`first`](Self::first), with out-of-band commands.
    pub(crate) fn first_with_oob(&self) -> Monitor {
        self.connect("first", &json!({ "enable": ["oob"] }))
    }

    /// Connects to the server that the plugin has.
    pub(crate) fn ours(&self) -> Monitor {
        self.connect("ours", &json!({}))
    }

    /// As [`ours`](Self::ours), with a capability.
    pub(crate) fn ours_with(&self, capability: &str) -> Monitor {
        self.connect("ours", &json!({ "enable": [capability] }))
    }

    /// Where the plugin's server listens.
    pub(crate) fn ours_path(&self) -> PathBuf {
        self.folder.file("ours")
    }

    fn connect(&self, socket: &str, negotiation: &Value) -> Monitor {
        let stream = UnixStream::connect(self.folder.file(socket)).expect("the monitor listens");
        let mut monitor = Monitor { client: Client::new(stream) };
        // QEMU may have an event left for the client before.
        let greeting = monitor.receive();
        assert!(greeting["QMP"]["version"].is_object(), "no greeting: {greeting}");
        let reply = monitor.ask("qmp_capabilities", negotiation);
        assert_eq!(reply, json!({ "return": {} }));
        monitor
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a process id is an int");
        kill(Pid::from_raw(pid), signal).expect("it is our child");
    }

    /// Waits for the end; returns what QEMU said on standard error, too.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        wait_until("QEMU ends", || self.child.try_wait().expect("it is our child").is_some());
        let status = self.child.wait().expect("it is our child");
        let mut errors = String::new();
        let mut pipe = self.child.stderr.take().expect("it is a pipe");
        pipe.read_to_string(&mut errors).expect("QEMU writes text");
        (status, errors)
    }

    /// Checks that it ends as QEMU does when all is well.
    #[track_caller]
    pub(crate) fn expect_success(self) {
        let (status, errors) = self.wait();
        assert!(status.success(), "{status}: {errors}");
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It has ended, or the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of a monitor.
pub(crate) struct Monitor {
    client: Client<UnixStream>,
}

impl Monitor {
    pub(crate) fn send(&mut self, name: &str, arguments: &Value) {
        self.send_json(&json!({ "execute": name, "arguments": arguments }));
    }

    /// What it is connected with.
    pub(crate) fn stream(&self) -> &UnixStream {
        self.client.stream()
    }

    pub(crate) fn send_oob(&mut self, name: &str, arguments: &Value, id: u32) {
        self.send_json(&json!({ "exec-oob": name, "arguments": arguments, "id": id }));
    }

    pub(crate) fn send_json(&mut self, request: &Value) {
        self.client.send(request.to_string());
    }

    /// Waits for the next reply, past all events.
    pub(crate) fn receive(&mut self) -> Value {
        loop {
            let line = self.client.receive();
            if line.get("event").is_none() {
                return line;
            }
        }
    }

    /// Waits for whatever comes next.
    pub(crate) fn receive_line(&mut self) -> Value {
        self.client.receive()
    }

    /// Waits for an event, past everything else.
    pub(crate) fn wait_for_event(&mut self, name: &str) -> Value {
        loop {
            let line = self.client.receive();
            if line["event"] == name {
                return line;
            }
        }
    }

    pub(crate) fn ask(&mut self, name: &str, arguments: &Value) -> Value {
        self.send(name, arguments);
        self.receive()
    }

    /// Asks something that must not fail.
    #[track_caller]
    pub(crate) fn ok(&mut self, name: &str, arguments: &Value) -> Value {
        let reply = self.ask(name, arguments);
        assert!(reply.get("return").is_some(), "{name} fails: {reply}");
        reply["return"].clone()
    }

    /// Returns the tasks that run commands called `name`.
    pub(crate) fn tasks_of(&mut self, name: &str) -> Vec<u64> {
        let tasks = self.ok("x-query-tasks", &json!({}));
        let tasks = tasks.as_array().expect("it is a list");
        let named = tasks.iter().filter(|task| task["name"] == format!("qmp:{name}"));
        named.map(|task| task["id"].as_u64().expect("it is a number")).collect()
    }
}

/// The error reply with `description`.
pub(crate) fn error(description: &str) -> Value {
    json!({ "error": { "class": "GenericError", "desc": description } })
}
