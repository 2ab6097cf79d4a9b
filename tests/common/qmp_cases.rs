//! The recorded cases: inputs, and what QEMU said to them.

#![allow(dead_code, reason = "every test program uses another part")]

/// The state of the monitor that a case begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Raw,
    Ready,
    Oob,
}

/// One exchange.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) state: State,
    pub(crate) input: Vec<u8>,
    pub(crate) output: String,
}

/// All cases, in the order of the file.
pub(crate) fn recorded() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in include_str!("qmp_recorded.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(output) = line.strip_prefix("= ") {
            let case = cases.last_mut().expect("an input comes before its output");
            case.output.extend([output, "\r\n"]);
            continue;
        }
        let (state, input) = line.split_once(": ").expect("a state comes before the input");
        let state = match state {
            "raw" => State::Raw,
            "ready" => State::Ready,
            "oob" => State::Oob,
            _ => panic!("{state} is not a state"),
        };
        cases.push(Case { state, input: unescape(input), output: String::new() });
    }
    cases
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().expect("an escape has a second character") {
            b'\\' => b'\\',
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let digits = [rest.next(), rest.next()].map(|digit| digit.expect("two digits"));
                let digits = std::str::from_utf8(&digits).expect("digits are ASCII");
                u8::from_str_radix(digits, 16).expect("digits are hexadecimal")
            }
            other => panic!("\\{} is not an escape", char::from(other)),
        });
    }
    bytes
}
