//! `scripts/test` installs the programs that the tests need: every program or file named in a test must be in its
//! list, or the test fails only on a fresh machine.

use crate::code::File;

/// Calls whose argument is the name of a program, or of a file of a package.
const CALLS: &[&str] = &["have(&[", "Command::new(", "Program::start(", "ran(", "find("];

/// The names in `NEEDED=( … )` of `scripts/test`.
pub fn listed(script: &str) -> Vec<&str> {
    let list = script.split_once("NEEDED=(\n").and_then(|(_, rest)| rest.split_once("\n)"));
    let words = list.map_or("", |(list, _)| list).split_whitespace();
    words.filter_map(|word| word.split_once(':')).map(|(name, _)| name).collect()
}

pub fn missing(file: &File, listed: &[&str]) -> Vec<String> {
    let calls =
        CALLS.iter().flat_map(|call| file.text.match_indices(call).map(|(at, _)| (at, at + call.len())));
    // `text.find(…)` and `rfind` look for something else.
    let calls = calls.filter(|(start, _)| {
        !file.text[..*start].ends_with(|c: char| c.is_alphanumeric() || c == '.' || c == '_')
    });
    let names =
        calls.flat_map(|(start, end)| quoted(&file.text[end..]).into_iter().map(move |name| (start, name)));
    let unknown = names.filter(|(_, name)| !name.is_empty() && !listed.contains(name));
    let line = |at: usize| file.text[..at].matches('\n').count() + 1;
    unknown.map(|(at, name)| file.at(line(at), &format!("{name} is not in NEEDED of scripts/test"))).collect()
}

/// The strings of the list that starts here.
fn quoted(mut rest: &str) -> Vec<&str> {
    let mut found = Vec::new();
    while let Some((name, more)) = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"')) {
        found.push(name);
        match more.trim_start().strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    found
}

#[test]
fn a_program_that_nobody_installs_is_seen() {
    let listed = listed("readonly NEEDED=(\n    cc:build-essential curl:curl\n    /usr/lib/x.so:x\n)\n");
    assert_eq!(listed, ["cc", "curl", "/usr/lib/x.so"]);
    let seen = |code: &str| missing(&File::new("tests/peers/a.rs", code), &listed).len();
    assert_eq!(seen("if !have(&[\"curl\", \"siege\", \"/usr/lib/x.so\"]) {}"), 1);
    assert_eq!(seen("Command::new(\"siege\")"), 1);
    assert_eq!(seen("Program::start(\n\"siege\", &config)"), 1);
    assert_eq!(seen("ran(\"curl\", &[\"-s\"])"), 0, "its arguments are none");
    assert_eq!(seen(concat!("text.fi", "nd(\"siege\"); Command:", ":new(path)")), 0);
}
