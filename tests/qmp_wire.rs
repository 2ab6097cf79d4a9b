//! The wire, byte for byte: every recorded exchange with QEMU gives the same bytes here.

#[path = "common/qmp_cases.rs"]
mod cases;
#[path = "common/qmp.rs"]
mod server;

use cases::{Case, State, recorded};
use server::Monitor;

fn monitor(state: State) -> Monitor {
    match state {
        State::Raw => Monitor::raw(),
        State::Ready => Monitor::ready(),
        State::Oob => Monitor::oob(),
    }
}

/// Gives the input of a case to a monitor, `size` bytes per read.
fn answer(case: &Case, size: usize) -> String {
    let mut monitor = monitor(case.state);
    monitor.read_size = size;
    monitor.write(&case.input);
    monitor.read()
}

#[test]
fn every_recorded_input_is_answered_as_qemu_answers_it() {
    let cases = recorded();
    assert!(cases.len() > 300, "the record is not complete");

    let differing: Vec<_> = cases
        .iter()
        .map(|case| (case, answer(case, usize::MAX)))
        .filter(|(case, answer)| *answer != case.output)
        .map(|(case, answer)| {
            let input = case.input.escape_ascii();
            format!("{:?}: {input}\n  QEMU: {}\n  here: {answer}", case.state, case.output)
        })
        .collect();

    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
}

#[test]
fn the_answer_does_not_depend_on_how_the_input_is_cut() {
    for case in recorded() {
        for size in 1..case.input.len() {
            let input = case.input.escape_ascii();
            assert_eq!(answer(&case, size), case.output, "{input} in reads of {size} bytes");
        }
    }
}

#[test]
fn one_monitor_can_take_all_cases_one_after_the_other() {
    // A byte that is never valid ends whatever a case has left unfinished.
    const RESET: &[u8] = b"\xFF{'execute': 'query-name', 'id': 'end'}";
    const END: &str = "{\"return\": {}, \"id\": \"end\"}\r\n";

    let mut monitor = Monitor::ready();
    for case in recorded() {
        if case.state != State::Ready {
            continue;
        }
        monitor.write(&case.input);
        monitor.write(RESET);
        let answer = monitor.read();
        assert!(answer.starts_with(&case.output), "{}", case.input.escape_ascii());
        assert!(answer.ends_with(END), "{}", case.input.escape_ascii());
    }
}

#[test]
fn output_is_ascii_and_every_line_ends_with_cr_lf() {
    for case in recorded() {
        let answer = answer(&case, usize::MAX);

        assert!(answer.is_ascii());
        assert_eq!(answer.matches('\n').count(), answer.matches("\r\n").count());
        assert!(answer.is_empty() || answer.ends_with("\r\n"));
    }
}

/// Where QEMU answers with something that is not JSON, takes what cannot be meant, or has the order of a
/// hash table.
#[test]
fn the_known_differences_are_these() {
    let cases = [
        // QEMU: `{"return": {}, "id": inf}`.
        (
            "{'execute': 'query-name', 'id': 1e400}",
            "JSON parse error, number '1e400' is out of range",
        ),
        // QEMU takes it for 18446744073709551615.
        (
            "{'execute': 'migrate-set-parameters', 'arguments': {'xbzrle-cache-size': -1}}",
            "Parameter 'xbzrle-cache-size' expects uint64",
        ),
        // QEMU names `b`.
        ("{'execute': 'query-name', 'arguments': {'b': 1, 'a': 2}}", "Parameter 'a' is unexpected"),
    ];
    for (input, description) in cases {
        let mut monitor = Monitor::ready();
        monitor.write(input);

        let expected = format!(
            "{{\"error\": {{\"class\": \"GenericError\", \"desc\": \"{description}\"}}}}\r\n"
        );
        assert_eq!(monitor.read(), expected);
    }
}
