//! What is wrong with an argument, and where.
//!
//! A problem begins at the value where it is noticed and collects its path on the way out, so
//! that the visitors in between need not know where they are. The words are QEMU's, and so is
//! the habit of naming some problems by the whole path and others by the last member alone
//! (which is called `null` for an element of a list).
//!
//! Any thread; relies on nothing but the error texts.

#![forbid(unsafe_code)]

use std::fmt::{self, Display, Write};

use serde::de::{self, Expected, Unexpected};

use super::super::error::Error;

/// One step from a value into what it contains.
#[derive(Debug)]
pub(super) enum Segment {
    Member(String),
    Index(usize),
}

#[derive(Debug)]
enum What {
    Missing,
    Unexpected,
    WrongType(String),
    WrongValue(String),
    OutOfRange(&'static str),
    Refused(String),
    TooLong(usize),
    Other(String),
}

/// A mistake in the arguments.
#[derive(Debug)]
pub(super) struct Problem {
    what: What,
    /// Innermost first.
    path: Vec<Segment>,
}

impl Problem {
    fn here(what: What) -> Self {
        Self { what, path: Vec::new() }
    }

    /// The value is of another type than `expected`.
    pub(super) fn wrong_type(expected: &str) -> Self {
        Self::here(What::WrongType(expected.into()))
    }

    /// The value is of a type that QEMU names this way for historical reasons only.
    pub(super) fn wrong_value(expected: &str) -> Self {
        Self::here(What::WrongValue(expected.into()))
    }

    /// The number does not fit the type `expected`.
    pub(super) fn out_of_range(expected: &'static str) -> Self {
        Self::here(What::OutOfRange(expected))
    }

    /// The string is none of those allowed.
    pub(super) fn refused(value: String) -> Self {
        Self::here(What::Refused(value))
    }

    /// The list has more than `length` elements.
    pub(super) fn too_long(length: usize) -> Self {
        Self::here(What::TooLong(length))
    }

    /// The object has a member that nobody asked for.
    pub(super) fn unexpected(member: &str) -> Self {
        Self::here(What::Unexpected).inside(Segment::Member(member.into()))
    }

    /// Returns the same problem as seen from the value around it.
    pub(super) fn inside(mut self, segment: Segment) -> Self {
        self.path.push(segment);
        self
    }

    fn full_name(&self) -> String {
        let mut name = String::new();
        for segment in self.path.iter().rev() {
            match segment {
                Segment::Member(member) => {
                    let separator = if name.is_empty() { "" } else { "." };
                    name.extend([separator, member]);
                }
                Segment::Index(index) => {
                    write!(name, "[{index}]").expect("writing to a String cannot fail");
                }
            }
        }
        if name.is_empty() {
            name.push_str("<anonymous>");
        }
        name
    }

    fn last_name(&self) -> &str {
        match self.path.first() {
            Some(Segment::Member(member)) => member,
            Some(Segment::Index(_)) | None => "null",
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let name = problem.full_name();
        match &problem.what {
            What::Missing => Self::missing(&name),
            What::Unexpected => Self::unexpected(&name),
            What::WrongType(expected) => Self::wrong_type(&name, expected),
            What::WrongValue(expected) => Self::wrong_value(&name, expected),
            What::OutOfRange(expected) => Self::wrong_value(problem.last_name(), expected),
            What::Refused(value) => Self::refused_value(problem.last_name(), value),
            What::TooLong(length) => {
                Self::generic(format!("Only {length} list elements expected in {name}"))
            }
            What::Other(text) if problem.path.is_empty() => Self::generic(text.clone()),
            What::Other(text) => Self::generic(format!("Parameter '{name}' is invalid: {text}")),
        }
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.full_name(), self.what)
    }
}

impl std::error::Error for Problem {}

impl de::Error for Problem {
    fn custom<T: Display>(text: T) -> Self {
        Self::here(What::Other(text.to_string()))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::here(What::WrongType(expected.to_string()))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::here(What::WrongValue(expected.to_string()))
    }

    fn unknown_variant(variant: &str, _: &'static [&'static str]) -> Self {
        Self::refused(variant.into())
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self::unexpected(field)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::here(What::Missing).inside(Segment::Member(field.into()))
    }
}
