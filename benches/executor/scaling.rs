//! How costs grow: the same work with one task, fd or timer, with ten, and so on.
//!
//! Draws, into a folder, one plot per kind of work, a line for each who does it: nanoseconds per operation over the
//! number of tasks, fds or timers that are alive. Each point is the fastest of a few rounds: a plot is read by eye, and
//! what else the machine does would be taken for a slope. Whoever takes far too long for a point has the end of its
//! line there.

use std::fs;
use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::fd::WithIdle;
use crate::options::Options;
use crate::peers::{
    AsyncExecutor, Embassy, LocalRuntime, Monoio, Ours, Peer, Pool, Reactor, Timers, Tokio,
};
use crate::plot::{Line, Plot};
use crate::spawn::{SpawnJoin, Yield};
use crate::table::Column;
use crate::timer::CreateAndDrop;
use crate::wake::PingPong;
use crate::workloads::{ReactorWorkload, TimerWorkload, Workload};

/// Numbers of tasks, and of timers.
const MANY: [u32; 7] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000];

/// Who takes longer for a point does not get another one.
const PATIENCE: Duration = Duration::from_secs(2);

/// A point is at least so long.
const POINT: Duration = Duration::from_millis(2);

/// Draws the plots that are asked for.
pub(crate) fn draw(options: &Options) {
    let Some(folder) = &options.plots else { return };
    fs::create_dir_all(folder).expect("the folder can be made");
    let rounds = options.rounds.min(5);
    let draw = |name: &str, make: fn(usize) -> Plot| {
        if options.wants(name) {
            save(&make(rounds), &folder.join(name).with_extension("svg"));
        }
    };
    draw("spawn_join", spawn_join);
    draw("yield", yields);
    draw("idle_tasks", idle_tasks);
    draw("idle_fds", idle_fds);
    draw("timers", timers);
}

fn save(plot: &Plot, path: &Path) {
    print!("{plot}");
    plot.write(path);
    println!("{}\n", path.display());
}

/// Does a workload `n` times with so many tasks, fds or timers. Returns the time of one operation.
type Measure = Box<dyn Fn(u32, u64) -> Duration>;

/// Somebody's line, as it grows.
struct Contender {
    line: Line,
    measure: Measure,
    /// Operations in one time that the workload is done, for so many tasks.
    ops: fn(u32) -> u32,
}

impl Contender {
    fn new(
        column: Column,
        ops: fn(u32) -> u32,
        measure: impl Fn(u32, u64) -> Duration + 'static,
    ) -> Contender {
        Contender { line: Line::new(column), measure: Box::new(measure), ops }
    }

    /// How many times the workload must be done to last a while. None, if that is too long.
    fn calibrate(&self, size: u32) -> Option<u64> {
        let mut n = 1;
        loop {
            let start = Instant::now();
            let measured = (self.measure)(size, n);
            if start.elapsed() > PATIENCE {
                return (n == 1 && start.elapsed() < 4 * PATIENCE).then_some(n);
            }
            if measured > POINT {
                return Some(n);
            }
            n *= 4;
        }
    }

    fn time(&self, size: u32, n: u64) -> f64 {
        let operations = n as f64 * f64::from((self.ops)(size));
        (self.measure)(size, n).as_secs_f64() * 1e9 / operations
    }
}

/// Measures all points: of each size so many rounds, in each of which everybody has a turn.
fn grow(mut contenders: Vec<Contender>, sizes: &[u32], rounds: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for &size in sizes {
        let calibrated = contenders.into_iter().map(|c| (c.calibrate(size), c));
        let (going_on, ended): (Vec<_>, Vec<_>) = calibrated.partition(|(n, _)| n.is_some());
        lines.extend(ended.into_iter().map(|(_, contender)| contender.line));
        let mut fastest = vec![f64::INFINITY; going_on.len()];
        for _ in 0..rounds {
            for ((n, contender), fastest) in going_on.iter().zip(&mut fastest) {
                let time = contender.time(size, n.expect("the others have ended"));
                *fastest = fastest.min(time);
            }
        }
        contenders = going_on.into_iter().map(|(_, contender)| contender).collect();
        for (contender, fastest) in contenders.iter_mut().zip(fastest) {
            contender.line.push(f64::from(size), fastest);
        }
    }
    lines.extend(contenders.into_iter().map(|contender| contender.line));
    // In the order of the columns, whoever ended first.
    lines.sort_by_key(|line| line.column() as usize);
    lines
}

fn one<P: Peer, W: Workload>(ops: fn(u32) -> u32, make: fn(u32) -> W) -> Contender {
    Contender::new(P::COLUMN, ops, move |size, n| {
        let workload = make(size);
        run::<P, _>(move |peer| workload.run(peer, n))
    })
}

fn run<P, F>(main: impl FnOnce(P) -> F + 'static) -> Duration
where
    P: Peer,
    F: Future<Output = Duration> + 'static,
{
    P::run(main)
}

fn everybody<W: Workload>(ops: fn(u32) -> u32, make: fn(u32) -> W) -> Vec<Contender> {
    vec![
        one::<Ours, W>(ops, make),
        one::<Tokio, W>(ops, make),
        one::<AsyncExecutor, W>(ops, make),
        one::<Pool, W>(ops, make),
        one::<Embassy, W>(ops, make),
        one::<Monoio, W>(ops, make),
        one::<LocalRuntime, W>(ops, make),
    ]
}

fn spawn_join(rounds: usize) -> Plot {
    let contenders = everybody(|tasks| tasks, |batch| SpawnJoin { batch });
    let lines = grow(contenders, &MANY, rounds);
    Plot { title: "Spawn and join", x: "tasks at a time", y: "ns per task", lines }
}

fn yields(rounds: usize) -> Plot {
    let contenders = everybody(|tasks| tasks, |tasks| Yield { tasks });
    let lines = grow(contenders, &MANY, rounds);
    Plot { title: "Yield", x: "tasks that yield in turn", y: "ns per yield", lines }
}

fn idle_tasks(rounds: usize) -> Plot {
    let contenders = everybody(|_| 1, |idle| PingPong { idle: idle as usize });
    let lines = grow(contenders, &MANY, rounds);
    let title = "Ping-pong of two tasks beside idle ones";
    Plot { title, x: "idle tasks", y: "ns per round trip", lines }
}

fn idle_fds(rounds: usize) -> Plot {
    fn one<P: Reactor>() -> Contender {
        Contender::new(
            P::COLUMN,
            |_| 1,
            |size, n| {
                let workload = WithIdle { idle: size as usize };
                run::<P, _>(move |peer| workload.run(peer, n))
            },
        )
    }
    let contenders = vec![one::<Ours>(), one::<Tokio>(), one::<LocalRuntime>()];
    let most = crate::machine::most_fds().saturating_sub(200);
    let mut sizes: Vec<u32> = MANY.into_iter().filter(|size| *size < most).collect();
    sizes.push(most.min(MANY[MANY.len() - 1]));
    let lines = grow(contenders, &sizes, rounds);
    let title = "Ping-pong over a socket pair beside idle fds";
    Plot { title, x: "idle fds", y: "ns per round trip", lines }
}

fn timers(rounds: usize) -> Plot {
    fn one<P: Timers>() -> Contender {
        Contender::new(
            P::COLUMN,
            |timers| timers,
            |size, n| {
                let workload = CreateAndDrop::both(size);
                run::<P, _>(move |peer| workload.run(peer, n))
            },
        )
    }
    let contenders = vec![one::<Ours>(), one::<Tokio>(), one::<Monoio>(), one::<LocalRuntime>()];
    let lines = grow(contenders, &MANY, rounds);
    Plot { title: "Create and drop timers", x: "timers at a time", y: "ns per timer", lines }
}
