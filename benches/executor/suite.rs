//! How the rows of the table are measured.
//!
//! A row is one criterion group; each peer that can do the workload is one function of the group, and so is the
//! floor. Every sample makes a fresh executor, and the workload takes the time itself, of its middle part only, so
//! neither the executor's making nor its end is in the figures.
//!
//! Criterion runs the functions of a group one after the other, so what disturbs the machine for longer than a
//! second hits some of a row and not the others: repeat a run before believing a small difference.

use std::future::Future;
use std::time::{Duration, SystemTime};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};

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
}

impl Suite {
    /// Reads criterion's options from the command line.
    pub(crate) fn from_args() -> Suite {
        let criterion = Criterion::default()
            .sample_size(15)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_millis(1_200))
            .nresamples(2_000)
            .without_plots()
            .output_directory(&table::results())
            .configure_from_args();
        let given = |option: &str| std::env::args().any(|arg| arg == option);
        let measures = given("--bench") && !OTHER_MODES.into_iter().any(given);
        Suite { criterion, table: Table::default(), started: SystemTime::now(), measures }
    }

    /// A row whose time is per operation. The workload does `ops` operations each of its `n` times.
    pub(crate) fn row(&mut self, name: &'static str, ops: u32) -> RowBench<'_> {
        self.table.push(Row::measured(name, ops));
        let mut group = self.criterion.benchmark_group(name);
        group.sampling_mode(SamplingMode::Flat);
        if ops >= 100_000 {
            group.measurement_time(Duration::from_secs(2));
        }
        RowBench { group }
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
    pub(crate) fn finish(mut self) {
        self.criterion.final_summary();
        if self.measures {
            self.table.read_estimates(self.started);
            println!("\n{}", self.table);
        }
    }
}

/// A row that is being measured.
pub(crate) struct RowBench<'a> {
    group: BenchmarkGroup<'a, WallTime>,
}

impl RowBench<'_> {
    /// Measures one column.
    pub(crate) fn column(
        &mut self,
        column: Column,
        mut routine: impl FnMut(u64) -> Duration,
    ) -> &mut Self {
        self.group.bench_function(column.name(), |b| b.iter_custom(&mut routine));
        self
    }

    /// Measures one peer.
    pub(crate) fn peer<P: Peer>(&mut self, workload: impl Workload) -> &mut Self {
        self.column(P::COLUMN, |n| P::run(move |peer| workload.run(peer, n)))
    }

    /// Measures all peers.
    pub(crate) fn all(&mut self, workload: impl Workload) -> &mut Self {
        self.peer::<Ours>(workload)
            .peer::<Tokio>(workload)
            .peer::<AsyncExecutor>(workload)
            .peer::<Pool>(workload)
    }

    /// Measures the peers that have fds and timers.
    pub(crate) fn reactors(&mut self, workload: impl ReactorWorkload) -> &mut Self {
        self.column(Column::Ours, |n| <Ours>::run(move |peer| workload.run(peer, n)))
            .column(Column::Tokio, |n| Tokio::run(move |peer| workload.run(peer, n)))
    }

    /// Measures the bare job.
    pub(crate) fn floor(&mut self, routine: impl FnMut(u64) -> Duration) -> &mut Self {
        self.column(Column::Floor, routine)
    }
}

/// The median of some latencies, for `n` operations: one that was hit by something else does not count.
pub(crate) fn median_of(mut latencies: Vec<Duration>, n: u64) -> Duration {
    assert_eq!(latencies.len() as u64, n, "each operation was measured");
    latencies.sort_unstable();
    let median = latencies[latencies.len() / 2];
    median * u32::try_from(n).expect("nobody measures that often")
}
