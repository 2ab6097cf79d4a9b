//! A line that somebody typed: its words, and the arguments that they stand for.
//!
//! Words are separated by spaces; between double quotes, and after a backslash in there, everything is part of a word, as
//! in QEMU. A word of the form `name=value` is the argument of that name; the others are the arguments that
//! are left, in their order. A value that does not fit its type goes to the command as a string, which refuses it
//! in its own words.
//!
//! Any thread; pure functions.

#![forbid(unsafe_code)]

use serde_json::Value;

use super::super::error::Error;
use super::super::request::Arguments;
use super::super::shape::{Member, Shape};

/// Takes a line apart.
pub(super) fn split(line: &str) -> Result<Vec<String>, Error> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => {
                let escaped = unescape(characters.next())?;
                word.get_or_insert_default().push(escaped);
            }
            blank if blank.is_ascii_whitespace() && !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    if quoted {
        return Err(Error::generic("unterminated string"));
    }
    words.extend(word);
    Ok(words)
}

fn unescape(character: Option<char>) -> Result<char, Error> {
    match character {
        Some('n') => Ok('\n'),
        Some('r') => Ok('\r'),
        Some(same @ ('\\' | '\'' | '"')) => Ok(same),
        Some(other) => Err(Error::generic(format!("unsupported escape code: '\\{other}'"))),
        None => Err(Error::generic("unterminated string")),
    }
}

/// Makes the arguments of the command `name`, which has `members`.
pub(super) fn arguments(
    name: &str,
    members: &[Member],
    words: &[&str],
) -> Result<Arguments, Error> {
    let mut arguments = Arguments::new();
    let mut in_order = Vec::new();
    for word in words {
        let named = word.split_once('=');
        let named = named.and_then(|(name, text)| Some((find(members, name)?, text)));
        match named {
            Some((member, text)) => set(&mut arguments, member, text)?,
            None => in_order.push(word),
        }
    }
    let free: Vec<_> = members.iter().filter(|it| !arguments.contains_key(it.name)).collect();
    if in_order.len() > free.len() {
        return Err(Error::generic(format!("{name}: extraneous characters at the end of line")));
    }
    for (member, text) in free.into_iter().zip(in_order) {
        set(&mut arguments, member, text)?;
    }
    Ok(arguments)
}

fn find<'m>(members: &'m [Member], name: &str) -> Option<&'m Member> {
    members.iter().find(|member| member.name == name)
}

fn set(arguments: &mut Arguments, member: &Member, text: &str) -> Result<(), Error> {
    match arguments.insert(member.name.into(), value(&member.shape, text)) {
        None => Ok(()),
        Some(_) => Err(Error::generic(format!("Parameter '{}' is given twice", member.name))),
    }
}

/// Returns the value that is meant, or the text if none is.
fn value(shape: &Shape, text: &str) -> Value {
    let value = match shape {
        Shape::Text | Shape::Enumeration { .. } => None,
        Shape::Boolean => boolean(text).map(Value::from),
        Shape::Integer(_) => integer(text),
        Shape::Number => text.parse::<f64>().ok().map(Value::from),
        Shape::Null | Shape::Any | Shape::List(_) | Shape::Structure { .. } | Shape::Again(_) => {
            serde_json::from_str(text).ok()
        }
    };
    value.unwrap_or_else(|| text.into())
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "on" | "true" => Some(true),
        "off" | "false" => Some(false),
        _ => None,
    }
}

fn integer(text: &str) -> Option<Value> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok().map(Value::from);
    }
    let signed = || text.parse::<i64>().ok().map(Value::from);
    text.parse::<u64>().ok().map(Value::from).or_else(signed)
}
