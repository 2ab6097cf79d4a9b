//! From samples to figures.
//!
//! Everybody does something every 10 ms, and waits for its end. Who is held up for 3 seconds feels that once; if only
//! what was begun counted, those seconds would be one sample beside hundreds of good ones. So each moment at which
//! something was due counts: with the time from then until what was under way had ended.
//!
//! Threads: main; pure functions.

use serde::Serialize;

use crate::felt::{Lists, Milestone, PERIOD, Sample, Who};

/// How long something took, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) count: usize,
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// What was felt in a time.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    /// In the order of `Who::ALL`.
    pub(crate) latencies: Vec<(Who, Latency)>,
    /// Steps of the guest's work per second.
    pub(crate) work: f64,
}

impl Figures {
    /// Of what was due from one time to another.
    pub(crate) fn between(felt: &Lists, from: f64, to: f64) -> Self {
        let latency = |who| {
            let due = due(&felt.samples, who).into_iter();
            let times = due.filter(|(at, _)| (from..to).contains(at)).map(|(_, took)| took * 1e6);
            (who, Latency::of(times.collect()))
        };
        let latencies = Who::ALL.into_iter().map(latency).collect();
        Self { latencies, work: rate(&felt.milestones, from, to) }
    }

    /// The median of each figure.
    pub(crate) fn median_of(all: &[Self]) -> Self {
        let latency = |index: usize| {
            let (who, _) = all[0].latencies[index];
            let theirs = |part: fn(&Latency) -> f64| {
                median(all.iter().map(|figures| part(&figures.latencies[index].1)).collect())
            };
            let count = theirs(|latency| latency.count as f64) as usize;
            let (median, p99) = (theirs(|latency| latency.median), theirs(|latency| latency.p99));
            (who, Latency { count, median, p99, max: theirs(|latency| latency.max) })
        };
        let work = median(all.iter().map(|figures| figures.work).collect());
        Self { latencies: (0..Who::ALL.len()).map(latency).collect(), work }
    }

    pub(crate) fn of(&self, who: Who) -> Latency {
        self.latencies[who as usize].1
    }
}

impl Latency {
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let index = ((times.len() as f64 * part).ceil() as usize).max(1) - 1;
            times.get(index).copied().unwrap_or(f64::NAN)
        };
        Self { count: times.len(), median: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

/// For each moment at which somebody was to do something: when that was, and how long it took until
/// it was done.
pub(crate) fn due(samples: &[Sample], who: Who) -> Vec<(f64, f64)> {
    let mut due = Vec::new();
    for sample in samples.iter().filter(|sample| sample.who == who) {
        let missed = (sample.took / PERIOD.as_secs_f64()) as u32;
        for period in 0..=missed {
            let waited = PERIOD.as_secs_f64() * f64::from(period);
            due.push((sample.begun + waited, sample.took - waited));
        }
    }
    due
}

/// How much was done per second.
fn rate(milestones: &[Milestone], from: f64, to: f64) -> f64 {
    (steps_at(milestones, to) - steps_at(milestones, from)) / (to - from)
}

/// How much was done by then, as if progress was even between two milestones.
fn steps_at(milestones: &[Milestone], at: f64) -> f64 {
    let after = milestones.partition_point(|milestone| milestone.at <= at);
    let (Some(next), Some(last)) = (milestones.get(after), milestones.get(after.wrapping_sub(1)))
    else {
        return f64::NAN;
    };
    last.steps + (next.steps - last.steps) * (at - last.at) / (next.at - last.at)
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
