//! The result: all rounds, as JSON, and the medians over rounds, as a table in Markdown.
//!
//! Threads: main; reads the machine's files under `/proc`.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;
use std::thread;

use serde::Serialize;
use serde_json::{Value, json};

use crate::about;
use crate::felt::{PERIOD, Who};
use crate::figures::{Figures, Latency, median};
use crate::kernel::Kernel;
use crate::rounds::{Round, Rounds};
use crate::ways::Way;

/// Everything that there is to say.
pub(crate) struct Report {
    host: Host,
    qemu: String,
    guest: String,
    at_rest: Figures,
    pub(crate) ways: Vec<Summary>,
    rounds: Vec<Round>,
}

/// The machine that QEMU ran on.
#[derive(Serialize)]
struct Host {
    processor: String,
    processors: usize,
    /// As far as it matters: `6.1`.
    kernel: String,
    /// Of the last minute, our own included.
    load: String,
}

/// Medians over the rounds of a way.
pub(crate) struct Summary {
    pub(crate) way: Way,
    /// Bytes per second.
    speed: f64,
    seconds: f64,
    figures: Figures,
    /// How much the guest computed, of what it does at rest.
    work: f64,
    /// Which round is the most usual one.
    typical: usize,
}

impl Report {
    pub(crate) fn of(rounds: Rounds, kernel: &Kernel) -> Self {
        let Rounds { qemu, rounds } = rounds;
        let at_rest: Vec<_> = rounds.iter().map(Round::at_rest).collect();
        Self {
            host: Host::this(),
            qemu,
            guest: kernel.release.clone(),
            at_rest: Figures::median_of(&at_rest),
            ways: Way::ALL.map(|way| Summary::of(way, &rounds)).into(),
            rounds,
        }
    }

    /// The round to show of a way.
    pub(crate) fn typical(&self, summary: &Summary) -> &Round {
        &self.rounds[summary.typical]
    }

    pub(crate) fn qemu(&self) -> &str {
        &self.qemu
    }

    /// The table, with what it is a table of.
    pub(crate) fn markdown(&self) -> String {
        let (host, rounds) = (&self.host, self.rounds.len() / Way::ALL.len());
        let mut text = format!(
            "QEMU {}, TCG, one vCPU, Linux {}; host: {} CPUs, {}, Linux {}, load {}; medians of {rounds} rounds.\n\n",
            self.qemu, self.guest, host.processors, host.processor, host.kernel, host.load
        );
        text += "| while this runs | SHA-256 of | monitor | our server | guest's disk | guest's timer | guest computes |\n";
        text += "|---|---:|---:|---:|---:|---:|---:|\n";
        text += &row("nothing", "–", &self.at_rest, 1.0);
        for way in &self.ways {
            let what = format!("{}, {:.1} s", way.way.name(), way.seconds);
            text += &row(&what, &format!("{:.0} MB/s", way.speed / 1e6), &way.figures, way.work);
        }
        text
    }

    pub(crate) fn write_json(&self, path: &Path) -> io::Result<()> {
        let way = |summary: &Summary| {
            let rounds = self.rounds.iter().filter(|round| round.way == summary.way);
            json!({
                "way": summary.way,
                "command": summary.way.command(),
                "bytes_per_second": summary.speed.round(),
                "seconds": summary.seconds,
                "work": summary.work,
                "latencies_us": latencies(&summary.figures),
                "rounds": rounds.map(details).collect::<Vec<_>>(),
            })
        };
        let report = json!({
            "host": self.host,
            "qemu": self.qemu,
            "guest": self.guest,
            "period_ms": PERIOD.as_millis() as u64,
            "at_rest_us": latencies(&self.at_rest),
            "ways": self.ways.iter().map(way).collect::<Vec<_>>(),
        });
        fs::write(path, format!("{report}\n")).map_err(about(path))
    }
}

fn row(what: &str, speed: &str, figures: &Figures, work: f64) -> String {
    let mut text = format!("| {what} | {speed} |");
    for who in Who::ALL {
        let Latency { median, max, .. } = figures.of(who);
        write!(text, " {}, {} |", time(median), time(max)).expect("a string takes everything");
    }
    format!("{text} {:.0} % |\n", work * 100.0)
}

/// Of microseconds, with two digits that count.
pub(crate) fn time(micros: f64) -> String {
    match micros {
        ..995.0 => format!("{micros:.0} us"),
        ..9_950.0 => format!("{:.1} ms", micros / 1e3),
        ..995_000.0 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.1} s", micros / 1e6),
    }
}

/// In microseconds.
fn latencies(figures: &Figures) -> Value {
    figures.latencies.iter().map(|(who, latency)| (name(*who), json!(latency))).collect()
}

fn name(who: Who) -> String {
    json!(who).as_str().unwrap_or_default().to_owned()
}

/// A round with its samples: when they began, in milliseconds from the command on, and how many microseconds they took.
fn details(round: &Round) -> Value {
    let timeline = |who| {
        let theirs = round.felt.samples.iter().filter(move |sample| sample.who == who);
        let point = |begun: f64, took: f64| [(begun * 1e4).round() / 10.0, (took * 1e6).round()];
        theirs.map(|sample| point(sample.begun - round.begun, sample.took)).collect::<Vec<_>>()
    };
    let timelines = Who::ALL.map(|who| (name(who), json!(timeline(who))));
    let figures = round.meanwhile();
    json!({
        "bytes": round.bytes,
        "seconds": round.took,
        "work": figures.work / round.at_rest().work,
        "latencies_us": latencies(&figures),
        "timeline_ms_us": serde_json::Map::from_iter(timelines),
    })
}

impl Summary {
    fn of(way: Way, rounds: &[Round]) -> Self {
        let theirs: Vec<_> = rounds.iter().enumerate().filter(|(_, r)| r.way == way).collect();
        let figures: Vec<_> = theirs.iter().map(|(_, r)| r.meanwhile()).collect();
        let rest = theirs.iter().map(|(_, round)| round.at_rest().work);
        let parts = figures.iter().zip(rest).map(|(figures, rest)| figures.work / rest);
        let mut by_monitor: Vec<_> = theirs.iter().zip(&figures).collect();
        by_monitor.sort_by(|a, b| {
            let worst = |figures: &Figures| figures.of(Who::Monitor).max;
            worst(a.1).total_cmp(&worst(b.1))
        });
        Self {
            way,
            speed: median(theirs.iter().map(|(_, r)| r.bytes as f64 / r.took).collect()),
            seconds: median(theirs.iter().map(|(_, round)| round.took).collect()),
            work: median(parts.collect()),
            typical: by_monitor[by_monitor.len() / 2].0.0,
            figures: Figures::median_of(&figures),
        }
    }
}

impl Host {
    fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpus = read("/proc/cpuinfo");
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name"));
        let model = model.and_then(|rest| rest.split_once(':')).map_or("", |(_, name)| name.trim());
        let kernel = read("/proc/sys/kernel/osrelease");
        let load = read("/proc/loadavg");
        Self {
            processor: model.to_owned(),
            processors: thread::available_parallelism().map_or(0, usize::from),
            kernel: kernel.split('.').take(2).collect::<Vec<_>>().join("."),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}
