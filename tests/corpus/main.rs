//! The corpus: every rule of HTTP/1 that a parser could get wrong, one file a case, fed to the codecs in
//! every way its bytes can arrive. What is accepted is also forwarded and decoded on the other side.

use rsp::{h1, http};

mod case;
#[path = "../../src/h1/tests/feed.rs"]
mod feed;
mod forward;
mod second_reading;

use case::{Case, ascii, is_event};
use feed::{Appetite, Codec, Feed, Seen};

/// Longer cases are split into parts of some sizes instead of at every byte: the work is quadratic.
const SHORT: usize = 700;

/// All cases. Exact, so that none is lost unnoticed: raise it with each new one.
const CASES: usize = 895;

/// The folders of the corpus; each has its test below.
const FAMILIES: [&str; 26] = [
    "chunk-end",
    "chunk-extension",
    "chunk-size",
    "connection",
    "content-length",
    "field-lines",
    "host",
    "interim",
    "lenient",
    "limits",
    "line-ends",
    "no-length",
    "pipelining",
    "request-line",
    "response-bodiless",
    "response-chunked",
    "response-fields",
    "response-length",
    "response-line",
    "switch",
    "target",
    "trailers",
    "transfer-encoding",
    "two-lengths",
    "upgrade",
    "version",
];

fn codec(case: &Case) -> Codec {
    match case.asked.as_deref() {
        None => Codec::server(),
        Some(asked) if case.strict => Codec::strict_client(asked),
        Some(asked) => Codec::client(asked),
    }
}

/// The events in the notation of a case.
fn events(case: &Case, seen: &[Seen]) -> Vec<String> {
    let words = |seen: &Seen| match seen {
        Seen::Fault(fault @ (http::Fault::CutHead | http::Fault::CutBody)) => format!("cut {fault:?}"),
        Seen::Fault(fault) if case.asked.is_some() => format!("refused 502 {fault:?}"),
        Seen::Fault(fault) => format!("refused {} {fault:?}", fault.request_status()),
        seen => seen.words(),
    };
    seen.iter().map(|seen| ascii(&words(seen))).collect()
}

fn run(family: &str) {
    for case in case::family(family) {
        let shown = case.path.display().to_string();
        let outcome = std::panic::catch_unwind(|| check(&case));
        assert!(outcome.is_ok(), "{shown} ({})", case.rule);
    }
}

fn check(case: &Case) {
    let whole = feed::in_parts(codec(case), Appetite::of_room(usize::MAX), &[&case.bytes], true);
    let seen = events(case, &whole.seen);
    let same = seen.len() == case.events.len() && seen.iter().zip(&case.events).all(|(s, e)| is_event(s, e));
    assert!(same, "seen: {seen:#?}, expected: {:#?}", case.events);
    let line = whole.line();
    if case.bytes.len() <= SHORT {
        feed::check(|| codec(case), &case.bytes, &line);
    } else {
        in_parts_of_some_sizes(case, &line);
    }
    for room in 1..=case.bytes.len().min(128) {
        let feed = feed::in_parts(codec(case), Appetite::of_room(room), &[&case.bytes], true);
        assert_eq!(feed.line(), line, "with room for {room} bytes");
    }
    forwarded(case);
}

fn in_parts_of_some_sizes(case: &Case, line: &str) {
    for size in [4093, 257, 16, 1] {
        let parts: Vec<&[u8]> = case.bytes.chunks(size).collect();
        let feed = feed::in_parts(codec(case), Appetite::of_room(4096), &parts, true);
        assert_eq!(feed.line(), line, "in parts of {size} bytes");
    }
    for cut in (0..case.bytes.len()).step_by(97) {
        let feed: Feed = feed::in_parts(codec(case), Appetite::of_room(4096), &[&case.bytes[..cut]], true);
        assert!(feed.line() != line || !line.ends_with("end"), "a clean end after {cut} bytes");
    }
}

fn forwarded(case: &Case) {
    if let Some(asked) = &case.asked {
        return forward::responses(asked, case.strict, &case.bytes);
    }
    let messages = forward::requests(&case.bytes, true);
    let ends = case.events.iter().filter(|event| *event == "end").count();
    assert_eq!(messages.len(), ends, "every whole request is forwarded, and no other");
    assert_eq!(forward::requests(&case.bytes, false).len(), ends, "with or without trailers");
    if let Some(shown) = &case.forwards {
        let sent: Vec<String> = messages.iter().map(|message| without_our_fields(message)).collect();
        assert_eq!(sent.concat(), forward::shown(shown), "what is forwarded");
    }
}

/// Removes the fields that rsp adds to every request.
fn without_our_fields(message: &[u8]) -> String {
    let text = forward::shown(message);
    let ours = ["X-Forwarded-Proto: ", "X-Forwarded-Host: ", "X-Request-ID: "];
    let lines = text.split_inclusive("\r\n").filter(|line| !ours.iter().any(|name| line.starts_with(name)));
    lines.collect()
}

#[test]
fn every_folder_has_its_test_and_no_case_is_lost() {
    assert_eq!(case::families(), FAMILIES);
    let cases: Vec<Case> = FAMILIES.iter().flat_map(|family| case::family(family)).collect();
    assert_eq!(cases.len(), CASES, "cases");
    for case in &cases {
        assert!(case.rule.contains("RFC 9"), "{}: a rule names its section", case.path.display());
    }
}

#[test]
fn no_two_cases_are_the_same_bytes() {
    let mut seen = std::collections::HashMap::new();
    for case in FAMILIES.iter().flat_map(|family| case::family(family)) {
        let key = (case.asked.clone(), case.strict, case.bytes.clone());
        if let Some(other) = seen.insert(key, case.path.clone()) {
            panic!("{} and {} are the same", other.display(), case.path.display());
        }
    }
}

#[test]
fn the_text_of_a_case_becomes_bytes() {
    let bytes = case::unescape("a\\r\\n\nb\\t\\0\\\\\\x7f\\xc3\n\\(3*xy)z").unwrap();
    assert_eq!(bytes, b"a\r\nb\t\0\\\x7f\xc3xyxyxyz");
    for wrong in ["\\q", "\\x1", "\\(3x)", "\\(x*y)", "trailing ", "tab\t", "\u{e4}", "\\"] {
        assert!(case::unescape(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn chunks_end_in_cr_lf() {
    run("chunk-end");
}

#[test]
fn chunk_extensions_are_bounded_and_hide_nothing() {
    run("chunk-extension");
}

#[test]
fn chunk_sizes_are_hex_digits() {
    run("chunk-size");
}

#[test]
fn connection_options_are_hop_by_hop() {
    run("connection");
}

#[test]
fn a_content_length_is_digits_once() {
    run("content-length");
}

#[test]
fn field_lines_have_one_grammar() {
    run("field-lines");
}

#[test]
fn a_request_has_one_host() {
    run("host");
}

#[test]
fn interim_responses_come_before_the_final_one() {
    run("interim");
}

#[test]
fn deviations_of_servers_with_one_reading_are_accepted() {
    run("lenient");
}

#[test]
fn everything_a_sender_can_repeat_is_bounded() {
    run("limits");
}

#[test]
fn lines_end_in_cr_lf() {
    run("line-ends");
}

#[test]
fn a_request_without_a_length_has_no_body() {
    run("no-length");
}

#[test]
fn requests_follow_one_another() {
    run("pipelining");
}

#[test]
fn a_request_line_has_three_parts() {
    run("request-line");
}

#[test]
fn some_responses_have_no_body() {
    run("response-bodiless");
}

#[test]
fn chunked_responses_are_read_as_strictly() {
    run("response-chunked");
}

#[test]
fn response_fields_have_one_grammar() {
    run("response-fields");
}

#[test]
fn a_response_has_one_length() {
    run("response-length");
}

#[test]
fn a_status_line_has_three_digits() {
    run("response-line");
}

#[test]
fn a_101_is_the_one_that_was_asked_for() {
    run("switch");
}

#[test]
fn a_target_has_one_of_four_forms() {
    run("target");
}

#[test]
fn trailers_are_fields_of_their_own() {
    run("trailers");
}

#[test]
fn a_transfer_encoding_is_chunked() {
    run("transfer-encoding");
}

#[test]
fn two_lengths_are_refused() {
    run("two-lengths");
}

#[test]
fn only_a_websocket_upgrade_is_one() {
    run("upgrade");
}

#[test]
fn the_version_is_1_0_or_1_1() {
    run("version");
}
