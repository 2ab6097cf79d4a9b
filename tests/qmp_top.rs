//! The program `qmp_top`: what it prints of a real server, and what it draws.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::KeyCode;
use serde_json::json;

#[allow(dead_code, reason = "the pictures here are drawn by hand")]
#[path = "../examples/qmp_top/client.rs"]
mod client;
#[allow(dead_code, reason = "the pictures here are drawn by hand")]
#[path = "../examples/qmp_top/picture.rs"]
mod picture;
#[path = "../examples/qmp_top/view.rs"]
mod view;

use picture::Picture;
use view::View;

fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has an executable");
    let program =
        test.ancestors().nth(2).expect("it is in a folder of a folder").join("examples").join(name);
    assert!(program.exists(), "{} is missing: run all of `cargo test`", program.display());
    program
}

/// A server that is killed at the end of the test, whose socket goes with it.
struct Server {
    child: Child,
    socket: PathBuf,
}

impl Server {
    fn start() -> Self {
        let socket = std::env::temp_dir().join(format!("qmp-top-{}.sock", std::process::id()));
        let mut command = Command::new(example("qmp_server"));
        command.arg("--qmp").arg(format!("unix:{}", socket.display())).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it can be started");
        let stderr = child.stderr.take().expect("it is a pipe");
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stderr), &mut line)
            .expect("it says where it listens");
        Self { child, socket }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        let _gone = std::fs::remove_file(&self.socket);
    }
}

#[test]
fn one_look_at_a_server_is_printed() {
    let server = Server::start();
    let top = Command::new(example("qmp_top")).arg("--once").arg(&server.socket).output();
    let top = top.expect("it can be started");
    let text = String::from_utf8(top.stdout).expect("it is text");
    assert!(top.status.success(), "{text}");
    assert!(text.contains("executor main: "), "{text}");
    assert!(text.contains("qmp:dispatcher"), "{text}");
}

#[test]
fn a_socket_that_nobody_listens_at_is_an_error_that_names_it() {
    let top = Command::new(example("qmp_top")).args(["--once", "/no/such.sock"]).output();
    let top = top.expect("it can be started");
    assert!(!top.status.success());
    let text = String::from_utf8(top.stderr).expect("it is text");
    assert!(text.starts_with("qmp_top: /no/such.sock: "), "{text}");
}

/// A picture of two tasks.
fn picture(polls: u64) -> Picture {
    let task = |id: u64, name: &str, polled: u64, longest: u64| {
        json!({"id": id, "name": name, "spawned-at": "a.rs:1:1", "polls": polls, "executor": "main",
               "waits-for": ["a byte"],
               "account": {"state": "waiting", "age": 5_000_000, "polled": polled,
                           "longest-poll": longest}})
    };
    let tasks = json!([task(1, "first", 10, 9000), task(2, "second", 20, 8)]);
    let executors = json!([{"executor": "main", "live": 2, "polls": polls,
                            "times": {"poll": [0, 1, 5], "queue": [0, 0, 7], "wake": [1], "bql": [0, 0, 0, 1]}}]);
    Picture {
        taken: std::time::Instant::now(),
        tasks: serde_json::from_value(tasks).expect("it has the right form"),
        executors: serde_json::from_value(executors).expect("it has the right form"),
    }
}

fn drawn(view: &mut View) -> String {
    let mut terminal = Terminal::new(TestBackend::new(120, 20)).expect("a test's terminal");
    terminal.draw(|frame| view.draw(frame)).expect("a test's terminal");
    terminal.backend().to_string()
}

#[test]
fn tasks_are_drawn_with_what_they_wait_for() {
    let text = drawn(&mut View::new(picture(3)));
    assert!(text.contains("second: a byte"), "{text}");
    assert!(text.contains("2 tasks, by time"), "{text}");
    for title in
        ["main: polls 2^1..3 ns", "in queue 2^2..3", "wake to poll 2^0..1", "lock held 2^3..4"]
    {
        assert!(text.contains(title), "{title}: {text}");
    }
}

#[test]
fn a_line_of_text_per_task_says_the_same() {
    let text = view::plain(&picture(3));
    let second = text.lines().find(|line| line.starts_with("task 2 ")).expect("it is listed");
    assert_eq!(
        second,
        "task 2 in main: waiting, 3 polls in 20 us, longest 8 us, 5000 ms old: second: a byte"
    );
}

#[test]
fn the_selection_follows_its_task_through_orders_and_updates() {
    let mut view = View::new(picture(3));
    assert_eq!(view.selected(), Some(2), "the one with the most time is first");
    view.press(KeyCode::Char('s'));
    assert_eq!(view.selected(), Some(2), "it is second by its longest poll");
    view.press(KeyCode::Up);
    assert_eq!(view.selected(), Some(1));
    view.update(picture(4));
    assert_eq!(view.selected(), Some(1));
}

#[test]
fn what_is_said_is_drawn() {
    let mut view = View::new(picture(3));
    view.say("task 2 is cancelled".to_owned());
    assert!(drawn(&mut view).contains("task 2 is cancelled"));
}
