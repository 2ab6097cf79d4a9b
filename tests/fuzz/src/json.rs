//! The parser of QMP's dialect against `serde_json`, on what both of them speak.
//!
//! The bytes are the `id` of a request, so that they come through the session as they do from a client. Checked:
//! what is read does not depend on where the input is cut; what `serde_json` takes is taken and means the same,
//! unless the dialects differ; what is taken is JSON, unless it is of the dialect; and what is written is JSON
//! that means what was read.

use executor::qmp::{Json, Session, SessionOptions, Version, VersionNumber};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

const BEFORE: &[u8] = b"{\"execute\": \"x\", \"id\": ";
const AFTER: &[u8] = b"}";
/// Where `serde_json` gives up, less the object around it.
const DEPTH: usize = 120;

/// The values that were read, and everything that was written.
#[derive(Debug, PartialEq)]
struct Parsed {
    ids: Vec<Value>,
    output: Vec<u8>,
}

/// Checks one input.
pub fn check(data: &[u8]) {
    let document = [BEFORE, data, AFTER].concat();
    let parsed = parse(&document, document.len());
    let piece = 1 + usize::from(data.first().copied().unwrap_or(0)) % 7;
    assert_eq!(parsed, parse(&document, piece), "it depends on where the input is cut");
    check_output(&parsed);
    let has_error = contains(&parsed.output, b"\"error\": {");
    let theirs = serde_json::from_slice::<Strict>(data);
    if let Ok(Strict(theirs)) = theirs {
        if is_common(data, &theirs) {
            assert!(!has_error, "{} is refused", theirs);
            assert_eq!(parsed.ids.len(), 1, "{theirs}");
            assert!(
                is_same(&parsed.ids[0], &theirs, read_alike),
                "{} is not {theirs}",
                parsed.ids[0]
            );
        }
    }
    if !contains(data, b"\\\xC0\x80") {
        // Modified UTF-8's spelling of NUL, which only this dialect knows.
        let spelled = replace(&document, b"\xC0\x80", b"\\u0000");
        assert_eq!(parsed.ids, parse(&spelled, spelled.len()).ids);
    }
    let is_dialect = data.contains(&b'\'') || contains(data, b"\xC0\x80") || depth(data) > DEPTH;
    if let ([id], false, false) = (&parsed.ids[..], has_error, is_dialect) {
        // What follows may be the beginning of another.
        let mut values = serde_json::Deserializer::from_slice(&document).into_iter();
        let Strict(whole) = values.next().expect("it is there").expect("what is taken is JSON");
        assert!(is_same(id, &whole["id"], read_alike), "{id} is not {}", whole["id"]);
    }
}

/// Reads a document in pieces of `size` bytes, and answers each request with its own id.
fn parse(document: &[u8], size: usize) -> Parsed {
    let qemu = VersionNumber { micro: 0, minor: 1, major: 0 };
    let mut session = Session::new(SessionOptions::new(Version { qemu, package: String::new() }));
    session.feed(b"{\"execute\": \"qmp_capabilities\"}");
    assert!(session.next_request().is_none(), "the session answers that itself");
    session.advance(session.unsent().len());
    let mut parsed = Parsed { ids: Vec::new(), output: Vec::new() };
    for piece in document.chunks(size) {
        assert!(session.wants_input(), "nothing is waiting");
        session.feed(piece);
        while let Some(request) = session.next_request() {
            let id = request.ticket.id().cloned().unwrap_or_default();
            session.respond(request.ticket, Json::new(&id));
            parsed.ids.push(id);
            take_output(&mut session, &mut parsed.output);
        }
        take_output(&mut session, &mut parsed.output);
    }
    parsed
}

fn take_output(session: &mut Session, output: &mut Vec<u8>) {
    output.extend_from_slice(session.unsent());
    session.advance(session.unsent().len());
}

/// Each line is JSON in ASCII, and a reply has what was asked for.
fn check_output(parsed: &Parsed) {
    assert!(parsed.output.is_ascii(), "the output is ASCII");
    let text = std::str::from_utf8(&parsed.output).expect("ASCII is UTF-8");
    let mut ids = parsed.ids.iter();
    for line in text.split_terminator("\r\n").filter(|line| depth(line.as_bytes()) < DEPTH) {
        let line: Value = serde_json::from_str(line).expect("a line is JSON");
        if let Some(returned) = line.get("return") {
            let id = ids.find(|id| depth_of(id) + 2 < DEPTH).expect("it was read");
            assert!(is_same(id, returned, worth_the_same), "{id} is written as {returned}");
        }
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = bytes;
    while let Some(place) = rest.windows(from.len()).position(|window| window == from) {
        replaced.extend_from_slice(&rest[..place]);
        replaced.extend_from_slice(to);
        rest = &rest[place + from.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}

/// No less than the levels of nesting.
fn depth(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| matches!(byte, b'[' | b'{')).count()
}

fn depth_of(value: &Value) -> usize {
    depth(value.to_string().as_bytes())
}

/// Whether both dialects read the same: QEMU refuses noncharacters and an exponent right after a 0, and its zero
/// has no sign.
fn is_common(data: &[u8], value: &Value) -> bool {
    let zeros = [b"-0".as_slice(), b"0e", b"0E"];
    !zeros.iter().any(|zero| contains(data, zero)) && !has_noncharacter(value)
}

fn has_noncharacter(value: &Value) -> bool {
    let in_text = |text: &str| {
        text.chars().any(|character| {
            let code = u32::from(character);
            (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
        })
    };
    match value {
        Value::String(text) => in_text(text),
        Value::Array(elements) => elements.iter().any(has_noncharacter),
        Value::Object(members) => {
            members.iter().any(|(name, value)| in_text(name) || has_noncharacter(value))
        }
        _ => false,
    }
}

/// Whether two values are the same, given when two numbers are.
fn is_same(ours: &Value, theirs: &Value, numbers: fn(&Number, &Number) -> bool) -> bool {
    match (ours, theirs) {
        (Value::Number(ours), Value::Number(theirs)) => numbers(ours, theirs),
        (Value::Array(ours), Value::Array(theirs)) => {
            let mut pairs = ours.iter().zip(theirs);
            ours.len() == theirs.len() && pairs.all(|(ours, theirs)| is_same(ours, theirs, numbers))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            let is_there = |(name, ours)| {
                theirs.get(name).is_some_and(|theirs| is_same(ours, theirs, numbers))
            };
            ours.len() == theirs.len() && ours.iter().all(is_there)
        }
        _ => ours == theirs,
    }
}

/// As they are read: integers are exact, and QEMU's zero has no sign.
fn read_alike(ours: &Number, theirs: &Number) -> bool {
    let are_floats = ours.is_f64() && theirs.is_f64();
    let are_zero = ours.as_f64() == Some(0.0) && theirs.as_f64() == Some(0.0);
    ours == theirs || are_zero || (are_floats && worth_the_same(ours, theirs))
}

/// As they are written: QEMU writes a whole float like an integer. `serde_json` may be some last digits off when it
/// reads a float.
fn worth_the_same(ours: &Number, theirs: &Number) -> bool {
    if ours == theirs {
        return true;
    }
    let (Some(ours), Some(theirs)) = (ours.as_f64(), theirs.as_f64()) else { return false };
    (ours - theirs).abs() <= ours.abs().max(theirs.abs()) * 1e-15
}

/// A value without a member that is there twice, which `serde_json` alone would not mind.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(Strict(element)) = sequence.next_element()? {
            elements.push(element);
        }
        Ok(elements.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Strict(value))) = map.next_entry::<String, Strict>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is there twice"));
            }
        }
        Ok(members.into())
    }
}
