//! Handlers of file descriptors on the emulated `AioContext`, added, replaced, removed and notified in any order,
//! also by callbacks and with nested passes.
//!
//! The descriptors are eventfds, whose readiness the program knows. Checked at each callback: its registration is
//! the one in force, and its descriptor was ready when a pass that is still running looked. Checked at each pass:
//! what was ready and stayed registered was called, once unless a nested pass ran; and the pass says whether it
//! called anything. A wake-up that gets lost is a pass that never ends.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::aio::{Handler, Loop};
use super::program::Program;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::{AsFd, AsRawFd, RawFd};

/// Descriptors.
const FDS: usize = 5;
/// Callbacks and registrations that a program may have.
const MOST: usize = 400;
/// Nested passes that a program may run inside of each other.
const DEPTH: usize = 3;
/// The counter at which an eventfd is not writable.
const FULL: u64 = u64::MAX - 1;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Read,
    Write,
    /// What `io_poll` has found.
    Polled,
}

/// One registration.
struct Registration {
    read: bool,
    write: bool,
    poll: bool,
    /// When it was made, in registrations.
    made: usize,
    /// Calls in the outermost pass, by way.
    calls: [Cell<usize>; 2],
}

/// A pass that runs.
struct Pass {
    /// Readable and writable, when it began.
    ready: [(bool, bool); FDS],
    /// The same, and whenever a nested pass began. What is not ready any more then need not be called.
    stays_ready: [(bool, bool); FDS],
    /// What was registered when it began.
    registered: [Option<usize>; FDS],
    /// How many registrations there were.
    made: usize,
    /// Whether it has called something.
    progress: bool,
    has_nested: bool,
}

impl Pass {
    fn note_nested(&mut self, ready: &[(bool, bool); FDS]) {
        self.has_nested = true;
        for ((readable, writable), now) in self.stays_ready.iter_mut().zip(ready) {
            *readable &= now.0;
            *writable &= now.1;
        }
    }
}

/// A loop, its descriptors and what is known of them.
struct World {
    home: Loop,
    /// What callbacks do.
    script: RefCell<Vec<u8>>,
    fds: RefCell<[EventFd; FDS]>,
    counters: [Cell<u64>; FDS],
    current: [Cell<Option<usize>>; FDS],
    registrations: RefCell<Vec<Rc<Registration>>>,
    /// What C points at; kept to the end, so that a call of what was removed is seen.
    handlers: RefCell<Vec<Rc<Handler<'static>>>>,
    passes: RefCell<Vec<Pass>>,
    calls: Cell<usize>,
    notified: Cell<bool>,
}

/// Checks one program.
pub fn check(data: &[u8]) {
    let (script, steps) = data.split_at(data.len() / 2);
    let home = own_loop();
    let world = World::new(home, script);
    let mut steps = Program(steps);
    while let Some(step) = steps.byte() {
        world.step(step);
    }
    for fd in 0..FDS {
        world.remove(fd);
    }
    // Handlers have the world, which has them.
    world.handlers.take();
    while home.poll(false) {}
}

/// The loop of this thread, which is made once.
fn own_loop() -> Loop {
    thread_local! {
        static HOME: Loop = {
            let home = Loop::new();
            home.make_current();
            home
        };
    }
    HOME.with(|home| *home)
}

fn new_eventfd() -> EventFd {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    EventFd::from_value_and_flags(0, flags).expect("there are fds")
}

impl World {
    fn new(home: Loop, script: &[u8]) -> Rc<Self> {
        Rc::new(Self {
            home,
            script: RefCell::new(script.iter().rev().copied().collect()),
            fds: RefCell::new(std::array::from_fn(|_| new_eventfd())),
            counters: Default::default(),
            current: Default::default(),
            registrations: RefCell::default(),
            handlers: RefCell::default(),
            passes: RefCell::default(),
            calls: Cell::new(0),
            notified: Cell::new(false),
        })
    }

    fn step(self: &Rc<Self>, step: u8) {
        let fd = usize::from(step >> 4) % FDS;
        match step & 15 {
            0 | 1 => self.register(fd, true, false, false),
            2 => self.register(fd, false, true, false),
            3 => self.register(fd, true, true, false),
            4 => self.register(fd, true, step & 128 != 0, true),
            5 => self.remove(fd),
            6 | 7 => self.add(fd, 1),
            8 => self.drain(fd),
            9 => self.add(fd, FULL - self.counters[fd].get()),
            10 => self.replace_fd(fd),
            11 => {
                self.home.notify();
                self.notified.set(true);
            }
            12 => self.home.set_poll_max(if step & 128 != 0 { 2000 } else { 0 }),
            13 if self.must_wake() => self.pass(true),
            _ => self.pass(false),
        }
    }

    /// What a callback does besides.
    fn act(self: &Rc<Self>) {
        let Some(action) = self.script.borrow_mut().pop() else { return };
        // Half of them do nothing, so that others have their turn.
        if action & 1 == 0 {
            self.step(action >> 1);
        }
    }

    fn raw(&self, fd: usize) -> RawFd {
        self.fds.borrow()[fd].as_fd().as_raw_fd()
    }

    fn register(self: &Rc<Self>, fd: usize, read: bool, write: bool, poll: bool) {
        let made = self.registrations.borrow().len();
        if made == MOST {
            return;
        }
        let registration = Registration { read, write, poll, made, calls: Default::default() };
        self.registrations.borrow_mut().push(Rc::new(registration));
        self.current[fd].set(Some(made));
        let call = |way| {
            let world = Rc::clone(self);
            move || world.called(fd, made, way)
        };
        let mut handler = Handler::default();
        if read {
            handler = Handler { read: Some(Box::new(call(Way::Read))), ..handler };
        }
        if write {
            handler = handler.and_write(call(Way::Write));
        }
        if poll {
            let world = Rc::clone(self);
            handler = handler.and_poll(move || world.asked(fd, made), call(Way::Polled));
        }
        let handler = Rc::new(handler);
        self.home.set_fd(self.raw(fd), &handler);
        self.handlers.borrow_mut().push(handler);
    }

    fn remove(&self, fd: usize) {
        self.current[fd].set(None);
        self.home.remove_fd(self.raw(fd));
    }

    fn add(&self, fd: usize, value: u64) {
        let counter = self.counters[fd].get();
        if let Some(sum) = counter.checked_add(value).filter(|&sum| sum <= FULL && value > 0) {
            self.fds.borrow()[fd].write(value).expect("there is room");
            self.counters[fd].set(sum);
        }
    }

    fn drain(&self, fd: usize) {
        if self.counters[fd].replace(0) > 0 {
            self.fds.borrow()[fd].read().expect("it was written to");
        }
    }

    /// Closes a descriptor, whose handler goes first; a new one has the same number.
    fn replace_fd(&self, fd: usize) {
        self.remove(fd);
        let new = new_eventfd();
        // SAFETY: both are open; the number stays its owner's.
        let number = unsafe { libc::dup3(new.as_fd().as_raw_fd(), self.raw(fd), libc::O_CLOEXEC) };
        assert_eq!(number, self.raw(fd));
        self.counters[fd].set(0);
    }

    fn ready(&self, fd: usize) -> (bool, bool) {
        let counter = self.counters[fd].get();
        (counter > 0, counter < FULL)
    }

    fn is_due(&self, fd: usize) -> bool {
        let Some(made) = self.current[fd].get() else { return false };
        let registration = Rc::clone(&self.registrations.borrow()[made]);
        let (readable, writable) = self.ready(fd);
        registration.read && readable || registration.write && writable
    }

    /// Whether a pass that may sleep will not.
    fn must_wake(&self) -> bool {
        self.notified.get() || (0..FDS).any(|fd| self.is_due(fd))
    }

    fn pass(self: &Rc<Self>, blocking: bool) {
        let is_outermost = self.passes.borrow().is_empty();
        if self.passes.borrow().len() == DEPTH || self.calls.get() > MOST {
            return;
        }
        if is_outermost {
            let registrations = self.registrations.borrow();
            registrations.iter().flat_map(|it| &it.calls).for_each(|calls| calls.set(0));
        }
        let ready = std::array::from_fn(|fd| self.ready(fd));
        self.passes.borrow_mut().iter_mut().for_each(|pass| pass.note_nested(&ready));
        self.passes.borrow_mut().push(Pass {
            ready,
            stays_ready: ready,
            registered: std::array::from_fn(|fd| self.current[fd].get()),
            made: self.registrations.borrow().len(),
            progress: false,
            has_nested: false,
        });
        self.notified.set(false);
        let progress = self.home.poll(blocking);
        let pass = self.passes.borrow_mut().pop().expect("it was pushed");
        assert_eq!(progress, pass.progress, "whether something was called");
        if is_outermost {
            self.check_pass(&pass);
        }
    }

    /// What was ready and stayed has been called.
    fn check_pass(&self, pass: &Pass) {
        for fd in 0..FDS {
            let Some(made) = pass.registered[fd] else { continue };
            let registration = Rc::clone(&self.registrations.borrow()[made]);
            let stayed = self.current[fd].get() == Some(made);
            let (readable, writable) = pass.stays_ready[fd];
            let due = [registration.read && readable, registration.write && writable];
            for (calls, due) in registration.calls.iter().map(Cell::get).zip(due) {
                assert!(pass.has_nested || calls <= 1, "fd {fd} was called {calls} times");
                assert!(
                    registration.poll || !due || !stayed || calls > 0,
                    "fd {fd} was not called"
                );
            }
        }
    }

    /// A callback runs.
    fn called(self: &Rc<Self>, fd: usize, made: usize, way: Way) {
        assert_eq!(self.current[fd].get(), Some(made), "fd {fd}: a registration that was removed");
        self.calls.set(self.calls.get() + 1);
        let was_ready = |pass: &Pass| {
            let (readable, writable) = pass.ready[fd];
            made < pass.made && if way == Way::Write { writable } else { readable }
        };
        let known = self.passes.borrow().iter().any(was_ready);
        assert!(known || way == Way::Polled, "fd {fd} was not ready: {way:?}");
        self.passes.borrow_mut().last_mut().expect("a pass calls").progress = true;
        let registration = Rc::clone(&self.registrations.borrow()[made]);
        assert_eq!(registration.made, made);
        let calls = &registration.calls[usize::from(way == Way::Write)];
        calls.set(calls.get() + 1);
        self.act();
    }

    /// `io_poll`: looks without a system call.
    fn asked(&self, fd: usize, made: usize) -> bool {
        assert_eq!(self.current[fd].get(), Some(made), "fd {fd}: a registration that was removed");
        self.ready(fd).0
    }
}
