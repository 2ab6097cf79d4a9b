//! From a JSON value to a request, or to the reason why it is none.
//!
//! Knows which members a request has and what QEMU says about every other shape. Does not know
//! which commands exist or whether this monitor has negotiated.
//!
//! When several members are wrong, the one named is the first in alphabetical order. QEMU
//! names the first in the order of its hash table.
//!
//! Any thread; pure functions.

#![forbid(unsafe_code)]

use serde_json::{Map, Value};

use super::error::Error;
use super::writer::Json;

/// The command that ends the negotiation. It belongs to the monitor, not to a registry.
pub(super) const NEGOTIATION: &str = "qmp_capabilities";

/// The arguments of a command, before they get their types.
///
/// # Examples
///
/// ```
/// use executor::qmp::{Arguments, parse_arguments};
///
/// #[derive(serde::Deserialize)]
/// struct Resize {
///     device: String,
///     size: u64,
/// }
///
/// let mut arguments = Arguments::new();
/// arguments.insert("device".to_owned(), "vda".into());
/// arguments.insert("size".to_owned(), 512.into());
/// let typed: Resize = parse_arguments(arguments)?;
/// assert_eq!((typed.device.as_str(), typed.size), ("vda", 512));
/// # Ok::<(), executor::qmp::Error>(())
/// ```
pub type Arguments = Map<String, Value>;

/// The outcome of a command: its result as JSON, or why there is none.
///
/// # Examples
///
/// ```
/// use executor::qmp::{Error, Json, Outcome};
///
/// fn divide(dividend: i32, divisor: i32) -> Outcome {
///     match dividend.checked_div(divisor) {
///         Some(quotient) => Json::new(&quotient),
///         None => Err(Error::generic("Cannot divide by zero")),
///     }
/// }
///
/// assert_eq!(divide(6, 2)?.as_str(), "3");
/// assert_eq!(divide(1, 0).unwrap_err().to_string(), "Cannot divide by zero");
/// # Ok::<(), Error>(())
/// ```
pub type Outcome = Result<Json, Error>;

/// A command that a client wants to have run.
///
/// # Examples
///
/// ```
/// # use executor::qmp::{Error, Session, SessionOptions, Version, VersionNumber};
/// # let qemu = VersionNumber { micro: 0, minor: 1, major: 0 };
/// # let mut session = Session::new(SessionOptions::new(Version { qemu, package: String::new() }));
/// session.feed(b"{'execute': 'qmp_capabilities'}");
/// session.feed(b"{'execute': 'eject', 'arguments': {'device': 'cd0'}}");
///
/// let request = session.next_request().expect("there is one");
/// assert_eq!((request.name.as_str(), &request.arguments["device"]), ("eject", &"cd0".into()));
/// let outcome = Err(Error::generic("The drive is locked"));
/// session.respond(request.ticket, outcome);
/// assert!(session.unsent().ends_with(b"\"desc\": \"The drive is locked\"}}\r\n"));
/// ```
#[derive(Debug)]
pub struct Request {
    /// The command's name.
    pub name: String,
    /// Its arguments; empty when the client gave none.
    pub arguments: Arguments,
    /// What the reply needs.
    pub ticket: Ticket,
}

/// The right to reply to one [`Request`], once.
///
/// # Examples
///
/// ```
/// use executor::qmp::{Json, Request, Session};
/// # use executor::qmp::{SessionOptions, Version, VersionNumber};
/// # let qemu = VersionNumber { micro: 0, minor: 1, major: 0 };
/// # let mut session = Session::new(SessionOptions::new(Version { qemu, package: String::new() }));
///
/// session.feed(b"{'execute': 'qmp_capabilities', 'arguments': {'enable': ['oob']}}\n\
///                {'execute': 'migrate', 'id': 1} {'exec-oob': 'migrate-pause', 'id': 'now'}");
/// let overtakes = session.next_request().expect("what is out of band comes first");
/// assert!(overtakes.ticket.is_oob());
/// assert_eq!(overtakes.ticket.id(), Some(&"now".into()));
///
/// let queued = session.next_request().expect("the other one");
/// // Replies in any order: the ticket knows whose each is.
/// session.respond(queued.ticket, Json::new(&1));
/// session.respond(overtakes.ticket, Json::new(&2));
/// assert!(session.unsent().ends_with(b"{\"return\": 2, \"id\": \"now\"}\r\n"));
/// ```
#[derive(Debug)]
#[must_use = "a request without a reply blocks its monitor"]
pub struct Ticket {
    pub(super) id: Option<Value>,
    pub(super) oob: bool,
}

impl Ticket {
    /// Returns the client's `id` of the request: any JSON value.
    pub fn id(&self) -> Option<&Value> {
        self.id.as_ref()
    }

    /// Tells whether the request is to be run out of band: now, and without the BQL.
    pub fn is_oob(&self) -> bool {
        self.oob
    }
}

/// An input that is no request. Its error reply carries the `id` if there was one.
#[derive(Debug, PartialEq)]
pub(super) struct Rejected {
    pub(super) id: Option<Value>,
    pub(super) error: Error,
}

/// Tells whether `value` asks to be run out of band, so does not queue.
pub(super) fn looks_oob(value: &Value) -> bool {
    let Value::Object(members) = value else { return false };
    members.contains_key("exec-oob") && !members.contains_key("execute")
}

/// Makes a request of `value`; `exec-oob` is a member like any unknown one unless `oob_enabled`.
pub(super) fn check(value: Value, oob_enabled: bool) -> Result<Request, Rejected> {
    let Value::Object(mut members) = value else {
        return Err(Rejected { id: None, error: error("must be a JSON object") });
    };
    let id = members.remove("id");
    match check_members(members, oob_enabled) {
        Ok((name, arguments, oob)) => Ok(Request { name, arguments, ticket: Ticket { id, oob } }),
        Err(error) => Err(Rejected { id, error }),
    }
}

fn check_members(
    members: Arguments,
    oob_enabled: bool,
) -> Result<(String, Arguments, bool), Error> {
    let mut command: Option<(String, String)> = None;
    let mut arguments = Arguments::new();
    for (member, value) in members {
        match (member.as_str(), value) {
            ("execute", value) => set_command(&mut command, member, value)?,
            ("exec-oob", value) if oob_enabled => set_command(&mut command, member, value)?,
            ("arguments", Value::Object(given)) => arguments = given,
            ("arguments", _) => return Err(error("member 'arguments' must be an object")),
            _ => return Err(error(&format!("member '{member}' is unexpected"))),
        }
    }
    let (member, name) = command.ok_or_else(|| error("lacks member 'execute'"))?;
    Ok((name, arguments, member == "exec-oob"))
}

fn set_command(
    command: &mut Option<(String, String)>,
    member: String,
    value: Value,
) -> Result<(), Error> {
    let Value::String(name) = value else {
        return Err(error(&format!("member '{member}' must be a string")));
    };
    if let Some((first, _)) = command {
        return Err(error(&format!("member '{member}' clashes with '{first}'")));
    }
    *command = Some((member, name));
    Ok(())
}

fn error(problem: &str) -> Error {
    Error::generic(format!("QMP input {problem}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{check, looks_oob};

    fn refusal(value: Value) -> String {
        check(value, true).expect_err("the request is wrong").error.to_string()
    }

    #[test]
    fn a_request_keeps_its_name_arguments_and_id() {
        let value = json!({"execute": "stop", "arguments": {"a": 1}, "id": [null]});

        let request = check(value, false).expect("the request is right");

        assert_eq!(request.name, "stop");
        assert_eq!(Value::Object(request.arguments), json!({"a": 1}));
        assert_eq!(request.ticket.id(), Some(&json!([null])));
        assert!(!request.ticket.is_oob());
    }

    #[test]
    fn a_null_id_is_an_id() {
        let request = check(json!({"execute": "stop", "id": null}), false).expect("a request");

        assert_eq!(request.ticket.id(), Some(&Value::Null));
    }

    #[test]
    fn every_wrong_shape_has_the_text_of_qemu() {
        let cases = [
            (json!([]), "QMP input must be a JSON object"),
            (json!({}), "QMP input lacks member 'execute'"),
            (json!({"execute": 1}), "QMP input member 'execute' must be a string"),
            (json!({"exec-oob": []}), "QMP input member 'exec-oob' must be a string"),
            (
                json!({"execute": "a", "arguments": null}),
                "QMP input member 'arguments' must be an object",
            ),
            (json!({"execute": "a", "bogus": 1}), "QMP input member 'bogus' is unexpected"),
            (
                json!({"execute": "a", "exec-oob": "b"}),
                "QMP input member 'execute' clashes with 'exec-oob'",
            ),
        ];
        for (value, expected) in cases {
            assert_eq!(refusal(value), expected);
        }
    }

    #[test]
    fn exec_oob_is_unknown_until_it_is_enabled() {
        let request = json!({"exec-oob": "a", "id": 1});

        let rejected = check(request.clone(), false).expect_err("oob is off");
        let accepted = check(request, true).expect("oob is on");

        assert_eq!(rejected.error.to_string(), "QMP input member 'exec-oob' is unexpected");
        assert_eq!(rejected.id, Some(json!(1)));
        assert!(accepted.ticket.is_oob());
    }

    #[test]
    fn only_exec_oob_alone_looks_out_of_band() {
        assert!(looks_oob(&json!({"exec-oob": 1})));
        assert!(!looks_oob(&json!({"exec-oob": "a", "execute": "b"})));
        assert!(!looks_oob(&json!("exec-oob")));
    }
}
