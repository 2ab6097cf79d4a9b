//! The text of QMP strings: escapes and UTF-8.
//!
//! Turns the bytes of a string token into a `String`. Accepted are JSON's escapes plus `\'`, and
//! UTF-8 in which U+0000 may also be written as 0xC0 0x80 (modified UTF-8, which QEMU speaks).
//! Refused, like QEMU does, are surrogates without a partner and the code points that Unicode
//! reserves as noncharacters, in either spelling.
//!
//! Any thread; pure functions; the error is the text QEMU uses.

#![forbid(unsafe_code)]

use std::str;

/// Decodes a string token, given with its quotes.
///
/// # Errors
///
/// Returns what is wrong, without the words "JSON parse error".
pub(super) fn decode(token: &[u8]) -> Result<String, String> {
    let mut decoded = String::with_capacity(token.len());
    let mut rest = &token[1..token.len() - 1];
    while let Some(plain) = rest.iter().position(|&byte| byte == b'\\') {
        push_plain(&mut decoded, &rest[..plain])?;
        // The closing quote is kept in sight: QEMU shows it when it interrupts a `\u` escape.
        let escape = &token[token.len() - 1 - (rest.len() - plain)..];
        let length = push_escape(&mut decoded, escape)?;
        rest = &rest[plain + length..];
    }
    push_plain(&mut decoded, rest)?;
    Ok(decoded)
}

/// Tells whether Unicode reserves `character` for internal use.
pub(super) fn is_noncharacter(character: char) -> bool {
    let code = u32::from(character);
    (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}

fn push_plain(decoded: &mut String, mut bytes: &[u8]) -> Result<(), String> {
    const MODIFIED_NUL: &[u8] = &[0xC0, 0x80];

    loop {
        let invalid = match str::from_utf8(bytes) {
            Ok(valid) => return push_valid(decoded, valid),
            Err(error) => error.valid_up_to(),
        };
        let (valid, tail) = bytes.split_at(invalid);
        push_valid(decoded, str::from_utf8(valid).expect("the length comes from the error"))?;
        bytes = tail.strip_prefix(MODIFIED_NUL).ok_or_else(invalid_utf8)?;
        decoded.push('\0');
    }
}

fn push_valid(decoded: &mut String, text: &str) -> Result<(), String> {
    if !text.is_ascii() && text.chars().any(is_noncharacter) {
        return Err(invalid_utf8());
    }
    decoded.push_str(text);
    Ok(())
}

fn invalid_utf8() -> String {
    "invalid UTF-8 sequence in string".into()
}

/// Decodes the escape at the front of `bytes` and returns its length.
fn push_escape(decoded: &mut String, bytes: &[u8]) -> Result<usize, String> {
    let character = match bytes[1] {
        b'u' => return push_unicode(decoded, bytes),
        byte @ (b'"' | b'\'' | b'\\' | b'/') => char::from(byte),
        b'b' => '\x08',
        b'f' => '\x0C',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        _ => return Err("invalid escape sequence in string".into()),
    };
    decoded.push(character);
    Ok(2)
}

/// Decodes a `\u` with its four digits, or a pair of them.
fn push_unicode(decoded: &mut String, bytes: &[u8]) -> Result<usize, String> {
    let first = hex(&bytes[2..]);
    let (character, length) = match first {
        Some(high @ 0xD800..=0xDBFF) => (pair(high, bytes.get(6..).unwrap_or_default()), 12),
        Some(code) => (char::from_u32(code), 6),
        None => (None, 6),
    };
    if let Some(character) = character.filter(|&character| !is_noncharacter(character)) {
        decoded.push(character);
        return Ok(length);
    }
    let shown = &bytes[..bytes.len().min(if character.is_some() { length } else { 6 })];
    let shown = String::from_utf8_lossy(shown);
    Err(format!("{shown} is not a valid Unicode character"))
}

/// Combines a leading surrogate with the escape that follows it.
fn pair(high: u32, bytes: &[u8]) -> Option<char> {
    let low = hex(bytes.strip_prefix(b"\\u")?)?;
    if !(0xDC00..=0xDFFF).contains(&low) {
        return None;
    }
    char::from_u32(0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF))
}

/// Reads four hexadecimal digits.
fn hex(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.get(..4)?;
    digits.iter().try_fold(0, |code, &digit| Some((code << 4) | char::from(digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn escapes_stand_for_their_characters() {
        let decoded = decode(br#""\"\'\\\/\b\f\n\r\t\u00e9\uD83D\uDE00\u0000'""#);

        assert_eq!(decoded.as_deref(), Ok("\"'\\/\x08\x0C\n\r\té😀\0'"));
    }

    #[test]
    fn modified_utf_8_spells_nul_in_two_bytes() {
        assert_eq!(decode(b"'a\xC0\x80\xC3\xA9'").as_deref(), Ok("a\0é"));
    }

    #[test]
    fn refused_strings_say_what_qemu_says() {
        let cases: [(&[u8], &str); 12] = [
            (br#""\q""#, "invalid escape sequence in string"),
            (br#""\u12""#, r#"\u12" is not a valid Unicode character"#),
            (br#""\u""#, r#"\u" is not a valid Unicode character"#),
            (br#""\u12g4""#, r"\u12g4 is not a valid Unicode character"),
            (br#""\ud83d""#, r"\ud83d is not a valid Unicode character"),
            (br#""\ud83d\u0041""#, r"\ud83d is not a valid Unicode character"),
            (br#""\udc00""#, r"\udc00 is not a valid Unicode character"),
            (br#""\uD83F\uDFFF""#, r"\uD83F\uDFFF is not a valid Unicode character"),
            (br#""\ufdd0""#, r"\ufdd0 is not a valid Unicode character"),
            (b"\"\xC3\"", "invalid UTF-8 sequence in string"),
            (b"\"\xED\xA0\x80\"", "invalid UTF-8 sequence in string"),
            (b"\"\xEF\xBF\xBF\"", "invalid UTF-8 sequence in string"),
        ];
        for (token, problem) in cases {
            assert_eq!(decode(token), Err(problem.to_owned()));
        }
    }
}
