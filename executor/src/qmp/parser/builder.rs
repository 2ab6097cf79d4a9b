//! The grammar: tokens in, one value or its first mistake out.
//!
//! The builder keeps the containers that are open on a stack of its own, so deep input cannot
//! exhaust the thread's. After the first mistake it drops what it has and ignores the rest of the
//! message; how long that rest is, is for the parser to count.
//!
//! Any thread; relies on `string`; does not bound anything.

#![forbid(unsafe_code)]

use std::str;

use serde_json::{Map, Number, Value};

use super::super::error::Error;
use super::super::lexer::Kind;
use super::super::string;

/// A container whose end has not come yet.
#[derive(Debug)]
enum Open {
    Array(Vec<Value>),
    Object(Map<String, Value>),
    /// An object, and the name of the member that comes next.
    Member(Map<String, Value>, String),
}

/// What may come next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expect {
    /// A value; in an object, a member's name.
    #[default]
    Value,
    /// A value, or the end of the container that has just begun.
    ValueOrEnd,
    Colon,
    /// A comma or the end of the container.
    Separator,
}

/// The value under construction.
#[derive(Debug, Default)]
pub(super) struct Builder {
    open: Vec<Open>,
    expect: Expect,
    outcome: Option<Result<Value, Error>>,
}

impl Builder {
    /// Adds a token.
    pub(super) fn push(&mut self, kind: Kind, text: &[u8]) {
        if self.outcome.is_some() {
            return;
        }
        if let Err(problem) = self.accept(kind, text) {
            self.open = Vec::new();
            self.outcome = Some(Err(Error::parse(problem)));
        }
    }

    /// Returns the value, or the first mistake.
    pub(super) fn finish(self) -> Result<Value, Error> {
        self.outcome.unwrap_or_else(|| Err(Error::parse("premature EOI")))
    }

    fn accept(&mut self, kind: Kind, text: &[u8]) -> Result<(), String> {
        match self.expect {
            Expect::ValueOrEnd if self.closes(kind) => self.close(),
            Expect::Value | Expect::ValueOrEnd => self.begin_value(kind, text),
            Expect::Colon if kind == Kind::Colon => {
                self.expect = Expect::Value;
                Ok(())
            }
            Expect::Colon => Err("missing : in object pair".into()),
            Expect::Separator if kind == Kind::Comma => {
                self.expect = Expect::Value;
                Ok(())
            }
            Expect::Separator if self.closes(kind) => self.close(),
            Expect::Separator => match self.open.last() {
                Some(Open::Array(_)) => Err("expected separator in list".into()),
                _ => Err("expected separator in dict".into()),
            },
        }
    }

    fn closes(&self, kind: Kind) -> bool {
        match self.open.last() {
            Some(Open::Array(_)) => kind == Kind::ArrayEnd,
            Some(Open::Object(_)) => kind == Kind::ObjectEnd,
            Some(Open::Member(..)) | None => false,
        }
    }

    fn close(&mut self) -> Result<(), String> {
        match self.open.pop() {
            Some(Open::Array(elements)) => self.add(Value::Array(elements)),
            Some(Open::Object(members) | Open::Member(members, _)) => {
                self.add(Value::Object(members))
            }
            None => Err("expecting value".into()),
        }
    }

    fn begin_value(&mut self, kind: Kind, text: &[u8]) -> Result<(), String> {
        match kind {
            Kind::ArrayStart => self.open(Open::Array(Vec::new())),
            Kind::ObjectStart => self.open(Open::Object(Map::new())),
            Kind::String => self.add(Value::String(string::decode(text)?)),
            Kind::Integer | Kind::Float => self.add(Value::Number(number(kind, ascii(text))?)),
            Kind::Keyword => self.add(keyword(ascii(text))?),
            _ => Err("expecting value".into()),
        }
    }

    fn open(&mut self, container: Open) -> Result<(), String> {
        self.open.push(container);
        self.expect = Expect::ValueOrEnd;
        Ok(())
    }

    /// Puts a complete value where it belongs.
    fn add(&mut self, value: Value) -> Result<(), String> {
        self.expect = Expect::Separator;
        match (self.open.pop(), value) {
            (None, value) => self.outcome = Some(Ok(value)),
            (Some(Open::Array(mut elements)), value) => {
                elements.push(value);
                self.open.push(Open::Array(elements));
            }
            (Some(Open::Object(members)), Value::String(name)) => {
                self.open.push(Open::Member(members, name));
                self.expect = Expect::Colon;
            }
            (Some(Open::Object(_)), _) => return Err("key is not a string in object".into()),
            (Some(Open::Member(mut members, name)), value) => {
                if members.contains_key(&name) {
                    return Err("duplicate key".into());
                }
                members.insert(name, value);
                self.open.push(Open::Object(members));
            }
        }
        Ok(())
    }
}

fn ascii(text: &[u8]) -> &str {
    str::from_utf8(text).expect("numbers and keywords are ASCII")
}

fn keyword(text: &str) -> Result<Value, String> {
    match text {
        "true" => Ok(Value::Bool(true)),
        "false" => Ok(Value::Bool(false)),
        "null" => Ok(Value::Null),
        _ => Err(format!("invalid keyword '{text}'")),
    }
}

/// Keeps integers exact while they fit 64 bits, signed before unsigned.
fn number(kind: Kind, text: &str) -> Result<Number, String> {
    if kind == Kind::Integer {
        if let Ok(integer) = text.parse::<i64>() {
            return Ok(integer.into());
        }
        if let Ok(integer) = text.parse::<u64>() {
            return Ok(integer.into());
        }
    }
    let float = text.parse().ok().and_then(Number::from_f64);
    float.ok_or_else(|| format!("number '{text}' is out of range"))
}
