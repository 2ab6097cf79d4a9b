//! The streaming parser for QMP's JSON dialect.
//!
//! Bytes in, values or errors out, one per call, with the input cut wherever the socket cut it.
//! Values follow each other without separators. The parser holds the value that is being built and
//! the counts that bound it; it never holds the tokens.
//!
//! When it reports is part of the protocol, because clients count answers. A stray byte is
//! reported at once and everything read so far is forgotten. A mistake in the grammar is
//! reported when its brackets are balanced again, or when one closes that was never opened,
//! and only the first mistake counts.
//!
//! Two answers of QEMU are not repeated here. A number beyond the range of `f64` is an error
//! (QEMU goes on with an infinity and writes `inf`, which is not JSON). An integer beyond 64
//! bits becomes the nearest `f64` as in QEMU, but is told apart from an integer by its type.
//!
//! Any thread; no input or output of its own; relies on `lexer` and `string`.

#![forbid(unsafe_code)]

use serde_json::Value;

use super::error::Error;
use super::lexer::{Kind, Lexer};
use builder::Builder;

mod builder;
#[cfg(test)]
mod tests;

/// What one value may cost. QEMU's figures are the [`Default`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes in all tokens of a value together, and in any one token.
    pub(super) bytes: usize,
    /// Tokens in a value.
    pub(super) tokens: usize,
    /// Brackets and braces open at a time.
    pub(super) depth: i32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 20, tokens: 2 << 20, depth: 1 << 10 }
    }
}

/// Turns a stream of bytes into values.
#[derive(Debug)]
pub(super) struct Parser {
    limits: Limits,
    lexer: Lexer,
    message: Message,
}

/// The value that is being read, and what it has cost so far.
#[derive(Debug, Default)]
struct Message {
    builder: Builder,
    bytes: usize,
    tokens: usize,
    braces: i32,
    brackets: i32,
}

impl Parser {
    /// Returns a parser at the beginning of a stream.
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, lexer: Lexer::new(limits.bytes), message: Message::default() }
    }

    /// Takes bytes from the front of `input` until a value, or a mistake, is complete.
    ///
    /// Returns `None` when the input is used up. What lies behind the value stays in `input`.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Option<Result<Value, Error>> {
        while let Some(kind) = self.lexer.next(input) {
            let verdict = self.message.check(kind, self.lexer.text(), &self.limits);
            if let Err(error) = verdict {
                self.message = Message::default();
                return Some(Err(error));
            }
            self.message.builder.push(kind, self.lexer.text());
            if self.message.is_over() {
                return Some(std::mem::take(&mut self.message).builder.finish());
            }
        }
        None
    }
}

impl Message {
    /// Counts a token; refuses it if it is no token, or one too many.
    fn check(&mut self, kind: Kind, text: &[u8], limits: &Limits) -> Result<(), Error> {
        match kind {
            Kind::ObjectStart => self.braces += 1,
            Kind::ObjectEnd => self.braces -= 1,
            Kind::ArrayStart => self.brackets += 1,
            Kind::ArrayEnd => self.brackets -= 1,
            Kind::Stray => return Err(Error::stray(&printable(text))),
            _ => {}
        }
        self.bytes += text.len();
        self.tokens += 1;
        if kind == Kind::Oversized || self.bytes >= limits.bytes {
            return Err(Error::generic("JSON token size limit exceeded"));
        }
        if self.tokens > limits.tokens {
            return Err(Error::generic("JSON token count limit exceeded"));
        }
        if self.braces + self.brackets > limits.depth {
            return Err(Error::generic("JSON nesting depth limit exceeded"));
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let balanced = self.braces == 0 && self.brackets == 0;
        balanced || self.braces < 0 || self.brackets < 0
    }
}

/// Returns the text of a token for an error, as far as a C string would show it.
fn printable(token: &[u8]) -> String {
    let shown = token.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(shown).into_owned()
}
