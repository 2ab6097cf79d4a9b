//! Commands by hand: `human-monitor-command`, and the small human monitor behind it.
//!
//! A line is a command's name and its arguments. Which argument is which, and what type it has, says the
//! command's [`Shape`](super::shape::Shape), so every command can be called. `help` and `info` are laid out as
//! QEMU's are, because `qmp-shell -H` reads them for completion: one command a line, its name first.
//!
//! Threads: the main loop's. Relies on `line` to take input apart and on `layout` to put results together.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;

use serde::Deserialize;

use super::command::{Call, Command, Coroutine};
use super::error::Error;
use super::fds;
use super::registry::{Entry, Table};
use super::request::{Arguments, Outcome};
use crate::{MainCx, OobContext};

mod layout;
mod line;
#[cfg(test)]
mod tests;

/// The command that runs a line.
pub(super) struct HumanMonitorCommand;

impl Command for HumanMonitorCommand {
    const NAME: &'static str = "human-monitor-command";
    const HELP: &'static str = "run a line of the human monitor";
    type Mode = Coroutine;
    type Args = HumanMonitorArgs;
    type Ret = String;
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct HumanMonitorArgs {
    command_line: String,
    cpu_index: Option<i64>,
}

/// What is to be done for a line.
enum Plan {
    Say(String),
    Call(Call, Arguments),
}

/// Runs a line and returns what there is to read.
pub(super) async fn run(
    cx: &MainCx,
    table: Rc<RefCell<Table>>,
    args: HumanMonitorArgs,
) -> Result<String, Error> {
    if args.cpu_index.is_some_and(|index| index != 0) {
        return Err(Error::wrong_value("cpu-index", "a CPU number"));
    }
    let plan = plan(&table.borrow(), &args.command_line);
    let outcome = match plan {
        Ok(Plan::Say(text)) => Ok(text),
        Ok(Plan::Call(call, arguments)) => {
            call_here(cx, call, arguments).await.map(|result| layout::lay_out(&result))
        }
        Err(error) => Err(error),
    };
    let text = outcome.unwrap_or_else(|error| format!("Error: {error}\n"));
    Ok(text.replace('\n', "\r\n"))
}

/// Calls a command of any mode from a task, and waits for it.
async fn call_here(cx: &MainCx, call: Call, arguments: Arguments) -> Outcome {
    match call {
        Call::Coroutine(call) => call(cx, arguments).await,
        Call::Oob(call) => OobContext::lend(|cx| call(cx, arguments)),
        Call::Blocking(call) => {
            let client = fds::current();
            let call = move |nc: &mut _| fds::on_behalf(client, || call(nc, arguments));
            let outcome = cx.run_in_bh(call).await;
            outcome.unwrap_or_else(|error| Err(Error::without_outcome(error)))
        }
    }
}

fn plan(table: &Table, line: &str) -> Result<Plan, Error> {
    let words = line::split(line)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(match words[..] {
        [] => Plan::Say(String::new()),
        ["help" | "?"] => Plan::Say(help_all(table)),
        ["info"] | ["help" | "?", "info"] => Plan::Say(info_all(table)),
        ["help" | "?", "info", subject] => {
            Plan::Say(find_info(table, subject).map_or_else(
                || unknown(&["info", subject]),
                |(_, entry)| info_line(subject, entry),
            ))
        }
        ["help" | "?", name, ..] => Plan::Say(
            find(table, name).map_or_else(|| unknown(&[name]), |entry| help_line(name, entry)),
        ),
        ["info", subject, ref rest @ ..] => match find_info(table, subject) {
            None => Plan::Say(unknown(&["info", subject])),
            Some((name, entry)) => call(table, &name, entry, rest)?,
        },
        [name, ref rest @ ..] => match find(table, name) {
            None => Plan::Say(unknown(&[name])),
            Some(entry) => call(table, name, entry, rest)?,
        },
    })
}

fn call(table: &Table, name: &str, entry: &Entry, words: &[&str]) -> Result<Plan, Error> {
    let arguments = line::arguments(name, (entry.arguments)().members(), words)?;
    let call = table.call(name).ok_or_else(|| Error::command_not_found(name))?;
    Ok(Plan::Call(call, arguments))
}

/// The monitor itself is not among the commands that it runs.
fn find<'t>(table: &'t Table, name: &str) -> Option<&'t Entry> {
    table.entry(name).filter(|_| name != HumanMonitorCommand::NAME)
}

/// Finds the command that `info` stands for.
fn find_info<'t>(table: &'t Table, subject: &str) -> Option<(String, &'t Entry)> {
    let names = [format!("query-{subject}"), format!("x-query-{subject}")];
    names.into_iter().find_map(|name| table.entry(&name).map(|entry| (name, entry)))
}

fn unknown(words: &[&str]) -> String {
    format!("unknown command: '{}'\n", words.join(" "))
}

fn help_all(table: &Table) -> String {
    let mut text = String::from(
        "help|? [cmd] -- show the help\n\
         info [subcommand] -- show various information about the system state\n",
    );
    let commands = table.entries().filter(|&(name, _)| find(table, name).is_some());
    text.extend(commands.map(|(name, entry)| help_line(name, entry)));
    text
}

fn info_all(table: &Table) -> String {
    let subject =
        |name: &'static str| name.strip_prefix("query-").or_else(|| name.strip_prefix("x-query-"));
    let lines = table.entries().filter_map(|(name, entry)| Some(info_line(subject(name)?, entry)));
    lines.collect()
}

fn info_line(subject: &str, entry: &Entry) -> String {
    format!("info {}", help_line(subject, entry))
}

/// A command with its parameters, the optional ones in brackets, and what it does.
fn help_line(name: &str, entry: &Entry) -> String {
    let mut line = name.to_owned();
    for member in (entry.arguments)().members() {
        let (open, close) = if member.optional { ("[", "]") } else { ("", "") };
        write!(line, " {open}{}{close}", member.name).expect("writing to a String cannot fail");
    }
    if !entry.help.is_empty() {
        line.extend([" -- ", entry.help]);
    }
    line.push('\n');
    line
}
