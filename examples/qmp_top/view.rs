//! How a [`Picture`] is shown, as lines of text or on a terminal.

use std::fmt::Write as _;

use ratatui::Frame;
use ratatui::crossterm::event::KeyCode;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table, TableState};

use super::picture::{Executor, Picture, Task, Times};

/// Orders of the tasks: what they are called, and what is compared, the largest first.
type Order = (&'static str, fn(&Task) -> u64);
const ORDERS: [Order; 4] = [
    ("time", |task| task.account.polled),
    ("longest poll", |task| task.account.longest_poll),
    ("polls", |task| task.polls),
    ("age", |task| task.account.age),
];

/// What is on the terminal.
pub(crate) struct View {
    now: Picture,
    before: Option<Picture>,
    table: TableState,
    order: usize,
    said: String,
}

impl View {
    pub(crate) fn new(now: Picture) -> Self {
        let mut this = Self {
            now,
            before: None,
            table: TableState::default().with_selected(0),
            order: 0,
            said: String::new(),
        };
        this.sort();
        this
    }

    /// Shows a later picture. The selected task stays selected while it is there.
    pub(crate) fn update(&mut self, picture: Picture) {
        let selected = self.selected();
        self.before = Some(std::mem::replace(&mut self.now, picture));
        self.sort();
        self.select(selected);
    }

    /// Reacts to a key.
    pub(crate) fn press(&mut self, key: KeyCode) {
        match key {
            KeyCode::Down => self.table.select_next(),
            KeyCode::Up => self.table.select_previous(),
            KeyCode::Char('s') => {
                let selected = self.selected();
                self.order = (self.order + 1) % ORDERS.len();
                self.sort();
                self.select(selected);
            }
            _ => {}
        }
    }

    /// The id of the selected task.
    pub(crate) fn selected(&self) -> Option<u64> {
        self.now.tasks.get(self.table.selected()?).map(|task| task.id)
    }

    /// Shows a sentence until there is another one.
    pub(crate) fn say(&mut self, sentence: String) {
        self.said = sentence;
    }

    fn sort(&mut self) {
        let (_, key) = ORDERS[self.order];
        self.now.tasks.sort_by_key(|task| (std::cmp::Reverse(key(task)), task.id));
    }

    fn select(&mut self, id: Option<u64>) {
        let row = self.now.tasks.iter().position(|task| Some(task.id) == id);
        self.table.select(row.or(Some(0)));
    }

    pub(crate) fn draw(&mut self, frame: &mut Frame<'_>) {
        let executors = u16::try_from(self.now.executors.len()).unwrap_or(u16::MAX);
        let rows = [
            Constraint::Length(executors.saturating_add(3)),
            Constraint::Min(5),
            Constraint::Length(6),
            Constraint::Length(1),
        ];
        let [top, middle, times, bottom] = Layout::vertical(rows).areas(frame.area());
        frame.render_widget(self.executors(), top);
        let table = self.tasks();
        frame.render_stateful_widget(table, middle, &mut self.table);
        self.draw_times(frame, times);
        let keys = "q quit  s sort  c cancel";
        frame.render_widget(Paragraph::new(format!("{keys}  {}", self.said)), bottom);
    }

    fn executors(&self) -> Table<'static> {
        let rows = self.now.executors.iter().map(|executor| {
            let before = self.before.as_ref().and_then(|before| {
                let same = before.executors.iter().find(|old| old.executor == executor.executor);
                Some((same?, self.now.taken.duration_since(before.taken).as_secs_f64()))
            });
            Row::new(executor_cells(executor, before))
        });
        let widths = [Constraint::Length(12)].into_iter().chain([Constraint::Length(10); 6]);
        let titles = ["executor", "tasks", "spawns/s", "polls/s", "foreign/s", "timers/s", "fds/s"];
        Table::new(rows, widths).header(header(titles)).block(Block::bordered())
    }

    fn tasks(&self) -> Table<'static> {
        let rows = self.now.tasks.iter().map(|task| Row::new(task_cells(task)));
        let widths = [8, 10, 9, 11, 11, 10, 10].map(Constraint::Length);
        let widths = widths.into_iter().chain([Constraint::Min(20)]);
        let titles = [
            "id",
            "executor",
            "state",
            "time",
            "longest",
            "polls",
            "age",
            "task, what it waits for",
        ];
        let title = format!("{} tasks, by {}", self.now.tasks.len(), ORDERS[self.order].0);
        Table::new(rows, widths)
            .header(header(titles))
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
            .block(Block::bordered().title(title))
    }

    /// The histograms of the first executor, which is where one is stuck; powers of two of ns, from the first that is
    /// there, so that there is room for the last.
    fn draw_times(&self, frame: &mut Frame<'_>, area: Rect) {
        let main = self.now.executors.iter().find(|executor| executor.executor == "main");
        let Some(main) = main.or(self.now.executors.first()) else { return };
        let areas: [Rect; 4] = Layout::horizontal([Constraint::Percentage(25); 4]).areas(area);
        let polls = format!("{}: polls", main.executor);
        let Times { poll, queue, wake, bql } = &main.times;
        let counts = [poll, queue, wake, bql];
        let titles = [&polls, "in queue", "wake to poll", "lock held"];
        for ((area, title), counts) in areas.into_iter().zip(titles).zip(counts) {
            let first = counts.iter().position(|n| *n != 0).unwrap_or(0);
            let title = format!("{title} 2^{first}..{} ns", counts.len());
            let counts = counts[first..].iter();
            let bars = counts.map(|n| if *n == 0 { 0 } else { u64::from(n.ilog2()) + 1 });
            let line = Sparkline::default().data(bars.collect::<Vec<_>>());
            frame.render_widget(line.block(Block::bordered().title(title)), area);
        }
    }
}

fn header<const N: usize>(titles: [&'static str; N]) -> Row<'static> {
    Row::new(titles).style(Style::new().add_modifier(Modifier::BOLD))
}

/// Rates need an earlier look, and how many seconds ago that was.
fn executor_cells(now: &Executor, before: Option<(&Executor, f64)>) -> Vec<Cell<'static>> {
    let rate = |count: fn(&Executor) -> u64| match before {
        Some((before, seconds)) if seconds > 0.0 => {
            format!("{:.0}", count(now).saturating_sub(count(before)) as f64 / seconds)
        }
        _ => "-".to_owned(),
    };
    let cells = [
        now.executor.clone(),
        now.live.to_string(),
        rate(|executor| executor.spawned),
        rate(|executor| executor.polls),
        rate(|executor| executor.requests),
        rate(|executor| executor.timers),
        rate(|executor| executor.fd_events),
    ];
    cells.into_iter().map(Cell::from).collect()
}

fn task_cells(task: &Task) -> Vec<Cell<'static>> {
    task_words(task).into_iter().map(Cell::from).collect()
}

fn task_words(task: &Task) -> [String; 8] {
    let mut title = task.title().to_owned();
    if !task.waits_for.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(title, ": {}", task.waits_for.join(" in "));
    }
    [
        task.id.to_string(),
        task.executor.clone(),
        task.account.state.clone(),
        time(task.account.polled),
        time(task.account.longest_poll),
        task.polls.to_string(),
        time(task.account.age),
        title,
    ]
}

/// Microseconds, in a unit that leaves few digits.
fn time(microseconds: u64) -> String {
    match microseconds {
        0..10_000 => format!("{microseconds} us"),
        10_000..10_000_000 => format!("{} ms", microseconds / 1000),
        _ => format!("{} s", microseconds / 1_000_000),
    }
}

/// Returns the picture as lines.
pub(crate) fn plain(picture: &Picture) -> String {
    let mut text = String::new();
    for executor in &picture.executors {
        let Executor { executor, live, polls, .. } = executor;
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "executor {executor}: {live} tasks, {polls} polls");
    }
    for task in &picture.tasks {
        let [id, executor, state, time, longest, polls, age, title] = task_words(task);
        let _ = writeln!(
            text,
            "task {id} in {executor}: {state}, {polls} polls in {time}, longest {longest}, {age} old: {title}"
        );
    }
    text
}
