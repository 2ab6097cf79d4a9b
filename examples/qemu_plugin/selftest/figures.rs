//! Figures, ours beside C's, in one QEMU process: `x-selftest-figures`, which `cargo bench --bench qemu` asks for.
//!
//! Everybody has one turn in each round, so that what disturbs the machine disturbs all; a figure is the median over
//! the rounds, and a ratio the median of the rounds' ratios. Each contender checks that it did what it says.
//!
//! Threads: the main loop's, and an iothread for the hops.

mod hops;
mod memory;
mod yields;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use executor::MainCx;
use executor::qmp::{Command, Coroutine, Error, Registry};
use serde::{Deserialize, Serialize};

pub(super) fn register(registry: &mut Registry) {
    registry.command::<Figures, _>(figures);
}

struct Figures;

impl Command for Figures {
    const NAME: &'static str = "x-selftest-figures";
    type Mode = Coroutine;
    type Args = FiguresArgs;
    type Ret = Vec<Row>;
}

#[derive(Deserialize)]
struct FiguresArgs {
    what: What,
    /// For the hops.
    iothread: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    /// Once in a process: memory that was used before is used again.
    Memory,
    Yields,
    Hops,
}

/// One comparison.
#[derive(Deserialize, Serialize)]
struct Row {
    ours: String,
    theirs: String,
    /// Nanoseconds, or bytes.
    our_figure: f64,
    their_figure: f64,
    ratio: f64,
}

async fn figures(cx: &MainCx, args: FiguresArgs) -> Result<Vec<Row>, Error> {
    match args.what {
        What::Memory => memory::compare(cx).await,
        What::Yields => yields::compare(cx).await,
        What::Hops => hops::compare(cx, args.iothread.as_deref().unwrap_or("io0")).await,
    }
}

const ROUNDS: usize = 15;

/// Somebody who does something many times, and says how long one of them takes, in nanoseconds.
struct Contender<'a> {
    name: &'static str,
    turn: Box<dyn Fn() -> Turn<'a> + 'a>,
    /// Of each round.
    figures: Vec<f64>,
}

type Turn<'a> = Pin<Box<dyn Future<Output = f64> + 'a>>;

impl<'a> Contender<'a> {
    fn new<F: Future<Output = f64> + 'a>(name: &'static str, turn: impl Fn() -> F + 'a) -> Self {
        let turn = Box::new(move || -> Turn<'a> { Box::pin(turn()) });
        Self { name, turn, figures: Vec::new() }
    }

    /// The row of this one, ours, and another.
    fn against(&self, theirs: &Contender<'_>) -> Row {
        let ratios = self.figures.iter().zip(&theirs.figures).map(|(ours, theirs)| ours / theirs);
        Row {
            ours: self.name.into(),
            theirs: theirs.name.into(),
            our_figure: median(self.figures.clone()),
            their_figure: median(theirs.figures.clone()),
            ratio: median(ratios.collect()),
        }
    }
}

/// Plays the rounds, after one that does not count.
async fn play(contenders: &mut [Contender<'_>]) {
    for round in 0..=ROUNDS {
        for turn in 0..contenders.len() {
            // Who comes first changes.
            let contender = &mut contenders[(round + turn) % contenders.len()];
            let figure = (contender.turn)().await;
            if round > 0 {
                contender.figures.push(figure);
            }
        }
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn per_operation(time: Duration, operations: u32) -> f64 {
    time.as_secs_f64() * 1e9 / f64::from(operations)
}
