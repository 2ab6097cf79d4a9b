//! A QMP server on the executor, and a demonstration of what it is good for.
//!
//! With `--qmp`, it serves the commands of `examples/commands` until a client says `quit` or somebody sends
//! SIGINT or SIGTERM; SIGUSR1 prints the tasks. At the end clients get what they have coming, commands that still run are cancelled,
//! socket files are removed, and the exit status is 0:
//!
//! ```text
//! cargo run --release --example qmp_server -- --qmp unix:/tmp/qmp.sock --iothread io0
//! ```
//!
//! Without, it shows in a few seconds that one client's long command holds up no other client; see
//! `demo.rs`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use executor::observe::{ChromeTrace, observe};
use executor::qmp::Address;
use executor::{MainCx, block_on, run_main};

#[path = "../commands/mod.rs"]
mod commands;
mod demo;
mod service;
mod signals;

use commands::observers;
use service::Service;
use signals::Signals;

/// A QMP server whose commands are async Rust. Without --qmp, it demonstrates itself.
#[derive(Debug, Parser)]
struct Options {
    /// Take clients at unix:PATH or tcp:HOST:PORT, or be at the service of stdio. Repeatable.
    #[arg(long, value_name = "ADDRESS")]
    qmp: Vec<Address>,
    /// Be the server of the client that listens at ADDRESS; also `-qmp ADDRESS`, as QEMU has it. Repeatable.
    #[arg(long, value_name = "ADDRESS")]
    qmp_connect: Vec<Address>,
    /// Begin with an iothread of this id. Repeatable.
    #[arg(long, value_name = "ID")]
    iothread: Vec<String>,
    /// What query-name says.
    #[arg(long)]
    name: Option<String>,
    /// How long a command may take, at most. Without end unless said otherwise.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    command_timeout: Option<Duration>,
    /// Report on stderr what blocks the main loop for longer, with its stack, while it does; 0 for never.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1000)]
    watchdog: u64,
    /// Write what tasks do into a file for <https://ui.perfetto.dev>.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Let clients have files read below this folder alone, instead of all.
    #[arg(long, value_name = "FOLDER")]
    files: Option<PathBuf>,
    /// Lay out what is sent for people. Few programs can read that.
    #[arg(long)]
    pretty: bool,
}

impl Options {
    /// There is nobody to serve.
    fn is_demo(&self) -> bool {
        self.qmp.is_empty() && self.qmp_connect.is_empty()
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number is expected")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    // What qmp-shell-wrap adds to the command line of a QEMU.
    let option = |text: OsString| if text == "-qmp" { "--qmp-connect".into() } else { text };
    let options = Options::parse_from(std::env::args_os().map(option));
    // Before there is any other thread, since threads inherit which signals are blocked.
    let ended = Signals::block().and_then(|()| {
        run_main(|nc| {
            block_on(nc, async |cx: &MainCx| match options.is_demo() {
                true => demo::run(cx).await,
                false => serve(cx, &options).await,
            })
        })
    });
    ended.unwrap_or_else(|error| {
        eprintln!("qmp_server: {error}");
        ExitCode::FAILURE
    })
}

async fn serve(cx: &MainCx, options: &Options) -> std::io::Result<ExitCode> {
    let signals = Signals::new()?;
    let trace = look_on(options)?;
    let service = Service::start(cx, options, |_| ()).await?;
    for address in service.addresses() {
        eprintln!("qmp_server: listening at {address}");
    }
    service.wait_for_the_end(cx, &signals).await;
    service.end(cx).await;
    trace.map_or(Ok(()), ChromeTrace::flush)?;
    Ok(ExitCode::SUCCESS)
}

/// Starts what shows the inside of the executors. Returns the trace, to be flushed at the end.
fn look_on(options: &Options) -> std::io::Result<Option<&'static ChromeTrace>> {
    observers::keep_accounts();
    let limit = Some(Duration::from_millis(options.watchdog)).filter(|limit| !limit.is_zero());
    observers::watch(limit)?;
    signals::print_on_request(commands::tasks::table)?;
    let Some(path) = &options.trace else { return Ok(None) };
    let failed = |error| std::io::Error::other(format!("{}: {error}", path.display()));
    let trace: &ChromeTrace = Box::leak(Box::new(ChromeTrace::create(path).map_err(failed)?));
    observe(trace);
    Ok(Some(trace))
}
