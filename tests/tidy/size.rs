//! The ratchet: nothing grows unnoticed. A file over 300 lines (its tests not counted) is listed, over 400 it must be
//! cut; a file of tests at 500, a function at 40, the median function at 12. At most 25 files of `src` have fewer than
//! 40 lines: one subject must not be spread over many files either. Longer functions from before the rule are listed
//! with their length; an entry may be lowered or removed, never raised.

use crate::code::File;

/// Worth a look, and too long.
const LOOK: usize = 300;
const FILE: usize = 400;
const TEST_FILE: usize = 500;
/// How many files may be this short.
const SHORT: usize = 40;
const SHORT_FILES: usize = 25;
const FUNCTION: usize = 40;
const MEDIAN: usize = 12;

/// How much may be saved before the entry has to follow.
const SLACK: usize = 15;

const LONG_FILES: &[(&str, usize)] = &[];

const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[("src/http/status.rs", "reason_phrase", 47)];

/// Files to look at: they are allowed, but long.
pub fn long(files: &[File]) -> Vec<String> {
    let long = files.iter().filter(|file| !is_test(&file.path) && (LOOK + 1..=FILE).contains(&file.lines()));
    long.map(|file| format!("{}: {} lines", file.path, file.lines())).collect()
}

pub fn short(files: &[File]) -> Vec<String> {
    let lines = |file: &File| file.text.lines().count();
    let short: Vec<&File> = files.iter().filter(|file| lines(file) < SHORT).collect();
    if short.len() <= SHORT_FILES {
        return Vec::new();
    }
    let what = format!("{} files under {SHORT} lines, at most {SHORT_FILES}: merge some", short.len());
    let list = short.iter().map(|file| format!("{}: {} lines", file.path, lines(file)));
    std::iter::once(what).chain(list).collect()
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/")
}

pub fn too_long(file: &File) -> Vec<String> {
    let listed = LONG_FILES.iter().find(|(path, _)| *path == file.path).map(|(_, lines)| *lines);
    let long = ratchet("this file", file.lines(), if is_test(&file.path) { TEST_FILE } else { FILE }, listed);
    let functions = file.functions().into_iter().filter_map(|function| {
        let what =
            ratchet(function.name, function.lines, FUNCTION, listed_function(&file.path, function.name));
        Some(file.at(function.line, &what?))
    });
    long.map(|what| file.at(1, &what)).into_iter().chain(functions).collect()
}

fn listed_function(path: &str, name: &str) -> Option<usize> {
    LONG_FUNCTIONS
        .iter()
        .find(|(file, function, _)| *file == path && *function == name)
        .map(|(.., lines)| *lines)
}

fn ratchet(name: &str, lines: usize, limit: usize, listed: Option<usize>) -> Option<String> {
    match listed {
        None if lines > limit => Some(format!("{name} has {lines} lines, at most {limit}: cut it")),
        Some(_) if lines <= limit => Some(format!("{name} has only {lines} lines: take it off the ratchet")),
        Some(before) if lines > before => Some(format!("{name} grew from {before} to {lines} lines: cut it")),
        Some(before) if lines + SLACK < before => Some(format!("{name} shrank: lower its entry to {lines}")),
        _ => None,
    }
}

/// Entries of files and functions that are gone.
pub fn gone(files: &[File]) -> Vec<String> {
    let file = |path: &str| files.iter().find(|file| file.path == path);
    let gone_files =
        LONG_FILES.iter().filter(|(path, _)| file(path).is_none()).map(|(path, _)| path.to_string());
    let has = |path: &str, name: &str| {
        file(path).is_some_and(|file| file.functions().iter().any(|function| function.name == name))
    };
    let gone = LONG_FUNCTIONS.iter().filter(|(path, name, _)| !has(path, name));
    let gone = gone.map(|(path, name, _)| format!("{path}: {name}"));
    gone_files.chain(gone).map(|what| format!("{what} is gone: take it off the ratchet")).collect()
}

pub fn median(files: &[File]) -> Vec<String> {
    let functions = files.iter().flat_map(|file| file.functions());
    let mut lengths: Vec<usize> = functions.map(|function| function.lines).collect();
    lengths.sort_unstable();
    let median = lengths.get(lengths.len() / 2).copied().unwrap_or(0);
    let what = format!("the median function has {median} lines, at most {MEDIAN}: cut the long ones");
    if median > MEDIAN { vec![what] } else { Vec::new() }
}

#[cfg(test)]
fn function_of(lines: usize) -> String {
    format!("fn long() {{\n{}}}\n", "    step();\n".repeat(lines - 2))
}

#[test]
fn a_file_and_a_function_that_are_too_long_are_seen() {
    let seeded = |path: &str, text: &str| too_long(&File::new(path, text)).len();
    assert_eq!(seeded("src/a/b.rs", &"\n".repeat(FILE)), 0);
    assert_eq!(seeded("src/a/b.rs", &"\n".repeat(FILE + 1)), 1);
    assert_eq!(seeded("tests/b.rs", &"\n".repeat(FILE + 1)), 0);
    assert_eq!(seeded("tests/b.rs", &"\n".repeat(TEST_FILE + 1)), 1);
    assert_eq!(seeded("src/a/b.rs", &function_of(FUNCTION)), 0);
    assert_eq!(seeded("src/a/b.rs", &function_of(FUNCTION + 1)), 1);
    assert_eq!(seeded("src/a/tests/b.rs", &function_of(FUNCTION + 1)), 0, "a table of cases may be long");
    assert!(long(&[File::new("src/a/b.rs", &"\n".repeat(LOOK))]).is_empty());
    assert_eq!(long(&[File::new("src/a/b.rs", &"\n".repeat(LOOK + 1))]).len(), 1);
    let with_tests = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(FILE), "\n".repeat(FILE));
    assert_eq!(seeded("src/a/b.rs", &with_tests), 0);
}

#[test]
fn an_entry_of_the_ratchet_can_only_go_down() {
    assert!(ratchet("x", 400, 300, Some(400)).is_none());
    assert!(ratchet("x", 390, 300, Some(400)).is_none());
    assert!(ratchet("x", 401, 300, Some(400)).unwrap().contains("grew"));
    assert!(ratchet("x", 380, 300, Some(400)).unwrap().contains("lower"));
    assert!(ratchet("x", 300, 300, Some(400)).unwrap().contains("take it off"));
    assert_eq!(gone(&[]).len(), LONG_FILES.len() + LONG_FUNCTIONS.len());
}

#[test]
fn long_functions_everywhere_are_seen() {
    let of = |lines| File::new("src/a/b.rs", &function_of(lines));
    assert!(median(&[of(MEDIAN), of(30), of(3)]).is_empty());
    assert_eq!(median(&[of(MEDIAN + 1), of(30), of(3)]).len(), 1);
}

#[test]
fn too_many_short_files_are_seen() {
    let files = |lines: usize| {
        (0..=SHORT_FILES).map(|n| File::new(&format!("src/{n}.rs"), &"\n".repeat(lines))).collect::<Vec<_>>()
    };
    assert_eq!(short(&files(SHORT - 1)).len(), SHORT_FILES + 2, "the reason and the list");
    assert!(short(&files(SHORT - 1)[1..]).is_empty() && short(&files(SHORT)).is_empty());
}
