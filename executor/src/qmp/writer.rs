//! The JSON that goes over the wire.
//!
//! One line, ASCII only, a space after each colon and comma, escapes in upper-case hexadecimal,
//! floats with 17 digits: byte for byte what QEMU writes. [`indent`] turns such a line into
//! QEMU's `pretty=on` layout.
//!
//! What JSON cannot say is replaced: a float that is not finite becomes `null` (QEMU writes `inf`,
//! which no client can read), and a Unicode noncharacter becomes U+FFFD, because the receiving
//! parser would refuse it.
//!
//! Any thread; relies on `serde_json` for the walk over the value.

#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter};

use super::error::Error;
use super::string;

/// A value as JSON text: one line of ASCII.
///
/// This is what a command returns and what an event carries.
///
/// # Examples
///
/// ```
/// use executor::qmp::Json;
///
/// let json = Json::new(&("é", [1, 2]))?;
///
/// assert_eq!(json.as_str(), r#"["\u00E9", [1, 2]]"#);
/// # Ok::<(), executor::qmp::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Json(String);

impl Json {
    /// Writes `value` as JSON. Members keep the order of the struct.
    ///
    /// # Errors
    ///
    /// Fails when `value` refuses to be serialized, or has a map whose keys are not strings.
    pub fn new<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        let mut text = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, QemuFormatter);
        let written = value.serialize(&mut serializer);
        written.map_err(|error| Error::generic(format!("Cannot write a result: {error}")))?;
        Ok(Self(String::from_utf8(text).expect("the formatter writes ASCII")))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Writes one of the values that have nothing in them that could fail.
    pub(super) fn infallible<T: Serialize + ?Sized>(value: &T) -> Self {
        Self::new(value).expect("strings, numbers and values from the parser can be written")
    }

    /// Joins members that are JSON already.
    pub(super) fn object(members: &[(&str, Self)]) -> Self {
        let mut text = String::from("{");
        for (index, (name, value)) in members.iter().enumerate() {
            let separator = if index == 0 { "\"" } else { ", \"" };
            text.extend([separator, name, "\": ", value.as_str()]);
        }
        text.push('}');
        Self(text)
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lays a line of [`Json`] out over several lines, four spaces per level.
pub(super) fn indent(line: &str) -> String {
    let mut text = String::with_capacity(line.len() * 2);
    let mut level = 0;
    let mut in_string = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if in_string => {
                text.push(character);
                text.extend(characters.next());
                continue;
            }
            '"' => in_string = !in_string,
            _ if in_string => {}
            ',' => {
                // The space of the compact layout gives way to the line break.
                characters.next();
                text.push(',');
                break_line(&mut text, level);
                continue;
            }
            ']' | '}' => {
                level -= 1;
                break_line(&mut text, level);
            }
            _ => {}
        }
        text.push(character);
        if !in_string && matches!(character, '[' | '{') {
            level += 1;
            if !matches!(characters.peek(), Some(']' | '}')) {
                break_line(&mut text, level);
            }
        }
    }
    text
}

fn break_line(text: &mut String, level: usize) {
    text.push_str("\r\n");
    text.extend(std::iter::repeat_n("    ", level));
}

/// QEMU's spelling, for `serde_json`'s serializer.
struct QemuFormatter;

impl Formatter for QemuFormatter {
    fn begin_array_value<W: Write + ?Sized>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        if first {
            return Ok(());
        }
        w.write_all(b", ")
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.begin_array_value(w, first)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(b": ")
    }

    fn write_f32<W: Write + ?Sized>(&mut self, w: &mut W, value: f32) -> io::Result<()> {
        self.write_f64(w, value.into())
    }

    fn write_f64<W: Write + ?Sized>(&mut self, w: &mut W, value: f64) -> io::Result<()> {
        w.write_all(float(value).as_bytes())
    }

    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        w: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(plain) = rest.find(|character| !matches!(character, ' '..='~')) {
            w.write_all(&rest.as_bytes()[..plain])?;
            let character = rest[plain..].chars().next().expect("`find` found a character");
            escape(w, character)?;
            rest = &rest[plain + character.len_utf8()..];
        }
        w.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: Write + ?Sized>(
        &mut self,
        w: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        let character = match escape {
            CharEscape::Quote => '"',
            CharEscape::ReverseSolidus => '\\',
            CharEscape::Solidus => '/',
            CharEscape::Backspace => 'b',
            CharEscape::FormFeed => 'f',
            CharEscape::LineFeed => 'n',
            CharEscape::CarriageReturn => 'r',
            CharEscape::Tab => 't',
            CharEscape::AsciiControl(byte) => return write!(w, "\\u{byte:04X}"),
        };
        write!(w, "\\{character}")
    }
}

/// Writes a character that is not printable ASCII.
fn escape<W: Write + ?Sized>(w: &mut W, character: char) -> io::Result<()> {
    let is_refused = string::is_noncharacter(character);
    let character = if is_refused { char::REPLACEMENT_CHARACTER } else { character };
    for unit in character.encode_utf16(&mut [0; 2]) {
        write!(w, "\\u{unit:04X}")?;
    }
    Ok(())
}

/// Formats a finite float as C's `%.17g` does.
fn float(value: f64) -> String {
    const DIGITS: i32 = 17;

    let scientific = format!("{value:.*e}", DIGITS as usize - 1);
    let (mantissa, exponent) = scientific.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("the format's exponent is a number");
    if (-4..DIGITS).contains(&exponent) {
        let decimals = usize::try_from(DIGITS - 1 - exponent).expect("the range says so");
        return trim_zeros(&format!("{value:.decimals$}")).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim_zeros(mantissa), exponent.abs())
}

fn trim_zeros(number: &str) -> &str {
    if !number.contains('.') {
        return number;
    }
    number.trim_end_matches('0').trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Json, float, indent};

    fn line(value: &serde_json::Value) -> String {
        Json::new(value).expect("values can be written").as_str().to_owned()
    }

    #[test]
    fn colons_and_commas_are_followed_by_a_space() {
        let value = json!({"a": [1, -2, u64::MAX, null, true], "b": {}, "c": []});

        assert_eq!(
            line(&value),
            r#"{"a": [1, -2, 18446744073709551615, null, true], "b": {}, "c": []}"#
        );
    }

    #[test]
    fn strings_are_ascii_with_upper_case_escapes() {
        let value = json!("a/\"\\\x08\x0C\n\r\t\x01\x1B\x7Fé😀\u{FFFF}\0");

        assert_eq!(
            line(&value),
            r#""a/\"\\\b\f\n\r\t\u0001\u001B\u007F\u00E9\uD83D\uDE00\uFFFD\u0000""#
        );
    }

    #[test]
    fn floats_have_17_digits() {
        let cases = [
            (1.0, "1"),
            (-0.0, "-0"),
            (0.1, "0.10000000000000001"),
            (1000.0, "1000"),
            (1e30, "1e+30"),
            (1.5e-7, "1.4999999999999999e-07"),
            (0.0001, "0.0001"),
            (12345678901234567890123.0, "1.2345678901234568e+22"),
            (99999999999999984.0, "99999999999999984"),
            (1e17, "1e+17"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
        ];
        for (value, expected) in cases {
            assert_eq!(float(value), expected);
        }
    }

    #[test]
    fn a_float_that_is_not_finite_is_null() {
        assert_eq!(
            Json::new(&[f64::NAN, f64::INFINITY]).expect("an array").as_str(),
            "[null, null]"
        );
    }

    #[test]
    fn the_pretty_layout_is_the_one_of_qemu() {
        let value = json!({"a": [], "b": [1, [2, {}]], "c": "[, \\\"{:"});

        let expected = [
            "{",
            "    \"a\": [",
            "    ],",
            "    \"b\": [",
            "        1,",
            "        [",
            "            2,",
            "            {",
            "            }",
            "        ]",
            "    ],",
            "    \"c\": \"[, \\\\\\\"{:\"",
            "}",
        ];
        assert_eq!(indent(&line(&value)), expected.join("\r\n"));
    }
}
