//! Small rules: a file says why it exists, a lint is switched off with a reason, nothing is left half done, and the
//! program neither panics nor prints directly (errors are values, text goes through the log).

use crate::code::File;

/// Split, so that this file does not contain them.
const LEFTOVERS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
    concat!("dbg", "!"),
    concat!("todo", "!"),
    concat!("unimplemented", "!"),
];

const IN_PASSING: &[&str] =
    &[".unwrap()", ".unwrap_err()", "panic!", "unreachable!", "println!", "print!", "eprintln!", "eprint!"];

pub fn of_all(file: &File) -> Vec<String> {
    let opening =
        (!file.text.starts_with("//! ")).then(|| file.at(1, "does not open with why it exists (//!)"));
    let left = |word: &&str| File::lines_with(&file.text, word);
    let left = LEFTOVERS.iter().flat_map(|word| left(word).into_iter().map(move |line| (line, word)));
    let left = left.map(|(line, word)| file.at(line, &format!("{word} is left in it")));
    opening.into_iter().chain(left).chain(silenced(file)).collect()
}

/// `#[allow(…)]` and `#[expect(…)]` without `reason = "…"`.
fn silenced(file: &File) -> Vec<String> {
    let attribute = |name: &str| file.code.match_indices(name).map(|(at, _)| at).collect::<Vec<_>>();
    let starts = [attribute("[allow("), attribute("[expect(")].concat();
    let bare = starts.into_iter().filter(|at| {
        let rest = &file.code[*at..];
        !rest[..rest.find(']').unwrap_or(rest.len())].contains("reason =")
    });
    let line = |at: usize| file.code[..at].matches('\n').count() + 1;
    bare.map(|at| file.at(line(at), "a lint is switched off without `reason = \"…\"`")).collect()
}

pub fn of_the_program(file: &File) -> Vec<String> {
    let found = IN_PASSING
        .iter()
        .flat_map(|word| File::lines_with(&file.shipped, word).into_iter().map(move |line| (line, word)));
    found.map(|(line, word)| file.at(line, &format!("{word} outside tests"))).collect()
}

#[test]
fn a_file_without_opening_a_leftover_and_a_silenced_lint_are_seen() {
    let seeded = |text: &str| of_all(&File::new("src/a/b.rs", text)).len();
    assert_eq!(seeded("//! Why.\nuse a::b;\n"), 0);
    assert_eq!(seeded("use a::b;\n"), 1);
    for word in LEFTOVERS {
        assert_eq!(seeded(&format!("//! Why.\n// {word} later\n")), 1, "{word}");
    }
    assert_eq!(seeded("//! Why.\n#[allow(dead_code)]\nfn f() {}\n"), 1);
    assert_eq!(seeded("//! Why.\n#![expect(\n    dead_code,\n)]\n"), 1);
    assert_eq!(seeded("//! Why.\n#[allow(dead_code, reason = \"used by some\")]\nfn f() {}\n"), 0);
}

#[test]
fn a_program_that_panics_or_prints_in_passing_is_seen() {
    let seeded = |text: &str| of_the_program(&File::new("src/a/b.rs", text)).len();
    for word in ["x.unwrap();", "panic!(\"no\");", "unreachable!();", "println!(\"x\");", "eprintln!(\"x\");"]
    {
        assert_eq!(seeded(&format!("fn f() {{\n    {word}\n}}\n")), 1, "{word}");
        assert_eq!(seeded(&format!("#[cfg(test)]\nmod tests {{\n    {word}\n}}\n")), 0, "{word}");
    }
    assert_eq!(seeded("let a = b.unwrap_or(c); // x.unwrap()\n"), 0);
}
