//! How the rows of the table are measured.
//!
//! A row is one criterion group; each peer that can do the workload is one function of the group, and so is the
//! floor. Every sample makes a fresh executor, and the workload takes the time itself, of its middle part only, so
//! neither the executor's making nor its end is in the figures.
//!
//! Criterion runs the functions of a group one after the other, so what disturbs the machine for longer than a
//! second hits some of a row and not the others. The ratios are therefore measured apart, after criterion is through
//! with the row: in short rounds, in each of which everybody has one turn within milliseconds of the others.

use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use criterion::{Criterion, SamplingMode};

use crate::peers::{AsyncExecutor, Ours, Peer, Pool, Reactor, Tokio};
use crate::table::{self, Column, Row, Table, Unit};

/// Work that needs no more than tasks.
pub(crate) trait Workload: Copy + 'static {
    /// Does the work `n` times and returns how long that took.
    fn run<P: Peer>(self, peer: P, n: u64) -> impl Future<Output = Duration> + 'static;
}

/// Work that needs fds and timers.
pub(crate) trait ReactorWorkload: Copy + 'static {
    /// Does the work `n` times and returns how long that took.
    fn run<R: Reactor>(self, peer: R, n: u64) -> impl Future<Output = Duration> + 'static;
}

/// Options of criterion's under which nothing is measured. Without `--bench`, too, it only tests.
const OTHER_MODES: [&str; 3] = ["--list", "--test", "--profile-time"];

/// All rows.
pub(crate) struct Suite {
    criterion: Criterion,
    table: Table,
    started: SystemTime,
    measures: bool,
    /// Rounds that are played for a ratio.
    rounds: usize,
}

impl Suite {
    /// Reads criterion's options from the command line.
    pub(crate) fn from_args() -> Suite {
        let given = |option: &str| std::env::args().any(|arg| arg == option);
        let (millis, rounds) = if given("--quick") { (400, 3) } else { (1_200, 9) };
        let criterion = Criterion::default()
            .sample_size(15)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_millis(millis))
            .nresamples(2_000)
            .without_plots()
            .output_directory(&table::results())
            .configure_from_args();
        let measures = given("--bench") && !OTHER_MODES.into_iter().any(given);
        Suite { criterion, table: Table::default(), started: SystemTime::now(), measures, rounds }
    }

    /// A row whose time is per operation. The workload does `ops` operations each of its `n` times.
    pub(crate) fn row(&mut self, name: &'static str, ops: u32) -> RowBench<'_> {
        RowBench { suite: self, row: Row::measured(name, ops), contenders: Vec::new() }
    }

    /// A row of figures that are not times.
    pub(crate) fn count(&mut self, name: &'static str, unit: Unit, figures: &[(Column, f64)]) {
        self.table.push(Row::counted(name, unit, figures));
    }

    /// Whether this run is to give figures.
    pub(crate) fn measures(&self) -> bool {
        self.measures
    }

    /// Prints the table.
    pub(crate) fn finish(self) {
        self.criterion.final_summary();
        if self.measures {
            println!("\n{}", self.table);
        }
    }
}

/// Somebody who does a workload `n` times and says how long that took.
type Routine = Box<dyn FnMut(u64) -> Duration>;

/// A row that is to be measured.
#[must_use = "nothing is measured before `measure`"]
pub(crate) struct RowBench<'a> {
    suite: &'a mut Suite,
    row: Row,
    contenders: Vec<Contender>,
}

struct Contender {
    column: Column,
    routine: Routine,
}

impl RowBench<'_> {
    /// Adds one column.
    pub(crate) fn column(
        mut self,
        column: Column,
        routine: impl FnMut(u64) -> Duration + 'static,
    ) -> Self {
        self.contenders.push(Contender { column, routine: Box::new(routine) });
        self
    }

    /// Adds one peer.
    pub(crate) fn peer<P: Peer>(self, workload: impl Workload) -> Self {
        self.column(P::COLUMN, move |n| P::run(move |peer| workload.run(peer, n)))
    }

    /// Adds all peers.
    pub(crate) fn all(self, workload: impl Workload) -> Self {
        self.peer::<Ours>(workload)
            .peer::<Tokio>(workload)
            .peer::<AsyncExecutor>(workload)
            .peer::<Pool>(workload)
    }

    /// Adds the peers that have fds and timers.
    pub(crate) fn reactors(self, workload: impl ReactorWorkload) -> Self {
        self.column(Column::Ours, move |n| <Ours>::run(move |peer| workload.run(peer, n)))
            .column(Column::Tokio, move |n| Tokio::run(move |peer| workload.run(peer, n)))
    }

    /// Adds the bare job.
    pub(crate) fn floor(self, routine: impl FnMut(u64) -> Duration + 'static) -> Self {
        self.column(Column::Floor, routine)
    }

    /// Measures the row.
    pub(crate) fn measure(mut self) {
        self.run_criterion();
        if self.suite.measures {
            self.row.read_medians(self.suite.started);
            self.compare();
            self.suite.table.push(self.row);
        }
    }

    fn run_criterion(&mut self) {
        let mut group = self.suite.criterion.benchmark_group(self.row.name());
        group.sampling_mode(SamplingMode::Flat);
        if self.row.ops() >= 100_000 {
            group.measurement_time(Duration::from_secs(2));
        }
        for Contender { column, routine } in &mut self.contenders {
            group.bench_function(column.name(), |b| b.iter_custom(&mut *routine));
        }
        group.finish();
    }

    /// Plays rounds of those whom criterion has measured, and of whom there is one to compare with.
    fn compare(&mut self) {
        let row = &mut self.row;
        self.contenders.retain(|c| c.column != Column::Floor && row.figure(c.column).is_some());
        if row.figure(Column::Ours).is_none() || self.contenders.len() < 2 {
            return;
        }
        let calibrate = |contender: &mut Contender| {
            let operation = row.figure(contender.column).expect("the others were left out");
            contender.calibrate((MEASURED_NS / operation / f64::from(row.ops())).ceil() as u64)
        };
        let turns: Vec<u64> = self.contenders.iter_mut().map(calibrate).collect();
        for round in 0..self.suite.rounds {
            let mut times = [None; Column::COUNT];
            for turn in 0..turns.len() {
                // Who comes first changes.
                let index = (round + turn) % turns.len();
                let (contender, n) = (&mut self.contenders[index], turns[index]);
                let time = (contender.routine)(n).as_secs_f64();
                times[contender.column as usize] = Some(time / n as f64);
            }
            row.push_round(times);
        }
    }
}

/// How long a turn in a round takes, at least.
const TURN: Duration = Duration::from_millis(10);

/// How much of a turn is measured, at least, in nanoseconds.
const MEASURED_NS: f64 = 1e6;

impl Contender {
    /// How many times the workload must be done to last a turn, whatever else the machine does.
    fn calibrate(&mut self, at_least: u64) -> u64 {
        let mut n = at_least;
        while (0..3).any(|_| self.time(n) < TURN) {
            n *= 2;
        }
        n
    }

    /// How long `n` times take, with the making of the executor.
    fn time(&mut self, n: u64) -> Duration {
        let start = Instant::now();
        (self.routine)(n);
        start.elapsed()
    }
}

/// The median of some latencies, for `n` operations: one that was hit by something else does not count.
pub(crate) fn median_of(mut latencies: Vec<Duration>, n: u64) -> Duration {
    assert_eq!(latencies.len() as u64, n, "each operation was measured");
    latencies.sort_unstable();
    let median = latencies[latencies.len() / 2];
    median * u32::try_from(n).expect("nobody measures that often")
}
