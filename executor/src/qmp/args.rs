//! Typed arguments, with QEMU's words for what is wrong with them.
//!
//! A command's `Args` is any type that implements `serde::Deserialize`; [`parse_arguments`] fills it. The docs
//! of [`Command`](super::Command) have the table of types.
//!
//! Unknown members are always refused, with or without `deny_unknown_fields`; `null` is not an
//! absent member, as in QEMU. Inside tagged, untagged and flattened types `serde` itself keeps the
//! members, so there `deny_unknown_fields` has to be written down and the path in an error ends at
//! the type. Members are taken in the order of the struct, but all present ones before `serde`
//! notices an absent one: with several mistakes in one request, QEMU may name another of them.
//!
//! Stricter than QEMU in one point: a negative number is no `uint64`.
//!
//! Any thread; pure functions; relies on `serde` to drive the `Deserializer` in `args/de.rs`.

#![forbid(unsafe_code)]

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::Error;
use super::request::Arguments;

mod de;
mod problem;
#[cfg(test)]
mod tests;

/// Gives `arguments` their type. A [`Registry`](super::Registry) does this by itself.
///
/// # Errors
///
/// A [`GenericError`](super::ErrorClass::GenericError) that names the member at fault.
///
/// # Examples
///
/// ```
/// use executor::qmp::{parse_arguments, Arguments};
///
/// #[derive(Debug, serde::Deserialize)]
/// struct Resize {
///     size: i64,
/// }
///
/// let error = parse_arguments::<Resize>(Arguments::new()).unwrap_err();
///
/// assert_eq!(error.to_string(), "Parameter 'size' is missing");
/// ```
pub fn parse_arguments<T: DeserializeOwned>(arguments: Arguments) -> Result<T, Error> {
    T::deserialize(de::Slot(Value::Object(arguments))).map_err(Error::from)
}
