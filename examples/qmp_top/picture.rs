//! What a server's executors did at one moment.

use std::io;
use std::time::Instant;

use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Client;

/// One look at everything.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) taken: Instant,
    pub(crate) tasks: Vec<Task>,
    pub(crate) executors: Vec<Executor>,
}

/// A row of `x-query-tasks`. What a server without accounts leaves out is 0.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Task {
    pub(crate) id: u64,
    pub(crate) name: Option<String>,
    pub(crate) spawned_at: String,
    pub(crate) polls: u64,
    pub(crate) executor: String,
    pub(crate) waits_for: Vec<String>,
    pub(crate) account: Account,
}

/// Times are in microseconds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Account {
    pub(crate) state: String,
    pub(crate) age: u64,
    pub(crate) polled: u64,
    pub(crate) longest_poll: u64,
}

/// A row of `x-executor-stats`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Executor {
    pub(crate) executor: String,
    pub(crate) live: u64,
    pub(crate) spawned: u64,
    pub(crate) polls: u64,
    pub(crate) requests: u64,
    pub(crate) timers: u64,
    pub(crate) fd_events: u64,
    pub(crate) times: Times,
}

/// How often something took less than 2, 4, 8, … ns.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Times {
    pub(crate) poll: Vec<u64>,
    pub(crate) queue: Vec<u64>,
    pub(crate) wake: Vec<u64>,
    pub(crate) bql: Vec<u64>,
}

impl Picture {
    /// Asks the server.
    pub(crate) fn take(client: &mut Client) -> io::Result<Self> {
        let tasks = ask(client, "x-query-tasks")?;
        let executors = ask(client, "x-executor-stats")?;
        let parse = |error: serde_json::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        Ok(Self {
            taken: Instant::now(),
            tasks: serde_json::from_value(tasks).map_err(parse)?,
            executors: serde_json::from_value(executors).map_err(parse)?,
        })
    }
}

fn ask(client: &mut Client, command: &str) -> io::Result<Value> {
    let refused = |refusal| io::Error::other(format!("{command}: {refusal}"));
    client.call(command, json!({}))?.map_err(refused)
}

impl Task {
    /// Its name, or where it was spawned.
    pub(crate) fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.spawned_at)
    }
}
