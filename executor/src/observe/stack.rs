//! The stack of another thread, as it is now.
//!
//! A signal makes the thread note the addresses on its stack, whatever it is doing; whoever asked turns them
//! into names. The signal is `SIGURG`: nobody is harmed by one that comes too late, since it is ignored by
//! default, and QEMU does not use it.
//!
//! Owns the process's handler of that signal, from the first stack on, and a place for the notes of one thread. What
//! the handler does is allowed in signal handlers: it stores into static atomics, makes two system calls, and
//! walks the stack with the unwinder, which takes no lock since glibc 2.35 and has been called before, so that
//! it is loaded.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{Pid, gettid};

const SIGNAL: Signal = Signal::SIGURG;
const MOST: usize = 64;
/// How long a thread has for its notes, in milliseconds. It may be in the kernel and not come out.
const PATIENCE: u16 = 1000;

/// The thread whose turn it is; 0 once it has begun, or was too late.
static WANTED: AtomicI32 = AtomicI32::new(0);
static NOTES: [AtomicUsize; MOST] = [const { AtomicUsize::new(0) }; MOST];
/// How many notes there are, or `WRITING`.
static NOTED: AtomicUsize = AtomicUsize::new(0);
const WRITING: usize = usize::MAX;
/// Rung when the notes are there.
static DONE: OnceLock<EventFd> = OnceLock::new();

/// The addresses on a thread's stack, the innermost first.
#[derive(Debug)]
pub(super) struct Stack(Vec<usize>);

/// The only one to ask for stacks.
static CAMERA: Mutex<Camera> = Mutex::new(Camera { ready: false });

struct Camera {
    ready: bool,
}

impl Stack {
    /// The stack of a thread of this process, if it answers within a second. Any other thread.
    ///
    /// # Errors
    ///
    /// If the program uses the signal otherwise, or the thread has ended, or does not answer.
    pub(super) fn of(thread: Pid) -> io::Result<Stack> {
        CAMERA.lock().unwrap_or_else(PoisonError::into_inner).take(thread)
    }
}

impl Camera {
    fn take(&mut self, thread: Pid) -> io::Result<Stack> {
        if !self.ready {
            install()?;
            self.ready = true;
        }
        // Acquire: pairs with the Release in `note`: the last thread has finished its notes.
        if NOTED.load(Ordering::Acquire) == WRITING {
            return Err(Errno::EBUSY.into());
        }
        ask(thread)
    }
}

/// Asks the thread for its notes. The caller has the camera.
fn ask(thread: Pid) -> io::Result<Stack> {
    let done = DONE.get().expect("`install` has made it");
    WANTED.store(thread.as_raw(), Ordering::SeqCst);
    send(thread).inspect_err(|_| WANTED.store(0, Ordering::SeqCst))?;
    let mut ready = [PollFd::new(done.as_fd(), PollFlags::POLLIN)];
    let _or_too_late = poll(&mut ready, PollTimeout::from(PATIENCE));
    if WANTED.swap(0, Ordering::SeqCst) != 0 {
        return Err(Errno::ETIMEDOUT.into());
    }
    // It has begun, and takes some microseconds.
    done.read()?;
    // Acquire: pairs with the Release in `note`.
    let noted = NOTED.load(Ordering::Acquire);
    Ok(Stack(NOTES[..noted].iter().map(|note| note.load(Ordering::Relaxed)).collect()))
}

fn send(thread: Pid) -> io::Result<()> {
    let (process, signal) = (nix::unistd::getpid().as_raw(), SIGNAL as libc::c_int);
    // SAFETY: [signal-safe]: it takes three numbers, and the handler is there.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, process, thread.as_raw(), signal) };
    Errno::result(sent)?;
    Ok(())
}

fn install() -> io::Result<()> {
    // Loads what the unwinder needs.
    let mut frames = 0;
    backtrace::trace(|_| {
        frames += 1;
        frames < MOST
    });
    let flags = EfdFlags::EFD_CLOEXEC;
    if DONE.get().is_none() {
        let _first_and_only = DONE.set(EventFd::from_value_and_flags(0, flags)?);
    }
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: [signal-safe]: that is what `note` does.
    let before = unsafe { sigaction(SIGNAL, &action) }?;
    if matches!(before.handler(), SigHandler::SigDfl | SigHandler::SigIgn) {
        return Ok(());
    }
    // SAFETY: [signal-safe]: whoever installed it said so.
    unsafe { sigaction(SIGNAL, &before) }?;
    Err(io::Error::other("the program uses SIGURG itself"))
}

/// The handler: notes the addresses on the stack, if it is this thread's turn.
extern "C" fn note(_signal: libc::c_int) {
    let errno = Errno::last();
    let me = gettid().as_raw();
    if WANTED.compare_exchange(me, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
        NOTED.store(WRITING, Ordering::Relaxed);
        let mut noted = 0;
        let note = |frame: &backtrace::Frame| {
            NOTES[noted].store(frame.ip() as usize, Ordering::Relaxed);
            noted += 1;
            noted < MOST
        };
        // SAFETY: [signal-safe]: what must be synchronised are the caches of names, and this asks for none.
        unsafe { backtrace::trace_unsynchronized(note) };
        // Release: pairs with the Acquire in `ask`.
        NOTED.store(noted, Ordering::Release);
        let _cannot_overflow = DONE.get().map(|done| done.write(1));
    }
    errno.set();
}

impl fmt::Display for Stack {
    /// One line per function, from the innermost that is not the signal's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(|address| describe(*address)).collect();
        let ours =
            |name: &String| name.contains("observe::stack::") || name.contains("__restore_rt");
        let first = names.iter().take(8).rposition(ours).map_or(0, |last| last + 1);
        for name in &names[first..] {
            writeln!(f, "    {name}")?;
        }
        Ok(())
    }
}

/// The function at an address, and its line if the program knows it.
fn describe(address: usize) -> String {
    let mut text = None;
    backtrace::resolve(address as *mut _, |symbol| {
        let Some(name) = symbol.name() else { return };
        let place = match (symbol.filename(), symbol.lineno()) {
            (Some(file), Some(line)) => format!(" ({}:{line})", file.display()),
            _ => String::new(),
        };
        // The innermost of the functions that were inlined comes first.
        text.get_or_insert_with(|| format!("{name:#}{place}"));
    });
    text.unwrap_or_else(|| format!("{address:#x}"))
}
