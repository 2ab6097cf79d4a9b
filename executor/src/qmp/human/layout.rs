//! A result, laid out for people.
//!
//! An object is a line per member, a list of plain objects is a table, a list of anything else has a line for
//! each element. Members keep the order in which the command wrote them. Nothing is no text at all.
//!
//! Any thread; pure functions; relies on `serde_json` to read back what was written for the wire.

#![forbid(unsafe_code)]

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::super::writer::Json;

/// A result with its members in their order.
#[derive(Debug, PartialEq)]
enum Item {
    Plain(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// Lays out a command's result. The text ends with a line feed, unless it is empty.
pub(super) fn lay_out(result: &Json) -> String {
    let item = serde_json::from_str(result.as_str());
    let item = item.unwrap_or_else(|_| Item::Plain(result.as_str().to_owned()));
    let mut text = String::new();
    item.write(0, &mut text);
    text
}

impl Item {
    fn write(&self, indent: usize, text: &mut String) {
        match self {
            Self::Plain(value) => line(indent, &[value], text),
            Self::Object(members) => members.iter().for_each(|(name, value)| match value {
                Self::Plain(value) => line(indent, &[name, ": ", value], text),
                Self::List(_) | Self::Object(_) => {
                    line(indent, &[name, ":"], text);
                    value.write(indent + 2, text);
                }
            }),
            Self::List(items) => match table(items) {
                Some(rows) => rows.iter().for_each(|row| line(indent, &[row], text)),
                None => items.iter().for_each(|item| item.write(indent, text)),
            },
        }
    }

    /// Returns the members, if each of them is a single value.
    fn row(&self) -> Option<Vec<(&str, &str)>> {
        let Self::Object(members) = self else { return None };
        let cells = members.iter().map(|(name, item)| match item {
            Self::Plain(value) => Some((name.as_str(), value.as_str())),
            Self::List(_) | Self::Object(_) => None,
        });
        cells.collect()
    }
}

fn line(indent: usize, parts: &[&str], text: &mut String) {
    text.extend(std::iter::repeat_n(' ', indent));
    text.extend(parts.iter().copied());
    text.push('\n');
}

/// Returns the lines of a table, its heading first, if `items` are objects of single values and there are some.
fn table(items: &[Item]) -> Option<Vec<String>> {
    let rows: Vec<_> = items.iter().map(Item::row).collect::<Option<_>>()?;
    let mut columns: Vec<&str> = Vec::new();
    for &(name, _) in rows.iter().flatten() {
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    if columns.is_empty() {
        return None;
    }
    let cell = |row: &[(&'_ str, &'_ str)], column: &str| {
        let found = row.iter().find(|(name, _)| *name == column);
        found.map_or_else(|| "-".to_owned(), |(_, value)| (*value).to_owned())
    };
    let heading: Vec<String> = columns.iter().map(|&name| name.to_owned()).collect();
    let body = rows.iter().map(|row| columns.iter().map(|name| cell(row, name)).collect());
    let lines: Vec<Vec<String>> = std::iter::once(heading).chain(body).collect();
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    Some(lines.iter().map(|cells| pad(cells, &widths)).collect())
}

fn pad(cells: &[String], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, &width)| format!("{cell:width$}"));
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Item, E> {
        Ok(Item::Plain("none".into()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Item, E> {
        Ok(Item::Plain(if value { "on" } else { "off" }.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Item, E> {
        Ok(Item::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Item, E> {
        Ok(Item::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Item, E> {
        Ok(Item::Plain(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Item, E> {
        Ok(Item::Plain(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Item, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Item::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Item::Object(members))
    }
}
