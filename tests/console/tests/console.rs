//! What tokio-console gets to know of our tasks: asked in its own protocol, and read from its screen.
//!
//! The screen is tmux's, and the program `$TOKIO_CONSOLE`, or the one on the path; without them that test says so, and
//! fails if `REQUIRE_TOKIO_CONSOLE` is 1.

#![allow(clippy::disallowed_methods, reason = "it blocks threads of its own")]

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use console_api::field::{Name, Value};
use console_api::instrument::InstrumentRequest;
use console_api::instrument::instrument_client::InstrumentClient;
use console_api::tasks::{Stats, Task};

const PATIENCE: Duration = Duration::from_secs(60);

/// The program, which is killed at the end of the test, and its socket.
struct Program {
    child: Child,
    socket: PathBuf,
}

impl Program {
    fn start(name: &str) -> Self {
        let socket = env::temp_dir().join(format!("console-{name}-{}", std::process::id()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_console"));
        let mut child =
            command.arg(&socket).stdout(Stdio::piped()).spawn().expect("it can be started");
        let stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let this = Self { child, socket };
        let line = stdout.lines().next().expect("it says something").expect("it is text");
        assert_eq!(line, "tokio-console can connect");
        until("it listens", || this.socket.exists().then_some(()));
        this
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        let _gone = fs::remove_file(&self.socket);
    }
}

/// Asks again and again until there is an answer.
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// What a client has been told of a task.
#[derive(Debug, Default)]
struct Known {
    task: Task,
    stats: Stats,
}

impl Known {
    fn field(&self, wanted: &str) -> Option<String> {
        let field = self
            .task
            .fields
            .iter()
            .find(|field| matches!(&field.name, Some(Name::StrName(name)) if name == wanted))?;
        Some(match field.value.as_ref()? {
            Value::DebugVal(text) | Value::StrVal(text) => text.clone(),
            other => format!("{other:?}"),
        })
    }

    fn polls(&self) -> u64 {
        self.stats.poll_stats.as_ref().map_or(0, |polls| polls.polls)
    }
}

/// Connects as tokio-console does, and listens until `done` is content.
fn watch(socket: &Path, done: impl Fn(&[Known]) -> bool) -> Vec<Known> {
    let uri = format!("unix:{}", socket.display());
    let watch = async {
        let mut client = InstrumentClient::connect(uri).await.expect("it listens");
        let updates = client.watch_updates(InstrumentRequest {}).await.expect("it serves");
        let mut updates = updates.into_inner();
        let mut tasks: HashMap<u64, Known> = HashMap::new();
        loop {
            let update = updates.message().await.expect("it goes on").expect("it goes on");
            let Some(update) = update.task_update else { continue };
            for task in update.new_tasks {
                let id = task.id.expect("a task has one").id;
                tasks.entry(id).or_default().task = task;
            }
            for (id, stats) in update.stats_update {
                tasks.entry(id).or_default().stats = stats;
            }
            let known: Vec<Known> = tasks.into_values().collect();
            if done(&known) {
                return known;
            }
            let id = |known: &Known| known.task.id.expect("a task has one").id;
            tasks = known.into_iter().map(|known| (id(&known), known)).collect();
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let patient = async { tokio::time::timeout(PATIENCE, watch).await };
    runtime.expect("there are fds left").block_on(patient).expect("it does not take that long")
}

fn named<'a>(tasks: &'a [Known], name: &str) -> Option<&'a Known> {
    tasks.iter().find(|task| task.field("task.name").as_deref() == Some(name))
}

#[test]
fn a_client_is_told_of_each_task_with_its_name_place_polls_and_wakes() {
    let program = Program::start("client");
    let busy = |tasks: &[Known]| {
        let ticker = named(tasks, "ticker");
        ticker.is_some_and(|ticker| ticker.polls() > 5 && ticker.stats.wakes > 5)
    };
    let tasks = watch(&program.socket, busy);

    for name in ["ticker", "listener", "idler"] {
        let task = named(&tasks, name).unwrap_or_else(|| panic!("{name}: {tasks:?}"));
        let place = task.task.location.as_ref().expect("a task has one");
        assert!(place.file().ends_with("src/main.rs") && place.line() > 0, "{place:?}");
        assert!(task.field("task.id").is_some(), "{task:?}");
        let wakers = task.stats.waker_clones - task.stats.waker_drops;
        assert!(wakers > 0, "the console takes a task without wakers for lost: {task:?}");
    }
    let idler = named(&tasks, "idler").expect("just seen");
    assert_eq!((idler.polls(), idler.stats.wakes), (1, 0), "{idler:?}");
    assert!(idler.stats.dropped_at.is_none(), "{idler:?}");
    // Both change their threads, or live on the other one; neither has a name.
    let unnamed = |task: &&Known| task.field("task.name").is_none_or(|name| name.is_empty());
    let unnamed: Vec<_> = tasks.iter().filter(unnamed).collect();
    let alive = unnamed.iter().filter(|task| task.stats.dropped_at.is_none() && task.polls() > 1);
    assert!(alive.count() >= 2, "{unnamed:?}");
}

/// A terminal that shows tokio-console, in a tmux server of its own.
struct Screen {
    tmux: PathBuf,
}

impl Screen {
    fn open(console: &Path, socket: &Path) -> Self {
        let this = Self { tmux: socket.with_extension("tmux") };
        let url = format!("file://localhost{}", socket.display());
        let logs = socket.with_extension("logs");
        let command = format!("{} --log-dir {} {url}", console.display(), logs.display());
        let size = ["-x", "160", "-y", "40"];
        let opened = this.tmux().args(["new-session", "-d"]).args(size).arg(command).status();
        assert!(opened.expect("tmux starts").success());
        this
    }

    fn tmux(&self) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.args(["-f", "/dev/null", "-S"]).arg(&self.tmux);
        tmux
    }

    fn text(&self) -> String {
        let captured = self.tmux().args(["capture-pane", "-p"]).output().expect("tmux starts");
        String::from_utf8(captured.stdout).expect("it is text")
    }

    fn press(&self, key: &str) {
        let pressed = self.tmux().args(["send-keys", key]).status();
        assert!(pressed.expect("tmux starts").success());
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ended = self.tmux().arg("kill-server").status();
        let _gone = fs::remove_dir_all(self.tmux.with_extension("logs"));
    }
}

/// tokio-console, if it can be shown.
fn console() -> Option<PathBuf> {
    let console =
        env::var_os("TOKIO_CONSOLE").map_or_else(|| "tokio-console".into(), PathBuf::from);
    let starts = |program: &Path, version: &str| {
        let mut command = Command::new(program);
        command.arg(version).output().is_ok_and(|output| output.status.success())
    };
    if starts(&console, "--version") && starts(Path::new("tmux"), "-V") {
        return Some(console);
    }
    let required = env::var("REQUIRE_TOKIO_CONSOLE").is_ok_and(|required| required == "1");
    assert!(!required, "tokio-console and tmux are required");
    println!("skipped: tokio-console or tmux is not there");
    None
}

/// The line of the task's table that has these words.
fn row<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    text.lines().find(|line| line.contains(words))
}

#[test]
fn tokio_console_shows_the_tasks_and_takes_none_for_lost() {
    let Some(console) = console() else { return };
    let program = Program::start("screen");
    let screen = Screen::open(&console, &program.socket);

    let names = ["ticker", "listener", "idler"];
    let shown = || {
        let text = screen.text();
        names.iter().all(|name| row(&text, name).is_some()).then_some(text)
    };
    let text = until("the tasks are listed", shown);
    println!("{text}");
    assert!(row(&text, "src/main.rs:").is_some(), "{text}");
    assert!(!text.contains("lost their waker") && !text.contains('⚠'), "{text}");

    // The details of a task: how it was polled and woken.
    screen.press("Down");
    screen.press("Enter");
    let details = || {
        let text = screen.text();
        (text.contains("Woken:") && text.contains("Poll Times")).then_some(text)
    };
    println!("{}", until("the details of a task are shown", details));
}
