//! Rows, their figures, and the table of medians at the end of a run.
//!
//! The last column is our time by the best peer's, the median over rounds, in each of which both had their turn;
//! so it need not be the quotient of the two medians. Below 1, we are ahead. The best peer is the one whose median over
//! the rounds is lowest. A floor is no peer.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Who was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// This project's executor.
    Ours,
    /// tokio's `LocalSet` on a current-thread runtime.
    Tokio,
    /// async-executor's `LocalExecutor`.
    AsyncExecutor,
    /// futures' `LocalPool`.
    Pool,
    /// embassy's raw executor.
    Embassy,
    /// monoio on epoll.
    Monoio,
    /// local-runtime's `Executor`.
    LocalRuntime,
    /// The bare job.
    Floor,
}

impl Column {
    pub(crate) const COUNT: usize = 8;
    pub(crate) const ALL: [Column; Column::COUNT] = [
        Column::Ours,
        Column::Tokio,
        Column::AsyncExecutor,
        Column::Pool,
        Column::Embassy,
        Column::Monoio,
        Column::LocalRuntime,
        Column::Floor,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Column::Ours => "ours",
            Column::Tokio => "tokio",
            Column::AsyncExecutor => "async-executor",
            Column::Pool => "LocalPool",
            Column::Embassy => "embassy",
            Column::Monoio => "monoio",
            Column::LocalRuntime => "local-runtime",
            Column::Floor => "floor",
        }
    }

    fn is_peer(self) -> bool {
        self != Column::Ours && self != Column::Floor
    }
}

/// What a figure counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    Nanoseconds,
    Bytes,
    Allocations,
}

impl Unit {
    pub(crate) fn format(self, figure: f64) -> String {
        match self {
            Unit::Nanoseconds if figure >= 1e6 => format!("{:.2} ms", figure / 1e6),
            Unit::Nanoseconds if figure >= 1e4 => format!("{:.1} us", figure / 1e3),
            Unit::Nanoseconds if figure >= 1e3 => format!("{:.2} us", figure / 1e3),
            Unit::Nanoseconds => format!("{figure:.1} ns"),
            Unit::Bytes => format!("{figure:.0} B"),
            Unit::Allocations => format!("{figure:.2}"),
        }
    }
}

/// One figure of each, where there is one.
pub(crate) type Figures = [Option<f64>; Column::COUNT];

/// Our figure by a peer's, over the rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratio {
    pub(crate) peer: Column,
    pub(crate) median: f64,
    pub(crate) lower_quartile: f64,
    pub(crate) upper_quartile: f64,
}

/// A workload and the figures of those who did it.
pub(crate) struct Row {
    name: &'static str,
    unit: Unit,
    /// Operations in one time that the workload is done.
    ops: u32,
    /// Criterion's medians, where it has measured.
    medians: Figures,
    rounds: Vec<Figures>,
}

impl Row {
    pub(crate) fn new(name: &'static str, unit: Unit, ops: u32) -> Row {
        Row { name, unit, ops, medians: [None; Column::COUNT], rounds: Vec::new() }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn unit(&self) -> Unit {
        self.unit
    }

    pub(crate) fn ops(&self) -> u32 {
        self.ops
    }

    /// Takes the medians that criterion has written since `started`.
    pub(crate) fn read_medians(&mut self, started: SystemTime) {
        for column in Column::ALL {
            let path = results().join(self.name).join(column.name()).join("new/estimates.json");
            let median = median(&path, started);
            self.medians[column as usize] = median.map(|ns| ns / f64::from(self.ops));
        }
    }

    pub(crate) fn push_round(&mut self, figures: Figures) {
        self.rounds.push(figures);
    }

    /// Whether there is any figure.
    pub(crate) fn is_known(&self) -> bool {
        Column::ALL.iter().any(|column| self.figure(*column).is_some())
    }

    /// The median of somebody's figures.
    pub(crate) fn figure(&self, column: Column) -> Option<f64> {
        self.medians[column as usize].or_else(|| self.median_of_rounds(column))
    }

    fn median_of_rounds(&self, column: Column) -> Option<f64> {
        let figures = self.rounds.iter().filter_map(|round| round[column as usize]);
        quantile(&sorted(figures), 0.5)
    }

    fn best_peer(&self) -> Option<Column> {
        let peers = Column::ALL.into_iter().filter(|column| column.is_peer());
        let known = peers.filter_map(|peer| Some((peer, self.median_of_rounds(peer)?)));
        known.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(peer, _)| peer)
    }

    /// Our figure by the best peer's.
    pub(crate) fn ratio(&self) -> Option<Ratio> {
        let peer = self.best_peer()?;
        let in_round =
            |round: &Figures| Some(round[Column::Ours as usize]? / round[peer as usize]?);
        let ratios = sorted(self.rounds.iter().filter_map(in_round));
        Some(Ratio {
            peer,
            median: quantile(&ratios, 0.5)?,
            lower_quartile: quantile(&ratios, 0.25)?,
            upper_quartile: quantile(&ratios, 0.75)?,
        })
    }
}

fn sorted(figures: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures
}

/// The value below which that share of the others lies.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[(last as f64 * share).round() as usize])
}

/// All rows.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub(crate) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }
}

/// Where criterion puts its results.
pub(crate) fn results() -> PathBuf {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    temporary.parent().expect("it lies in the target directory").join("criterion")
}

/// The median in a file of criterion's, in nanoseconds, if the file is new.
fn median(estimates: &Path, started: SystemTime) -> Option<f64> {
    let written = fs::metadata(estimates).and_then(|metadata| metadata.modified()).ok()?;
    if written < started {
        return None;
    }
    let text = fs::read_to_string(estimates).expect("criterion has written the file");
    let json: serde_json::Value = serde_json::from_str(&text).expect("criterion writes JSON");
    let median = json["median"]["point_estimate"].as_f64();
    Some(median.expect("criterion estimates the median"))
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Column::ALL.map(Column::name).join(" | ");
        writeln!(f, "| workload | {names} | ours / best peer |")?;
        writeln!(f, "|---|{}---:|", "---:|".repeat(Column::COUNT))?;
        for row in &self.rows {
            let format = |column| row.figure(column).map_or("–".into(), |f| row.unit.format(f));
            let figures = Column::ALL.map(format).join(" | ");
            let ratio = row.ratio().map_or_else(|| "–".into(), |r| format!("{:.2}", r.median));
            writeln!(f, "| {} | {figures} | {ratio} |", row.name)?;
        }
        Ok(())
    }
}
