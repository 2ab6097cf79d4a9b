//! The table of medians at the end of a run.
//!
//! Times are read back from the estimates that criterion writes; what an earlier run left is not taken. The last
//! column is our time by the best peer's, the median over rounds, in each of which both had their turn; so it
//! need not be the quotient of the two medians. Below 1, we are ahead. A floor is no peer.

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
    /// The bare job.
    Floor,
}

impl Column {
    pub(crate) const COUNT: usize = 5;
    const ALL: [Column; Column::COUNT] =
        [Column::Ours, Column::Tokio, Column::AsyncExecutor, Column::Pool, Column::Floor];
    const PEERS: [Column; 3] = [Column::Tokio, Column::AsyncExecutor, Column::Pool];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Column::Ours => "ours",
            Column::Tokio => "tokio",
            Column::AsyncExecutor => "async-executor",
            Column::Pool => "LocalPool",
            Column::Floor => "floor",
        }
    }
}

/// What a figure counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    Nanoseconds,
    Bytes,
    Allocations,
}

/// One figure of each, where there is one.
type Figures = [Option<f64>; Column::COUNT];

/// A workload and the figures of those who did it.
pub(crate) struct Row {
    name: &'static str,
    unit: Unit,
    /// Operations in one of criterion's iterations.
    ops: u32,
    figures: Figures,
    /// What is compared for the ratio: rounds, or the figures themselves if they do not vary.
    rounds: Vec<Figures>,
}

impl Row {
    /// A row that criterion measures.
    pub(crate) fn measured(name: &'static str, ops: u32) -> Row {
        let figures = [None; Column::COUNT];
        Row { name, unit: Unit::Nanoseconds, ops, figures, rounds: Vec::new() }
    }

    /// A row whose figures are known.
    pub(crate) fn counted(name: &'static str, unit: Unit, known: &[(Column, f64)]) -> Row {
        let mut figures = [None; Column::COUNT];
        for (column, figure) in known {
            figures[*column as usize] = Some(*figure);
        }
        Row { name, unit, ops: 1, figures, rounds: vec![figures] }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn ops(&self) -> u32 {
        self.ops
    }

    pub(crate) fn figure(&self, column: Column) -> Option<f64> {
        self.figures[column as usize]
    }

    /// Takes the medians that were written since `started`.
    pub(crate) fn read_medians(&mut self, started: SystemTime) {
        for column in Column::ALL {
            let path = results().join(self.name).join(column.name()).join("new/estimates.json");
            let median = median(&path, started);
            self.figures[column as usize] = median.map(|ns| ns / f64::from(self.ops));
        }
    }

    pub(crate) fn push_round(&mut self, times: Figures) {
        self.rounds.push(times);
    }

    /// Our time by the best peer's.
    fn ratio(&self) -> Option<f64> {
        Column::PEERS.iter().filter_map(|peer| self.ratio_to(*peer)).reduce(f64::max)
    }

    fn ratio_to(&self, peer: Column) -> Option<f64> {
        let in_round =
            |round: &Figures| Some(round[Column::Ours as usize]? / round[peer as usize]?);
        let mut ratios: Vec<f64> = self.rounds.iter().filter_map(in_round).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied()
    }

    fn format(&self, figure: Option<f64>) -> String {
        let Some(figure) = figure else { return "–".into() };
        match self.unit {
            Unit::Nanoseconds if figure >= 1e6 => format!("{:.2} ms", figure / 1e6),
            Unit::Nanoseconds if figure >= 1e4 => format!("{:.1} us", figure / 1e3),
            Unit::Nanoseconds if figure >= 1e3 => format!("{:.2} us", figure / 1e3),
            Unit::Nanoseconds => format!("{figure:.1} ns"),
            Unit::Bytes => format!("{figure:.0} B"),
            Unit::Allocations => format!("{figure:.2}"),
        }
    }
}

/// All rows.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds a row, unless it is empty.
    pub(crate) fn push(&mut self, row: Row) {
        if row.figures.iter().any(Option::is_some) {
            self.rows.push(row);
        }
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
        writeln!(f, "|---|---:|---:|---:|---:|---:|---:|")?;
        for row in &self.rows {
            let figures = Column::ALL.map(|column| row.format(row.figure(column))).join(" | ");
            let ratio = row.ratio().map_or_else(|| "–".into(), |ratio| format!("{ratio:.2}"));
            writeln!(f, "| {} | {figures} | {ratio} |", row.name)?;
        }
        Ok(())
    }
}
