//! The arguments of the plugin: `-plugin FILE,commands=x-sleep:x-query-tasks,nested=on`.
//!
//! QEMU hands each over as `key=value`. Whatever is not understood is refused with the list of what is,
//! so that a mistake is not found out much later.
//!
//! Threads: any; pure functions.

use executor::host::Options;
use executor::qmp::Address;

use super::trace::Target;

/// What the plugin was asked to do.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    /// Which commands to register; all unless said otherwise.
    pub(crate) commands: Option<Vec<String>>,
    /// Where to serve QMP besides QEMU's own monitors.
    pub(crate) qmp: Vec<Address>,
    /// Which clients listen and wait for a server.
    pub(crate) qmp_connect: Vec<Address>,
    /// Whether nested event loops run the tasks, too.
    nested: bool,
    /// Whether to register the commands of `selftest.rs`, too.
    pub(crate) selftest: bool,
    /// Whether to register a command that blocks, too.
    pub(crate) naive: bool,
    /// Whether to keep accounts of tasks from the start.
    pub(crate) accounts: bool,
    /// Where to write a line per event.
    pub(crate) trace: Option<Target>,
}

/// The arguments there are, for people.
const KNOWN: &str = "accounts=on|off, commands=NAME[:NAME...], naive=on|off, nested=on|off, qmp=unix:PATH, qmp-connect=unix:PATH, selftest=on|off, trace=on|off|PATH";

impl Arguments {
    /// Parses `key=value` strings. The error is a sentence.
    pub(crate) fn parse(given: &[String]) -> Result<Self, String> {
        let mut arguments = Self::default();
        for argument in given {
            let (key, value) = argument.split_once('=').unwrap_or((argument, "on"));
            match key {
                "accounts" => arguments.accounts = switch(key, value)?,
                "commands" => arguments.commands = Some(list(value)),
                "naive" => arguments.naive = switch(key, value)?,
                "nested" => arguments.nested = switch(key, value)?,
                "qmp" => arguments.qmp.push(address(value)?),
                "qmp-connect" => arguments.qmp_connect.push(address(value)?),
                "trace" => arguments.trace = target(value),
                "selftest" => arguments.selftest = switch(key, value)?,
                _ => return Err(format!("there is no argument `{key}`; there are {KNOWN}")),
            }
        }
        Ok(arguments)
    }

    /// Whether there is to be a server of our own.
    pub(crate) fn has_server(&self) -> bool {
        !self.qmp.is_empty() || !self.qmp_connect.is_empty()
    }

    /// How the executor is to be attached.
    pub(crate) fn options(&self) -> Options {
        Options::default().nested(self.nested)
    }
}

fn list(value: &str) -> Vec<String> {
    value.split(':').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn address(value: &str) -> Result<Address, String> {
    value.parse().map_err(|error| format!("`{value}` is no address: {error}"))
}

fn target(value: &str) -> Option<Target> {
    match value {
        "off" => None,
        "on" => Some(Target::Stderr),
        path => Some(Target::File(path.into())),
    }
}

fn switch(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("the argument `{key}` is `on` or `off`, not `{value}`")),
    }
}
