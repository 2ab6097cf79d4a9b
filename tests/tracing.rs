//! Tasks as spans of the crate `tracing`. Alone in its process, since callsites remember who listened first.

mod common;

use std::sync::mpsc;

use executor::LocalExecutor;
use executor::observe::{Tracing, observe};

/// Notes what it is told, as words.
struct Subscriber(mpsc::Sender<String>);

impl tracing::Subscriber for Subscriber {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        let task = span.values().to_string();
        let _nobody = self.0.send(format!("{} {task}", span.metadata().name()));
        tracing::span::Id::from_u64(7)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let _nobody = self.0.send(format!("{event:?}"));
    }
    fn enter(&self, _: &tracing::span::Id) {
        let _nobody = self.0.send("enter".to_owned());
    }
    fn exit(&self, _: &tracing::span::Id) {
        let _nobody = self.0.send("exit ".to_owned());
    }
    fn try_close(&self, _: tracing::span::Id) -> bool {
        let _nobody = self.0.send("close".to_owned());
        true
    }
}

#[test]
fn a_task_is_a_span_like_one_of_tokio() {
    let executor = LocalExecutor::new().expect("there are file descriptors left");
    observe(Box::leak(Box::new(Tracing::default())));
    let (send, told) = mpsc::channel();
    let words = tracing::subscriber::with_default(Subscriber(send), || {
        let task = executor.spawn_named("spanned", common::yield_now());
        executor.run(task).expect("it does not panic");
        told.try_iter().collect::<Vec<_>>()
    });
    assert!(words[0].starts_with("runtime.spawn "), "{words:?}");
    assert!(words[0].contains("task.name: \"spanned\""), "{words:?}");
    // Copies of the span are closed, too.
    let short = words[1..].iter().map(|word| &word[..5]).filter(|word| *word != "close");
    // A waker is there from the start, and it wakes itself during its first poll.
    let expected = ["Event", "enter", "Event", "exit ", "enter", "exit "];
    assert_eq!(short.collect::<Vec<_>>(), expected, "{words:?}");
    assert_eq!(words.last().map(String::as_str), Some("close"), "{words:?}");
    assert!(words.iter().any(|word| word.contains("waker.wake")), "{words:?}");
}
