//! What an executor shall do with tasks that follow scripts, in plain data.

use std::collections::VecDeque;

use super::{Action, Event, PLACES, Said, Script, TASKS, WAKERS};

/// Polls between two looks at what other threads asked for.
const STRIDE: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Idle,
    Queued,
    /// And whether it was woken meanwhile.
    Running(bool),
    Complete(Said),
}

#[derive(Debug)]
struct Task {
    script: Script,
    at: usize,
    phase: Phase,
    cancelled: bool,
    posted: bool,
    has_handle: bool,
    /// Whether somebody waits for it who wants to be woken.
    has_joiner: bool,
}

#[derive(Debug, Default)]
struct Place {
    /// Whose wakers are there.
    wakers: Vec<usize>,
    /// Whose handle is there.
    handle: Option<usize>,
}

/// The executor, its tasks and their surroundings.
#[derive(Debug)]
pub(super) struct Model {
    scripts: [Script; PLACES],
    tasks: Vec<Task>,
    places: [Place; PLACES],
    queue: VecDeque<usize>,
    /// Woken by other threads.
    inbox: Vec<usize>,
    /// Which tasks that still had a handle were complete when the executor went, and what the handle says.
    outcomes: [Option<(usize, Said)>; PLACES],
    pub(super) events: Vec<Event>,
    pub(super) joiners_woken: Vec<usize>,
    pub(super) lost_panics: usize,
}

impl Model {
    pub(super) fn new(scripts: [Script; PLACES]) -> Self {
        Self {
            scripts,
            tasks: Vec::new(),
            places: Default::default(),
            queue: VecDeque::new(),
            inbox: Vec::new(),
            outcomes: [None; PLACES],
            events: Vec::new(),
            joiners_woken: Vec::new(),
            lost_panics: 0,
        }
    }

    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Wake(place) => {
                self.places[place].wakers.clone().into_iter().for_each(|task| self.wake(task));
            }
            Action::WakeFar(place) => {
                self.places[place].wakers.clone().into_iter().for_each(|task| self.post(task));
            }
            Action::DropWakers(place) | Action::DropWakersFar(place) => {
                self.places[place].wakers.clear();
            }
            Action::Abort(place) => {
                if let Some(task) = self.places[place].handle {
                    self.abort(task);
                }
            }
            Action::DropHandle(place) => self.drop_handle(place),
            Action::Spawn(script) => self.spawn(script),
            _ => {}
        }
    }

    pub(super) fn spawn(&mut self, script: usize) {
        let number = self.tasks.len();
        if number == TASKS {
            return;
        }
        self.tasks.push(Task {
            script: self.scripts[script],
            at: 0,
            phase: Phase::Queued,
            cancelled: false,
            posted: false,
            has_handle: true,
            has_joiner: false,
        });
        self.joiners_woken.push(0);
        self.queue.push_back(number);
        self.drop_handle(number % PLACES);
        self.places[number % PLACES].handle = Some(number);
    }

    fn wake(&mut self, task: usize) {
        match &mut self.tasks[task].phase {
            phase @ Phase::Idle => {
                *phase = Phase::Queued;
                self.queue.push_back(task);
            }
            Phase::Running(woken) => *woken = true,
            Phase::Queued | Phase::Complete(_) => {}
        }
    }

    fn post(&mut self, task: usize) {
        if !self.tasks[task].posted {
            self.tasks[task].posted = true;
            self.inbox.push(task);
        }
    }

    fn abort(&mut self, task: usize) {
        self.tasks[task].cancelled = true;
        self.wake(task);
    }

    fn drop_handle(&mut self, place: usize) {
        if let Some(task) = self.places[place].handle.take() {
            // Who waited is woken nevertheless, as anybody may be for nothing.
            let task = &mut self.tasks[task];
            task.has_handle = false;
            self.lost_panics += usize::from(task.phase == Phase::Complete(Said::Panicked));
        }
    }

    pub(super) fn poll_handle(&mut self, place: usize) -> Said {
        let Some(number) = self.places[place].handle else { return Said::NoHandle };
        let task = &mut self.tasks[number];
        let Phase::Complete(said) = task.phase else {
            task.has_joiner = true;
            return Said::Pending;
        };
        self.places[place].handle = None;
        task.has_handle = false;
        said
    }

    /// One run, which looks at the inbox first, after each stride, and when nothing else is left.
    pub(super) fn run_once(&mut self) {
        let mut look = STRIDE;
        self.serve();
        loop {
            let mut ran = 0;
            while ran < look {
                let Some(task) = self.queue.pop_front() else { break };
                self.run(task);
                ran += 1;
            }
            let spent = ran == look;
            look = if spent { STRIDE } else { look - ran };
            if !self.serve() && !spent {
                return;
            }
        }
    }

    fn serve(&mut self) -> bool {
        let posts = std::mem::take(&mut self.inbox);
        for &task in &posts {
            self.tasks[task].posted = false;
            self.wake(task);
        }
        !posts.is_empty()
    }

    fn run(&mut self, task: usize) {
        self.tasks[task].phase = Phase::Running(false);
        if self.tasks[task].cancelled {
            return self.finish(task, Said::Cancelled);
        }
        self.events.push(Event::Poll(task));
        let wakers = &mut self.places[task % PLACES].wakers;
        if wakers.len() < WAKERS {
            wakers.push(task);
        }
        match self.poll(task) {
            Some(said) => self.finish(task, said),
            None => self.suspend(task),
        }
    }

    fn poll(&mut self, task: usize) -> Option<Said> {
        loop {
            let Task { script, at, .. } = &mut self.tasks[task];
            let Some(&action) = script.polls.get(*at) else { return Some(Said::Output(task)) };
            *at += 1;
            match action {
                Action::Suspend => return None,
                Action::Complete => return Some(Said::Output(task)),
                Action::Panic => return Some(Said::Panicked),
                Action::WakeSelf => self.wake(task),
                action => self.act(action),
            }
        }
    }

    fn suspend(&mut self, task: usize) {
        let woken = self.tasks[task].phase == Phase::Running(true);
        self.tasks[task].phase = Phase::Idle;
        if woken {
            self.wake(task);
        }
    }

    fn finish(&mut self, number: usize, said: Said) {
        self.events.push(Event::Drop(number));
        self.act(self.tasks[number].script.on_drop);
        let task = &mut self.tasks[number];
        task.phase = Phase::Complete(said);
        self.joiners_woken[number] += usize::from(std::mem::take(&mut task.has_joiner));
        self.lost_panics += usize::from(said == Said::Panicked && !task.has_handle);
    }

    /// The executor goes. In which order tasks go is its own business.
    pub(super) fn shut_down(&mut self) {
        for (place, outcome) in self.places.iter().zip(&mut self.outcomes) {
            *outcome = place.handle.and_then(|task| match self.tasks[task].phase {
                Phase::Complete(said) => Some((task, said)),
                _ => None,
            });
        }
    }

    /// What the handle of a task says, if the task was complete before the executor went.
    pub(super) fn outcome_before_the_end(&self, task: usize) -> Option<Said> {
        let (_, said) = self.outcomes[task % PLACES].filter(|(complete, _)| *complete == task)?;
        Some(said)
    }
}
