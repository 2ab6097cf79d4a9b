//! One client's task: its session, its socket, and the commands that run for it: one at a time, unless the
//! client has asked for more.
//!
//! The task is a loop of small steps, each of which moves what can be moved: input to the session,
//! requests to the main loop (or, out of band, to their handlers at once), outcomes and events to the
//! session, output to the socket. Between two steps other tasks get their turn, so a client that sends
//! without a pause delays nobody.
//!
//! # The end
//!
//! A client that closes its socket is gone: its command is cancelled. A client that ends only its own
//! direction gets its replies first. So does a client when the server stops, within a second; its
//! command, unless it has just ended, is cancelled, and answered with that. Over TCP the two cannot be told apart before
//! something is sent; there the command runs to its end.
//!
//! Threads: the monitor's. Relies on the session for every bound on memory.

#![forbid(unsafe_code)]

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::super::error::Error;
use super::super::fds::{self, ClientFds};
use super::super::registry::OobTable;
use super::super::request::{Outcome, Request, Ticket};
use super::super::session::{Session, SessionOptions};
use super::commands::Job;
use super::hub::{Hub, Membership};
use super::queue::Queue;
use super::transport::Transport;
use crate::cx::OobContext;
use crate::io_context::{IoContext, reschedule_to};
use crate::remote::{self, Remote};
use crate::time::{Sleep, sleep};

/// How long a client may take to read what it has coming when the server stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// What all clients of a server have in common.
pub(super) struct Monitor {
    /// The thread they live in.
    pub(super) io: IoContext,
    pub(super) hub: Arc<Hub>,
    /// The way to the main loop.
    pub(super) jobs: Arc<Queue<Job>>,
    /// The commands that need not go there.
    pub(super) oob: OobTable,
    pub(super) options: SessionOptions,
}

impl Monitor {
    /// Serves a client, in the monitor's thread, where `connect` makes its transport; if that fails, the client
    /// finds its connection closed. One that comes too late is turned away.
    pub(super) fn serve(
        self: &Arc<Self>,
        connect: impl FnOnce() -> io::Result<Transport> + Send + 'static,
    ) {
        let Some(membership) = self.hub.join(self.options.output_limit) else { return };
        let monitor = Arc::clone(self);
        let client = async move {
            let session = Session::new(monitor.options.clone());
            let Ok(transport) = connect() else { return };
            let state = State::Reading;
            let running = Vec::new();
            let fds = Arc::default();
            let client = Client { transport, session, running, state, monitor, membership, fds };
            client.run().await;
        };
        reschedule_to(&self.io, client).detach();
    }
}

struct Client {
    // Before the membership: when that has gone, so have the socket and what came through it.
    transport: Transport,
    /// What it has passed.
    fds: Arc<ClientFds>,
    session: Session,
    /// The commands that run, in the order in which they were asked for, and what their replies need.
    running: Vec<(Ticket, Remote<Outcome>)>,
    state: State,
    monitor: Arc<Monitor>,
    membership: Membership,
}

enum State {
    /// Everything goes both ways.
    Reading,
    /// The client has ended its direction.
    InputEnded,
    /// The server stops; what is unsent by this time is lost.
    Closing(Sleep),
}

/// What a step has led to.
enum Step {
    /// The next one may have something to do.
    Moved,
    /// Nothing can be moved before an event.
    Stuck,
}

impl Client {
    async fn run(mut self) {
        // Nobody is left to be told of an error of the socket.
        let _gone = poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_gone(cx) {
            return Poll::Ready(Ok(()));
        }
        match self.step(cx)? {
            Step::Stuck if self.is_done() => Poll::Ready(Ok(())),
            Step::Stuck => Poll::Pending,
            Step::Moved => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// Tells whether the client has hung up, or has not read for too long.
    fn is_gone(&mut self, cx: &mut Context<'_>) -> bool {
        let overdue = match &mut self.state {
            State::Closing(deadline) => Pin::new(deadline).poll(cx).is_ready(),
            State::Reading | State::InputEnded => false,
        };
        overdue || self.transport.poll_hang_up(cx).is_ready()
    }

    /// Tells whether a client that sends no more has got everything.
    fn is_done(&self) -> bool {
        !matches!(self.state, State::Reading)
            && self.running.is_empty()
            && self.session.unsent().is_empty()
    }

    fn step(&mut self, cx: &mut Context<'_>) -> io::Result<Step> {
        // What has been read comes first, because there may be room for more then.
        self.start_requests(cx);
        let mut moved = self.poll_input(cx)?;
        if moved {
            self.start_requests(cx);
        }
        moved |= self.poll_running(cx);
        moved |= self.take_mail(cx);
        moved |= self.poll_output(cx)?;
        Ok(if moved { Step::Moved } else { Step::Stuck })
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if !matches!(self.state, State::Reading) || !self.session.wants_input() {
            return Ok(false);
        }
        let mut buffer = [0; 4096];
        let mut fds = Vec::new();
        let read = self.transport.poll_read(cx, &mut buffer, &mut fds)?;
        if !fds.is_empty() {
            self.fds.receive(fds);
        }
        match read {
            Poll::Pending => return Ok(false),
            Poll::Ready(0) => self.state = State::InputEnded,
            Poll::Ready(count) => self.session.feed(&buffer[..count]),
        }
        Ok(true)
    }

    fn start_requests(&mut self, cx: &mut Context<'_>) {
        while !matches!(self.state, State::Closing(_)) {
            let Some(request) = self.session.next_request() else { return };
            if request.ticket.is_oob() {
                self.run_oob(cx, request);
            } else {
                self.start(request);
            }
        }
    }

    fn run_oob(&mut self, cx: &mut Context<'_>, request: Request) {
        let Request { name, arguments, ticket } = request;
        let outcome = self.monitor.oob.find(&name).and_then(|call| {
            let call = || OobContext::lend(|cx| call(cx, arguments));
            let call = || fds::on_behalf(Some(Arc::clone(&self.fds)), call);
            catch_unwind(AssertUnwindSafe(call))
                .unwrap_or_else(|payload| Err(Error::panicked(payload)))
        });
        self.respond(cx, ticket, outcome);
    }

    /// Sends a request to the main loop.
    fn start(&mut self, request: Request) {
        let Request { name, arguments, ticket } = request;
        let (errand, remote) = remote::pair();
        // If nobody takes jobs any more, the errand goes with the job and says so.
        let client = Arc::clone(&self.fds);
        drop(self.monitor.jobs.push(Job { name, arguments, errand, client }));
        self.running.push((ticket, remote));
    }

    fn poll_running(&mut self, cx: &mut Context<'_>) -> bool {
        let before = self.running.len();
        let mut next = 0;
        while let Some((_, remote)) = self.running.get_mut(next) {
            let Poll::Ready(joined) = Pin::new(remote).poll(cx) else {
                next += 1;
                continue;
            };
            let (ticket, _) = self.running.remove(next);
            self.respond(
                cx,
                ticket,
                joined.unwrap_or_else(|error| Err(Error::without_outcome(error))),
            );
        }
        self.running.len() < before
    }

    /// Replies, after the events that came before the outcome.
    fn respond(&mut self, cx: &mut Context<'_>, ticket: Ticket, outcome: Outcome) {
        self.take_mail(cx);
        self.session.respond(ticket, outcome);
    }

    fn take_mail(&mut self, cx: &mut Context<'_>) -> bool {
        let mail = self.membership.take_mail(cx.waker());
        for event in &mail.events {
            self.session.emit_line(event);
        }
        if !mail.closing || matches!(self.state, State::Closing(_)) {
            return false;
        }
        self.state = State::Closing(sleep(FAREWELL));
        self.poll_running(cx);
        for (ticket, remote) in std::mem::take(&mut self.running) {
            drop(remote);
            self.session.respond(ticket, Err(Error::cancelled()));
        }
        true
    }

    fn poll_output(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.session.unsent().is_empty() {
            return Ok(false);
        }
        match self.transport.poll_write(cx, self.session.unsent())? {
            Poll::Pending => Ok(false),
            Poll::Ready(0) => Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(count) => {
                self.session.advance(count);
                Ok(true)
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.fds.close_all();
        let running = std::mem::take(&mut self.running);
        if !running.is_empty() {
            drop(running);
            // The main loop may be held up, with many of those in the queue.
            self.monitor.jobs.discard(|job| job.errand.is_cancelled());
        }
    }
}
