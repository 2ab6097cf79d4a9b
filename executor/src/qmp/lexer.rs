//! The lexer for QMP's JSON dialect.
//!
//! It owns the unfinished token between two reads, so input may be cut anywhere, even inside an
//! escape. One call takes bytes from the front of the input until one token is complete; the
//! bytes behind that token are not looked at, because whoever drives the monitor may have to stop
//! reading there.
//!
//! The dialect is JSON plus single-quoted strings. The lexer only finds the ends of tokens: what a
//! keyword or an escape means, and whether a string is UTF-8, is for the parser to say.
//!
//! A byte that cannot continue a token is an error and puts the lexer in recovery: it skips
//! until a structural character, a control character other than tab, or a byte that UTF-8 never
//! has (0xFE, 0xFF). A client that has lost its place sends one of those and is in step again.
//!
//! Any thread; no input or output of its own; relies on nothing.

#![forbid(unsafe_code)]

/// What kind of token [`Lexer::next`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `{`
    ObjectStart,
    /// `}`
    ObjectEnd,
    /// `[`
    ArrayStart,
    /// `]`
    ArrayEnd,
    /// `:`
    Colon,
    /// `,`
    Comma,
    /// Digits with an optional minus.
    Integer,
    /// A number with a fraction or an exponent.
    Float,
    /// Lower-case letters.
    Keyword,
    /// A string with its quotes.
    String,
    /// Bytes that begin no token; the last one is the culprit.
    Stray,
    /// A token beyond the size limit.
    Oversized,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Recovery,
    Text { quote: u8 },
    Escape { quote: u8 },
    Sign,
    Zero,
    Digits,
    Point,
    Fraction,
    ExponentMark,
    ExponentSign,
    Exponent,
    Keyword,
}

/// What one byte does to the lexer.
enum Step {
    /// The byte belongs to the token, which goes on.
    Continue(State),
    /// The byte ends the token and belongs to it.
    EndWith(Kind),
    /// The token ended before this byte.
    EndBefore(Kind),
    /// The byte is white space, or skipped garbage.
    Skip,
    /// The byte ends recovery and is read again.
    Restart,
}

/// Cuts a stream of bytes into tokens.
#[derive(Debug)]
pub(super) struct Lexer {
    state: State,
    text: Vec<u8>,
    /// Whether `text` belongs to a token that was handed out already.
    handed_out: bool,
    limit: usize,
}

impl Lexer {
    /// Returns a lexer that refuses tokens of more than `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { state: State::Start, text: Vec::new(), handed_out: false, limit }
    }

    /// Takes bytes from the front of `input` until a token is complete.
    ///
    /// Returns `None` when the input is used up. The bytes of the token are in [`text`](Self::text)
    /// until the next call.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Option<Kind> {
        if self.handed_out {
            self.forget_text();
        }
        loop {
            self.take_plain_text(input);
            let next = input.split_first();
            let kind = next.and_then(|(&byte, rest)| self.take(byte, rest, input));
            let kind = self.refuse_oversized().or(kind);
            if kind.is_some() || next.is_none() {
                self.handed_out = kind.is_some();
                return kind;
            }
        }
    }

    /// Returns the bytes of the token that [`next`](Self::next) returned last.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    fn take<'i>(&mut self, byte: u8, rest: &'i [u8], input: &mut &'i [u8]) -> Option<Kind> {
        let step = step(self.state, byte);
        if !matches!(step, Step::EndBefore(_) | Step::Restart) {
            *input = rest;
        }
        match step {
            Step::Continue(state) => {
                self.text.push(byte);
                self.state = state;
                None
            }
            Step::EndWith(kind) => {
                self.text.push(byte);
                self.state = if kind == Kind::Stray { State::Recovery } else { State::Start };
                Some(kind)
            }
            Step::EndBefore(kind) => {
                self.state = State::Start;
                Some(kind)
            }
            Step::Skip => None,
            Step::Restart => {
                self.state = State::Start;
                None
            }
        }
    }

    /// Moves the run of ordinary characters of a string, which is most of any large input, at once.
    fn take_plain_text(&mut self, input: &mut &[u8]) {
        let State::Text { quote } = self.state else { return };
        let room = (self.limit + 1).saturating_sub(self.text.len());
        let run = input
            .iter()
            .take(room)
            .take_while(|&&byte| byte != quote && byte != b'\\' && matches!(byte, 0x20..=0xFD))
            .count();
        let (plain, rest) = input.split_at(run);
        self.text.extend_from_slice(plain);
        *input = rest;
    }

    fn refuse_oversized(&mut self) -> Option<Kind> {
        if self.text.len() <= self.limit {
            return None;
        }
        self.state = State::Start;
        Some(Kind::Oversized)
    }

    /// Clears the buffer, and gives a large one back: an idle monitor keeps no megabytes.
    fn forget_text(&mut self) {
        const KEPT: usize = 4096;

        self.text.clear();
        self.text.shrink_to(KEPT);
        self.handed_out = false;
    }
}

fn step(state: State, byte: u8) -> Step {
    match state {
        State::Start => start(byte),
        State::Recovery => recover(byte),
        State::Text { quote } => text(quote, byte),
        State::Escape { quote } => match byte {
            0x20..=0xFD => Step::Continue(State::Text { quote }),
            _ => Step::EndWith(Kind::Stray),
        },
        State::Keyword => match byte {
            b'a'..=b'z' => Step::Continue(State::Keyword),
            _ => Step::EndBefore(Kind::Keyword),
        },
        _ => number(state, byte),
    }
}

fn start(byte: u8) -> Step {
    match byte {
        b' ' | b'\t' | b'\r' | b'\n' => Step::Skip,
        b'{' => Step::EndWith(Kind::ObjectStart),
        b'}' => Step::EndWith(Kind::ObjectEnd),
        b'[' => Step::EndWith(Kind::ArrayStart),
        b']' => Step::EndWith(Kind::ArrayEnd),
        b':' => Step::EndWith(Kind::Colon),
        b',' => Step::EndWith(Kind::Comma),
        b'"' | b'\'' => Step::Continue(State::Text { quote: byte }),
        b'-' => Step::Continue(State::Sign),
        b'0' => Step::Continue(State::Zero),
        b'1'..=b'9' => Step::Continue(State::Digits),
        b'a'..=b'z' => Step::Continue(State::Keyword),
        _ => Step::EndWith(Kind::Stray),
    }
}

fn recover(byte: u8) -> Step {
    match byte {
        b'{' | b'}' | b'[' | b']' | b':' | b',' | 0xFE..=0xFF => Step::Restart,
        b'\t' => Step::Skip,
        0..=0x1F => Step::Restart,
        _ => Step::Skip,
    }
}

fn text(quote: u8, byte: u8) -> Step {
    match byte {
        b'\\' => Step::Continue(State::Escape { quote }),
        _ if byte == quote => Step::EndWith(Kind::String),
        0x20..=0xFD => Step::Continue(State::Text { quote }),
        _ => Step::EndWith(Kind::Stray),
    }
}

fn number(state: State, byte: u8) -> Step {
    match (state, byte) {
        (State::Sign, b'0') => Step::Continue(State::Zero),
        (State::Sign, b'1'..=b'9') => Step::Continue(State::Digits),
        (State::Zero, b'0'..=b'9') => Step::EndWith(Kind::Stray),
        (State::Zero | State::Digits, b'.') => Step::Continue(State::Point),
        (State::Digits, b'0'..=b'9') => Step::Continue(State::Digits),
        (State::Digits | State::Fraction, b'e' | b'E') => Step::Continue(State::ExponentMark),
        (State::Zero | State::Digits, _) => Step::EndBefore(Kind::Integer),
        (State::Point | State::Fraction, b'0'..=b'9') => Step::Continue(State::Fraction),
        (State::ExponentMark, b'+' | b'-') => Step::Continue(State::ExponentSign),
        (State::ExponentMark | State::ExponentSign | State::Exponent, b'0'..=b'9') => {
            Step::Continue(State::Exponent)
        }
        (State::Fraction | State::Exponent, _) => Step::EndBefore(Kind::Float),
        _ => Step::EndWith(Kind::Stray),
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Lexer};

    /// Lexes `input` in pieces of `size` bytes.
    fn lex(input: &[u8], size: usize) -> Vec<(Kind, Vec<u8>)> {
        let mut lexer = Lexer::new(16);
        let mut tokens = Vec::new();
        for mut piece in input.chunks(size) {
            while let Some(kind) = lexer.next(&mut piece) {
                tokens.push((kind, lexer.text().to_vec()));
            }
        }
        tokens
    }

    #[test]
    fn tokens_do_not_depend_on_where_the_input_is_cut() {
        let input = b"{'a\\'\xC3\xA9':[-1.5e+7,0,true]}\xFFxx\n\"\\\\\" 12 01 [12345678901234567 ";

        let whole = lex(input, usize::MAX);

        assert_eq!(whole.len(), 17);
        for size in 1..input.len() {
            assert_eq!(lex(input, size), whole, "pieces of {size} bytes");
        }
    }

    #[test]
    fn the_bytes_behind_a_token_are_left_in_the_input() {
        let mut lexer = Lexer::new(16);
        let mut input: &[u8] = b" { 'a'";

        assert_eq!(lexer.next(&mut input), Some(Kind::ObjectStart));
        assert_eq!(input, b" 'a'");
    }

    #[test]
    fn recovery_skips_to_a_structural_character_and_gives_it_back() {
        assert_eq!(
            lex(b"@ abc \"x\" [", 99),
            [(Kind::Stray, b"@".to_vec()), (Kind::ArrayStart, b"[".to_vec()),]
        );
    }

    #[test]
    fn a_token_one_byte_beyond_the_limit_is_oversized() {
        let fits = b"\"12345678901234\"";
        let beyond = b"\"123456789012345\"";

        assert_eq!(lex(fits, 99), [(Kind::String, fits.to_vec())]);
        for size in [1, 3, 99] {
            assert_eq!(lex(beyond, size), [(Kind::Oversized, beyond.to_vec())]);
        }
    }
}
