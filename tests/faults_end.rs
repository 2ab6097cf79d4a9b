//! SIGTERM at every point of the demo server's start, and again at every point of its end.
//!
//! The point is a system call of the main thread, counted by the kernel's tracing, so that each is met and none
//! twice. `faults.rs` has a server that is busy.

#![cfg(target_arch = "x86_64")]

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

fn socket_path() -> PathBuf {
    std::env::temp_dir().join(format!("faults-end-{}.sock", std::process::id()))
}

/// A server whose main thread stops at each system call.
struct Traced(Pid);

/// Where it has stopped, or how it has ended.
enum Stop {
    /// Before or after a system call.
    SystemCall,
    Ended(WaitStatus),
}

impl Traced {
    /// Starts the demo server, which is going to listen at `path`.
    fn start(path: &Path) -> Self {
        let test = std::env::current_exe().expect("a test has an executable");
        let profile = test.ancestors().nth(2).expect("it is in a folder of a folder");
        let program = profile.join("examples/qmp_server");
        assert!(program.exists(), "{} is missing: run all of `cargo test`", program.display());
        let mut command = Command::new(program);
        command.arg("--qmp").arg(format!("unix:{}", path.display())).stderr(Stdio::null());
        // SAFETY: it is one system call, which touches no memory of ours.
        unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
        #[expect(clippy::zombie_processes, reason = "its end is the tracer's to wait for")]
        let child = command.spawn().expect("the program can be started and traced");
        let id = Pid::from_raw(i32::try_from(child.id()).expect("it is small"));
        waitpid(id, None).expect("it stops when it becomes the program");
        let options = ptrace::Options::PTRACE_O_TRACESYSGOOD | ptrace::Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(id, options).expect("it has stopped");
        Self(id)
    }

    /// Lets it run to its next stop.
    fn step(&self) -> Stop {
        let mut signal = None;
        loop {
            ptrace::syscall(self.0, signal).expect("it has stopped");
            match waitpid(self.0, None).expect("it is our child") {
                WaitStatus::PtraceSyscall(_) => return Stop::SystemCall,
                WaitStatus::Stopped(_, received) => signal = Some(received),
                ended => return Stop::Ended(ended),
            }
        }
    }

    /// Whether it stands before the line that says where it listens.
    fn is_about_to_speak(&self) -> bool {
        let registers = ptrace::getregs(self.0).expect("it has stopped");
        let call = i64::try_from(registers.orig_rax).ok();
        let entering = registers.rax == -i64::from(libc::ENOSYS) as u64;
        entering && call == Some(libc::SYS_write) && registers.rdi == 2
    }

    fn terminate(&self) {
        kill(self.0, Signal::SIGTERM).expect("it is there");
    }

    /// Lets it run to its end.
    fn end(self) -> WaitStatus {
        ptrace::detach(self.0, None).expect("it has stopped");
        waitpid(self.0, None).expect("it is our child")
    }
}

/// Ends a server at a point of its start. `None` if it listens before.
fn end_in_start(point: usize, path: &Path) -> Option<WaitStatus> {
    let server = Traced::start(path);
    for _ in 0..point {
        match server.step() {
            Stop::Ended(status) => panic!("it has ended by itself: {status:?}"),
            Stop::SystemCall if server.is_about_to_speak() => {
                server.terminate();
                server.end();
                return None;
            }
            Stop::SystemCall => {}
        }
    }
    server.terminate();
    Some(server.end())
}

#[test]
fn a_server_that_is_told_to_end_at_any_point_of_its_start_leaves_no_socket() {
    let path = socket_path();
    let (mut points, mut blocked) = (0, 0);
    // Every third stop meets each call before or after it is made.
    while let Some(status) = end_in_start(3 * points, &path) {
        assert!(!path.exists(), "point {points}: the socket's file is still there");
        match status {
            WaitStatus::Exited(_, 0) => blocked += 1,
            // As with any program, before its first instruction that says otherwise; there is nothing to clean up.
            WaitStatus::Signaled(_, Signal::SIGTERM, _) => {
                assert_eq!(blocked, 0, "point {points}: it was ready for the signal before");
            }
            other => panic!("point {points}: {other:?}"),
        }
        points += 1;
    }
    assert!(!path.exists());
    println!("{points} points, at {blocked} of which it was ready");
    assert!(blocked > 10, "only {blocked} of {points} points came after the beginning of main");
}

/// Ends a server that listens, and tells it so once more at a point of its end. `None` if it has ended before.
fn end_twice(point: usize, path: &Path) -> Option<WaitStatus> {
    let server = Traced::start(path);
    while !server.is_about_to_speak() {
        assert!(matches!(server.step(), Stop::SystemCall), "it starts");
    }
    assert!(path.exists(), "it listens");
    server.terminate();
    for _ in 0..point {
        if let Stop::Ended(status) = server.step() {
            assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
            return None;
        }
    }
    server.terminate();
    Some(server.end())
}

#[test]
fn a_server_that_is_told_twice_to_end_ends_as_if_told_once_at_any_point() {
    let path = std::env::temp_dir().join(format!("faults-end-twice-{}.sock", std::process::id()));
    let mut points = 0;
    while let Some(status) = end_twice(3 * points, &path) {
        assert!(!path.exists(), "point {points}: the socket's file is still there");
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "point {points}: {status:?}");
        points += 1;
    }
    assert!(!path.exists());
    println!("{points} points");
    assert!(points > 10, "{points} points are not the whole end");
}
