//! QEMU's own events for a server of ours.
//!
//! QEMU has no hook for events: they go to its monitors. So there is one more monitor, at a pair of sockets, and we
//! read what it is sent. It is made as those of the command line are, out of the same options (`-chardev socket
//! -mon`); plugins are loaded when that has just been done. `query-chardev` shows it.
//!
//! An event is in the socket when the call that has emitted it returns. [`drain`] is therefore called before
//! a command of QEMU's is answered: a client that has the reply to `stop` has seen `STOP`. QEMU limits how
//! often some of them are sent, so we do not.
//!
//! Threads: the main loop's.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use aio_sys::host::QemuOpts;
use serde::Deserialize;
use serde_json::Value;

use super::{Loading, Refusal};
use crate::aio::context::take_error;
use crate::async_fd::AsyncFd;
use crate::cx::MainCx;
use crate::qmp::{Event, EventSink};
use crate::task_fn::boxed;

thread_local! {
    static FORWARDER: RefCell<Option<Rc<Forwarder>>> = const { RefCell::new(None) };
}

impl Loading<'_> {
    /// Sends QEMU's own events to `events`, too, as long as QEMU runs.
    ///
    /// # Errors
    ///
    /// If this QEMU cannot have one more monitor, or if this is the second time. Then there are no events, and
    /// everything else goes on.
    pub fn forward_events(&mut self, events: EventSink) -> Result<(), Refusal> {
        if FORWARDER.with_borrow(Option::is_some) {
            return Err(Refusal::because("QEMU's events are forwarded already"));
        }
        if !aio_sys::host::has_monitor_init() {
            return Err(Refusal::because("this QEMU exports no way to make a monitor"));
        }
        let stream = open_monitor()
            .map_err(|error| Refusal::because(format!("no monitor for QEMU's events: {error}")))?;
        let forwarder = Rc::new(Forwarder { stream, unread: RefCell::default(), events });
        FORWARDER.set(Some(Rc::clone(&forwarder)));
        let forward = boxed(move |_: &MainCx| {
            Box::pin(async move {
                // The server goes on without them if the socket breaks.
                let _broken = forwarder.run().await;
            })
        });
        self.cx.spawn_named("qmp:events", forward).detach();
        Ok(())
    }
}

/// Asks for a monitor; returns the client's end of it, negotiated as far as the client can.
fn open_monitor() -> io::Result<UnixStream> {
    let (mut ours, theirs) = UnixStream::pair()?;
    ours.write_all(b"{\"execute\": \"qmp_capabilities\"}")?;
    ours.set_nonblocking(true)?;
    // QEMU's from now on.
    let fd = theirs.into_raw_fd();
    let chardev = add_option(c"chardev", &format!("socket,id=executor-events-{fd},fd={fd}"))?;
    let monitor = add_option(c"mon", &format!("chardev=executor-events-{fd},mode=control"))?;
    let mut error = ptr::null_mut();
    // SAFETY: [loading]: as QEMU itself does; the main loop's context; `error` is null and outlives the call.
    unsafe { aio_sys::host::qemu_chr_new_from_opts(chardev, ptr::null_mut(), &raw mut error) };
    if error.is_null() {
        // SAFETY: [loading]: as QEMU itself does, with the device that was just made.
        unsafe { aio_sys::host::monitor_init_opts(monitor, &raw mut error) };
    }
    if error.is_null() { Ok(ours) } else { Err(take_error(error)) }
}

/// As the command line has it.
fn add_option(group: &CStr, value: &str) -> io::Result<*mut QemuOpts> {
    let value = CString::new(value).expect("there is no NUL in it");
    let mut error = ptr::null_mut();
    // SAFETY: a C string; the groups are there since before the command line was read.
    let group = unsafe { aio_sys::host::qemu_find_opts(group.as_ptr()) };
    let parse = aio_sys::host::qemu_opts_parse;
    // SAFETY: [loading]: a group of QEMU's, which only this thread changes now; `error` is null and outlives the
    // call.
    let option = unsafe { parse(group, value.as_ptr(), true, &raw mut error) };
    if option.is_null() { Err(take_error(error)) } else { Ok(option) }
}

/// Sends on what has arrived, so that it comes before whatever is sent next.
pub(super) fn drain() {
    // The thread is ending if there is none.
    let forwarder = FORWARDER.try_with(|forwarder| forwarder.borrow().clone()).ok().flatten();
    if let Some(forwarder) = forwarder {
        let _broken = forwarder.drain();
    }
}

struct Forwarder {
    stream: UnixStream,
    /// The beginning of a line.
    unread: RefCell<Vec<u8>>,
    events: EventSink,
}

impl Forwarder {
    async fn run(&self) -> io::Result<()> {
        let stream = AsyncFd::read_only(self.stream.try_clone()?)?;
        loop {
            let ready = stream.readable().await?;
            self.drain()?;
            stream.clear_ready(ready);
        }
    }

    /// Reads until there is no more.
    fn drain(&self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match (&self.stream).read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.take(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&self, bytes: &[u8]) {
        let mut unread = self.unread.take();
        unread.extend_from_slice(bytes);
        let end = unread.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        for line in unread.drain(..end).as_slice().split(|&byte| byte == b'\n') {
            // The greeting and the reply to the negotiation are no events.
            if let Ok(arrived) = serde_json::from_slice::<Arrived>(line) {
                self.events.forward(arrived.into_event());
            }
        }
        self.unread.replace(unread);
    }
}

/// An event, as QEMU writes it.
#[derive(Deserialize)]
struct Arrived {
    event: String,
    data: Option<Value>,
    timestamp: Timestamp,
}

#[derive(Deserialize)]
struct Timestamp {
    seconds: u64,
    microseconds: u64,
}

impl Arrived {
    fn into_event(self) -> Event {
        let Timestamp { seconds, microseconds } = self.timestamp;
        let since = Duration::from_secs(seconds) + Duration::from_micros(microseconds);
        let event = Event::new(self.event, SystemTime::UNIX_EPOCH + since);
        let Some(data) = self.data else { return event };
        event.with_data(&data).expect("a value that was read can be written")
    }
}
