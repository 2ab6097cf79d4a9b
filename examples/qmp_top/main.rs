//! `top` for the tasks of a QMP server: who is there, what each costs, who waits for what.
//!
//! Works with every server that has the commands of `examples/commands/tasks.rs`, standalone or inside QEMU:
//!
//! ```text
//! cargo run --release --example qmp_top -- /tmp/qmp.sock
//! ```
//!
//! It asks out of band, so that it shows what a main loop does that is stuck. `--once` prints one look and ends, for
//! scripts.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind};

mod client;
mod picture;
mod view;

use client::Client;
use picture::Picture;
use view::View;

/// Shows the tasks of a QMP server.
#[derive(Debug, Parser)]
#[command(
    after_help = "Keys: up and down select, c cancels the selected task, s sorts otherwise, q quits."
)]
struct Options {
    /// The server's UNIX socket.
    socket: PathBuf,
    /// Print one look and end.
    #[arg(long)]
    once: bool,
    /// Between two looks.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1000)]
    interval: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let shown = Client::connect(&options.socket).and_then(|client| match options.once {
        true => print(client),
        false => show(client, Duration::from_millis(options.interval.max(1))),
    });
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("qmp_top: {}: {error}", options.socket.display());
            ExitCode::FAILURE
        }
    }
}

fn print(mut client: Client) -> std::io::Result<()> {
    let picture = Picture::take(&mut client)?;
    print!("{}", view::plain(&picture));
    Ok(())
}

fn show(client: Client, interval: Duration) -> std::io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let ended = run(&mut terminal, client, interval);
    ratatui::restore();
    ended
}

fn run(
    terminal: &mut ratatui::DefaultTerminal,
    mut client: Client,
    interval: Duration,
) -> std::io::Result<()> {
    let mut view = View::new(Picture::take(&mut client)?);
    let mut next = Instant::now() + interval;
    loop {
        terminal.draw(|frame| view.draw(frame))?;
        if event::poll(next.saturating_duration_since(Instant::now()))? {
            match pressed(&event::read()?) {
                Some(KeyCode::Char('q') | KeyCode::Esc) => return Ok(()),
                Some(KeyCode::Char('c')) => cancel(&mut view, &mut client)?,
                Some(key) => view.press(key),
                None => {}
            }
        } else {
            view.update(Picture::take(&mut client)?);
            next = Instant::now() + interval;
        }
    }
}

fn pressed(event: &Event) -> Option<KeyCode> {
    match event {
        Event::Key(key) if key.kind == KeyEventKind::Press => Some(key.code),
        _ => None,
    }
}

fn cancel(view: &mut View, client: &mut Client) -> std::io::Result<()> {
    if let Some(id) = view.selected() {
        let said = match client.call("x-task-cancel", serde_json::json!({"id": id}))? {
            Ok(_) => format!("task {id} is cancelled"),
            Err(refusal) => refusal,
        };
        view.say(said);
    }
    Ok(())
}
