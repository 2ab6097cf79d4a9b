//! How the rows are measured.
//!
//! A row is measured in *rounds*: in each of them everybody has one turn within milliseconds of the others, and who
//! comes first changes. What disturbs the machine for longer hits all of them, so ratios are taken inside a round. A
//! figure is the median over the rounds, each of a fresh executor.
//!
//! A full run has criterion measure each contender as well, one after the other, with warm-up and many more samples;
//! then the figures are criterion's medians, and only the ratios come from the rounds.

use std::time::{Duration, Instant, SystemTime};

use criterion::{Criterion, SamplingMode};

use crate::options::{Measure, Options};
use crate::table::{self, Column, Figures, Row, Table, Unit};

/// All rows.
pub(crate) struct Suite {
    /// None, where only rounds are played.
    criterion: Option<Criterion>,
    options: Options,
    table: Table,
    started: SystemTime,
}

impl Suite {
    pub(crate) fn new(options: Options) -> Suite {
        let criterion = (options.measure != Measure::Rounds).then(new_criterion);
        Suite { criterion, options, table: Table::default(), started: SystemTime::now() }
    }

    /// A row whose time is per operation. The workload does `ops` operations each of its `n` times.
    pub(crate) fn row(&mut self, name: &'static str, ops: u32) -> RowBench<'_> {
        RowBench {
            row: Row::new(name, Unit::Nanoseconds, ops),
            suite: self,
            contenders: Vec::new(),
        }
    }

    /// A row whose figures were found in some other way, in one or more rounds.
    pub(crate) fn push(&mut self, name: &'static str, unit: Unit, rounds: Vec<Figures>) {
        let mut row = Row::new(name, unit, 1);
        rounds.into_iter().for_each(|round| row.push_round(round));
        self.table.push(row);
    }

    /// Whether this run is to give figures of this row, which criterion does not measure.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.options.measure != Measure::Nothing && self.options.wants(name)
    }

    /// How many rounds are played.
    pub(crate) fn rounds(&self) -> usize {
        self.options.rounds
    }

    /// The rows that were measured. Ends criterion's part.
    pub(crate) fn finish(self) -> Table {
        if let Some(criterion) = self.criterion {
            criterion.final_summary();
        }
        self.table
    }
}

fn new_criterion() -> Criterion {
    Criterion::default()
        .sample_size(12)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .nresamples(1_000)
        .without_plots()
        .output_directory(&table::results())
        .configure_from_args()
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

    /// Adds the bare job.
    pub(crate) fn floor(self, routine: impl FnMut(u64) -> Duration + 'static) -> Self {
        self.column(Column::Floor, routine)
    }

    /// Measures the row.
    pub(crate) fn measure(mut self) {
        self.run_criterion();
        self.row.read_medians(self.suite.started);
        let by_criterion = self.suite.criterion.is_some();
        let wanted =
            if by_criterion { self.row.is_known() } else { self.suite.wants(self.row.name()) };
        if !wanted {
            return;
        }
        let calibrate = |contender: &mut Contender| contender.calibrate();
        let turns: Vec<u64> = self.contenders.iter_mut().map(calibrate).collect();
        self.play_rounds(&turns);
    }

    /// Measures a row whose workload is always done once, since it takes its time.
    pub(crate) fn measure_whole(self) {
        if self.suite.wants(self.row.name()) {
            let turns = vec![1; self.contenders.len()];
            self.play_rounds(&turns);
        }
    }

    fn run_criterion(&mut self) {
        let Some(criterion) = &mut self.suite.criterion else { return };
        let mut group = criterion.benchmark_group(self.row.name());
        group.sampling_mode(SamplingMode::Flat);
        for Contender { column, routine } in &mut self.contenders {
            group.bench_function(column.name(), |b| b.iter_custom(&mut *routine));
        }
        group.finish();
    }

    fn play_rounds(mut self, turns: &[u64]) {
        eprintln!("{}", self.row.name());
        for round in 0..self.suite.rounds() {
            let mut times = [None; Column::COUNT];
            for turn in 0..turns.len() {
                let index = (round + turn) % turns.len();
                let (contender, n) = (&mut self.contenders[index], turns[index]);
                let time = (contender.routine)(n).as_nanos() as f64;
                times[contender.column as usize] =
                    Some(time / n as f64 / f64::from(self.row.ops()));
            }
            self.row.push_round(times);
        }
        self.suite.table.push(self.row);
    }
}

/// How long a turn in a round takes, at least, with the making of the executor.
const TURN: Duration = Duration::from_millis(8);

/// How much of a turn is measured, at least.
const MEASURED: Duration = Duration::from_millis(1);

impl Contender {
    /// How many times the workload must be done to last a turn, whatever else the machine does.
    fn calibrate(&mut self) -> u64 {
        let mut n = 1;
        // Twice: what was long enough only because of a hiccup is not.
        while let Some(factor) = self.lacks(n).or_else(|| self.lacks(n)) {
            n *= factor;
        }
        n
    }

    /// How many times longer it should be, at least.
    fn lacks(&mut self, n: u64) -> Option<u64> {
        let start = Instant::now();
        let measured = (self.routine)(n);
        let elapsed = start.elapsed();
        if elapsed >= TURN && measured >= MEASURED {
            return None;
        }
        let far = elapsed < TURN / 10 || measured < MEASURED / 10;
        Some(if far { 8 } else { 2 })
    }
}

/// The median of some latencies, for `n` operations: one that was hit by something else does not count.
pub(crate) fn median_of(mut latencies: Vec<Duration>, n: u64) -> Duration {
    assert_eq!(latencies.len() as u64, n, "each operation was measured");
    latencies.sort_unstable();
    let median = latencies[latencies.len() / 2];
    median * u32::try_from(n).expect("nobody measures that often")
}
