//! The commands of a server.
//!
//! Filled once, before the first monitor, then only read. One registry serves any number of
//! monitors; [`find`](Registry::find) decides what a name means there and says so in QEMU's words
//! when it means nothing. `qmp_capabilities` is not in it: each monitor answers that one itself.
//!
//! Threads: the registry stays where it was made. The out-of-band commands also exist as an
//! [`OobTable`] that may go to the thread that reads a monitor.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;

use super::command::{Blocking, Call, Command, Handler, Mode, OobCall};
use super::error::Error;
use super::observe::{CommandEvent, Observer, watched};
use super::request::NEGOTIATION;

#[cfg(test)]
mod tests;

/// The commands a server knows, by name. Stands for `QmpCommandList`.
#[derive(Default)]
pub struct Registry {
    calls: HashMap<&'static str, Call>,
    /// In the order of registration; shared with the handler of `query-commands`.
    names: Rc<RefCell<Names>>,
    /// Asked for the others.
    fallback: Option<fn(&str) -> Option<Call>>,
    /// Told what becomes of each call.
    observer: Option<Observer>,
    /// The C functions by which QEMU's monitors call them.
    #[cfg(feature = "host")]
    marshals: HashMap<&'static str, aio_sys::host::QmpCommandFunc>,
}

/// What `query-commands` lists.
#[derive(Debug, Default)]
struct Names {
    registered: Vec<&'static str>,
    /// Asked for the others.
    fallback: Option<fn() -> Vec<String>>,
}

impl Names {
    fn all(&self) -> Vec<CommandInfo> {
        let mut all: Vec<Cow<'static, str>> = vec![NEGOTIATION.into()];
        all.extend(self.registered.iter().map(|&name| Cow::Borrowed(name)));
        let ours = all.len();
        for name in self.fallback.map(|names| names()).unwrap_or_default() {
            if !all[..ours].contains(&Cow::Borrowed(name.as_str())) {
                all.push(name.into());
            }
        }
        all.into_iter().map(|name| CommandInfo { name }).collect()
    }
}

/// The out-of-band commands of a [`Registry`], for another thread.
#[derive(Clone)]
pub struct OobTable {
    calls: Arc<HashMap<&'static str, Option<OobCall>>>,
}

struct QueryCommands;

impl Command for QueryCommands {
    const NAME: &'static str = "query-commands";
    type Mode = Blocking;
    type Args = ();
    type Ret = Vec<CommandInfo>;
}

#[derive(Serialize)]
struct CommandInfo {
    name: Cow<'static, str>,
}

impl Registry {
    /// Returns a registry without commands.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers the handler of a command.
    ///
    /// The mode is inferred: `registry.command::<MyCommand, _>(my_handler)`.
    ///
    /// # Panics
    ///
    /// Panics if the name is taken, and names it.
    #[track_caller]
    pub fn command<C: Command<Mode = M>, M: Mode>(&mut self, handler: impl Handler<C, M>) {
        let name = C::NAME;
        assert!(name != NEGOTIATION, "the QMP command `{name}` belongs to the monitor itself");
        let earlier = self.calls.insert(name, handler.into_call());
        assert!(earlier.is_none(), "the QMP command `{name}` is registered already");
        #[cfg(feature = "host")]
        self.marshals.insert(name, crate::host::command::marshal::<C>);
        self.names.borrow_mut().registered.push(name);
    }

    /// Returns the C function of a command.
    #[cfg(feature = "host")]
    pub(crate) fn marshal(&self, name: &str) -> Option<aio_sys::host::QmpCommandFunc> {
        self.marshals.get(name).copied()
    }

    /// Adds `query-commands`, which lists every command, also those registered later.
    ///
    /// A registry whose commands are handed to QEMU does without: QEMU has that command. A server of ours inside
    /// QEMU needs it, because QEMU's is about a monitor of its own.
    ///
    /// # Panics
    ///
    /// Panics if `query-commands` is registered already.
    #[track_caller]
    pub fn add_query_commands(&mut self) {
        let names = Rc::clone(&self.names);
        self.command::<QueryCommands, _>(move |_: &mut _, ()| Ok(names.borrow().all()));
    }

    /// Sets where to look for commands that are not registered, and what `query-commands` lists besides those
    /// that are: inside QEMU, QEMU's own.
    ///
    /// They are not available out of band, and not among the [`names`](Self::names).
    pub fn set_fallback(&mut self, find: fn(&str) -> Option<Call>, names: fn() -> Vec<String>) {
        self.fallback = Some(find);
        self.names.borrow_mut().fallback = Some(names);
    }

    /// Tells `observer` what becomes of every call from now on: when its handler is called, and how and when
    /// it ends. For traces; without an observer there is no cost.
    ///
    /// It is told in the thread of the call, and is not to panic. Servers and QEMU's monitors take over the
    /// out-of-band commands when they get the registry, so call this before.
    pub fn observe(&mut self, observer: impl Fn(&CommandEvent<'_>) + Send + Sync + 'static) {
        self.observer = Some(Arc::new(observer));
    }

    fn observed(&self, name: &str, call: Call) -> Call {
        match &self.observer {
            Some(observer) => watched(observer, name, call),
            None => call,
        }
    }

    /// Returns the names of all commands, in the order of registration.
    pub fn names(&self) -> Vec<&'static str> {
        self.names.borrow().registered.clone()
    }

    /// Returns what to call for the command `name`, asked for out of band or not.
    ///
    /// # Errors
    ///
    /// Fails when there is no such command, or when it does not support `oob`.
    pub fn find(&self, name: &str, oob: bool) -> Result<Call, Error> {
        let registered = self.calls.get(name).cloned();
        match registered.or_else(|| self.fallback.and_then(|find| find(name))) {
            None => Err(Error::command_not_found(name)),
            Some(Call::Blocking(_) | Call::Coroutine(_)) if oob => Err(Error::no_oob(name)),
            Some(call) => Ok(self.observed(name, call)),
        }
    }

    /// Returns the out-of-band commands as they are now.
    pub fn oob_table(&self) -> OobTable {
        let observed =
            |(&name, call): (&&'static str, &Call)| (name, self.observed(name, call.clone()));
        let calls = self.calls.iter().map(observed).map(|(name, call)| match call {
            Call::Oob(call) => (name, Some(call)),
            Call::Blocking(_) | Call::Coroutine(_) => (name, None),
        });
        OobTable { calls: Arc::new(calls.chain([(NEGOTIATION, None)]).collect()) }
    }
}

impl OobTable {
    /// Returns what to call for the command `name`.
    ///
    /// # Errors
    ///
    /// Fails as [`Registry::find`] does.
    pub fn find(&self, name: &str) -> Result<OobCall, Error> {
        let call = self.calls.get(name).ok_or_else(|| Error::command_not_found(name))?;
        call.clone().ok_or_else(|| Error::no_oob(name))
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.names();
        f.debug_struct("Registry").field("commands", &names).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for OobTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let supported = self.calls.iter().filter(|(_, call)| call.is_some());
        f.debug_set().entries(supported.map(|(name, _)| name)).finish()
    }
}
