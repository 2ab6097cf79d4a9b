//! The parser against QEMU's answers, its limits, and every way to cut the input.

use serde_json::{Value, json};

use super::{Limits, Parser};

fn parse_pieces(input: &[u8], size: usize, limits: Limits) -> Vec<Result<Value, String>> {
    let mut parser = Parser::new(limits);
    let mut items = Vec::new();
    for mut piece in input.chunks(size) {
        while let Some(item) = parser.next(&mut piece) {
            items.push(item.map_err(|error| error.to_string()));
        }
    }
    items
}

fn parse(input: &[u8]) -> Vec<Result<Value, String>> {
    parse_pieces(input, usize::MAX, Limits::default())
}

/// The problem of the only item, which is a parse error.
fn problem(input: &str) -> String {
    let items = parse(input.as_bytes());
    let [Err(error)] = items.as_slice() else { panic!("{input} gives {items:?}") };
    error.strip_prefix("JSON parse error, ").expect("the prefix is there").to_owned()
}

#[test]
fn values_follow_each_other_without_separators() {
    let items = parse(br#"{"a":1}{'b':[]}[true,null]"x" -5 "#);

    let values: Vec<Value> = items.into_iter().map(|item| item.expect("a value")).collect();
    assert_eq!(
        values,
        [json!({"a": 1}), json!({"b": []}), json!([true, null]), json!("x"), json!(-5),]
    );
}

#[test]
fn numbers_keep_64_bits_before_they_become_floats() {
    let items = parse(
        b"[9223372036854775807,18446744073709551615,-9223372036854775808,18446744073709551616,-0,2.5]",
    );

    assert_eq!(items, [Ok(json!([i64::MAX, u64::MAX, i64::MIN, 18446744073709551616.0, 0, 2.5]))]);
}

#[test]
fn a_number_beyond_floats_is_refused() {
    assert_eq!(problem("[1e400]"), "number '1e400' is out of range");
    assert_eq!(problem("[-1e400]"), "number '-1e400' is out of range");
}

#[test]
fn the_first_mistake_is_told_as_qemu_tells_it() {
    let cases = [
        ("{1:2}", "key is not a string in object"),
        ("{{}:2}", "key is not a string in object"),
        ("{nope:2}", "invalid keyword 'nope'"),
        (r#"{"a" "b"}"#, "missing : in object pair"),
        (r#"{"a"}"#, "missing : in object pair"),
        (r#"{"a":1 "b":2}"#, "expected separator in dict"),
        (r#"{"a":1]"#, "expected separator in dict"),
        (r#"{"a":1,}"#, "expecting value"),
        (r#"{"a":}"#, "expecting value"),
        ("{,}", "expecting value"),
        ("[1,]", "expecting value"),
        ("[1 2]", "expected separator in list"),
        ("[1}", "expected separator in list"),
        ("[{]}", "expecting value"),
        ("{[}]", "expecting value"),
        ("}", "expecting value"),
        (":", "expecting value"),
        (r#"{"a":1,"a":2}"#, "duplicate key"),
        (r#"{"a":1,"a":nope}"#, "invalid keyword 'nope'"),
        (r#"{"a":nope,"b":"\q"}"#, "invalid keyword 'nope'"),
    ];
    for (input, expected) in cases {
        assert_eq!(problem(input), expected, "{input}");
    }
}

#[test]
fn a_stray_byte_makes_the_parser_forget_what_came_before() {
    let items = parse(b"{\"a\": [\xFF{\"b\": 1}");

    assert_eq!(items, [Err("JSON parse error, stray '\u{FFFD}'".to_owned()), Ok(json!({"b": 1})),]);
}

#[test]
fn a_long_problem_is_cut_where_qemu_cuts_it() {
    let keyword = "a".repeat(2000) + "\n";

    let problem = problem(&keyword);

    assert_eq!(problem.len(), 1023);
    assert!(problem.starts_with("invalid keyword 'aaa"));
}

#[test]
fn the_depth_limit_ends_the_message_at_the_offending_bracket() {
    let limits = Limits { depth: 3, ..Limits::default() };

    assert_eq!(parse_pieces(b"[[[]]]", 9, limits), [Ok(json!([[[]]]))]);
    assert_eq!(
        parse_pieces(b"[{'a':[[ ] 1 ", 99, limits),
        [
            Err("JSON nesting depth limit exceeded".to_owned()),
            Err("JSON parse error, expecting value".to_owned()),
            Ok(json!(1)),
        ]
    );
}

#[test]
fn the_depth_limit_is_the_one_of_qemu() {
    let nested = |depth| ["[".repeat(depth), "]".repeat(depth)].concat();

    assert!(parse(nested(1024).as_bytes())[0].is_ok());
    assert!(parse(nested(1025).as_bytes())[0].is_err());
}

#[test]
fn the_token_limit_counts_every_token_of_a_message() {
    let limits = Limits { tokens: 5, ..Limits::default() };

    assert_eq!(parse_pieces(b"[1,2][3]", 9, limits), [Ok(json!([1, 2])), Ok(json!([3]))]);
    assert_eq!(
        parse_pieces(b"[1,2,3 4 ", 9, limits),
        [Err("JSON token count limit exceeded".to_owned()), Ok(json!(4)),]
    );
}

#[test]
fn the_size_limit_counts_the_bytes_of_all_tokens() {
    let limits = Limits { bytes: 8, ..Limits::default() };

    assert_eq!(parse_pieces(b"[ 'ab' ]", 9, limits), [Ok(json!(["ab"]))]);
    assert_eq!(parse_pieces(b"['ab', ", 9, limits), []);
    assert_eq!(
        parse_pieces(b"['abcde'", 9, limits),
        [Err("JSON token size limit exceeded".to_owned())]
    );
}

#[test]
fn an_oversized_token_is_reported_before_it_ends() {
    let limits = Limits { bytes: 8, ..Limits::default() };

    assert_eq!(
        parse_pieces(b"'aaaaaaaaaaaa", 3, limits),
        [Err("JSON token size limit exceeded".to_owned())]
    );
}

#[test]
fn what_comes_out_does_not_depend_on_where_the_input_is_cut() {
    let input = b"{'a':\"\\u00e9\xC3\xA9\",'b':[1,2.5e3,{}]}[}\x01x{'c':nope}\xFF\xFF{}{'d':'\\ud83d\\ude00'}";

    let whole = parse(input);

    assert_eq!(whole.len(), 8);
    for size in 1..input.len() {
        assert_eq!(parse_pieces(input, size, Limits::default()), whole, "pieces of {size} bytes");
    }
}
