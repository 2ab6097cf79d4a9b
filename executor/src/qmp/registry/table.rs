//! What a registry has in it: the calls, in which order they came, and what is known of their types.
//!
//! It is shared with the handlers that answer questions about commands or call them by hand. They hold it
//! weakly, since it holds them.
//!
//! Threads: the registry's.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use super::super::command::{Call, Command, Handler, Mode};
use super::super::limits::{Turns, in_turn, timed};
use super::super::observe::{Observer, watched};
use super::super::request::NEGOTIATION;
use super::super::schema::{How, Schema};
use super::super::session;
use super::super::shape::Shape;

/// Describes a type.
pub(in super::super) type Describe = fn() -> Shape;

/// See the module's documentation.
#[derive(Default)]
pub(in super::super) struct Table {
    entries: HashMap<&'static str, Entry>,
    /// In the order of registration.
    pub(super) names: Vec<&'static str>,
    /// Asked for commands that are not registered.
    pub(super) fallback: Option<fn(&str) -> Option<Call>>,
    /// Asked for the names of those.
    pub(super) fallback_names: Option<fn() -> Vec<String>>,
    /// The names of events, and what their data looks like.
    pub(super) events: Vec<(&'static str, Describe)>,
    /// How long a command may take that does not say so itself.
    pub(super) timeout: Option<Duration>,
    /// Told what becomes of each call.
    pub(super) observer: Option<Observer>,
}

/// A command. Its types are described when somebody asks.
pub(in super::super) struct Entry {
    call: Call,
    timeout: Option<Duration>,
    pub(in super::super) help: &'static str,
    pub(in super::super) arguments: Describe,
    result: Describe,
}

impl Entry {
    #[track_caller]
    pub(super) fn of<C: Command<Mode = M>, M: Mode>(handler: impl Handler<C, M>) -> Self {
        let call = match (handler.into_call(), C::CONCURRENCY) {
            (Call::Coroutine(call), Some(count)) => {
                Call::Coroutine(in_turn(&Turns::new(count), call))
            }
            (call @ Call::Coroutine(_), None) => call,
            (call, limit) => {
                let limited = limit.is_some() || C::TIMEOUT.is_some();
                let name = C::NAME;
                assert!(!limited, "the QMP command `{name}` cannot be limited: it does not await");
                call
            }
        };
        Self {
            call,
            timeout: C::TIMEOUT,
            help: C::HELP,
            arguments: Shape::of::<C::Args>,
            result: Shape::of::<C::Ret>,
        }
    }
}

impl Table {
    /// Adds a command and tells whether its name was free.
    pub(super) fn add(&mut self, name: &'static str, entry: Entry) -> bool {
        let free = !self.entries.contains_key(name);
        if free {
            self.entries.insert(name, entry);
            self.names.push(name);
        }
        free
    }

    /// Returns the commands that are registered, in their order.
    pub(in super::super) fn entries(&self) -> impl Iterator<Item = (&'static str, &Entry)> {
        self.names.iter().map(|&name| (name, &self.entries[name]))
    }

    /// Returns a command that is registered.
    pub(in super::super) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// Returns what to call for a command that is registered.
    pub(in super::super) fn call(&self, name: &str) -> Option<Call> {
        let entry = self.entries.get(name)?;
        let call = match (entry.call.clone(), entry.timeout.or(self.timeout)) {
            (Call::Coroutine(call), Some(limit)) => timed(limit, call),
            (call, _) => call,
        };
        Some(self.observed(name, call))
    }

    pub(super) fn observed(&self, name: &str, call: Call) -> Call {
        match &self.observer {
            Some(observer) => watched(observer, name, call),
            None => call,
        }
    }

    /// Describes what is registered, and the negotiation.
    pub(super) fn schema(&self) -> Schema {
        let mut schema = Schema::default();
        let negotiation = (&session::negotiation_shape(), &Shape::Null);
        schema.command(NEGOTIATION, "end the negotiation", How::Blocking, negotiation);
        for (name, entry) in self.entries() {
            let how = match entry.call {
                Call::Blocking(_) => How::Blocking,
                Call::Coroutine(_) => How::Coroutine,
                Call::Oob(_) => How::Oob,
            };
            schema.command(name, entry.help, how, (&(entry.arguments)(), &(entry.result)()));
        }
        self.events.iter().for_each(|(name, data)| schema.event(name, &data()));
        schema
    }

    /// Returns the names of all commands, also of those that are not registered.
    pub(super) fn all_names(&self) -> Vec<Cow<'static, str>> {
        let mut all: Vec<Cow<'static, str>> = vec![NEGOTIATION.into()];
        all.extend(self.names.iter().map(|&name| Cow::Borrowed(name)));
        let ours = all.len();
        for name in self.fallback_names.map(|names| names()).unwrap_or_default() {
            if !all[..ours].contains(&Cow::Borrowed(name.as_str())) {
                all.push(name.into());
            }
        }
        all
    }
}
