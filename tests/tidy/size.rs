//! The ratchet: nothing grows unnoticed. A file stays below 300 lines (its tests not counted), a file of tests
//! below 500, a function below 40, the median function below 13. What was longer when this rule came is listed
//! with its length; an entry may be lowered or taken out, never raised: cut the file instead.

use crate::code::File;

const FILE: usize = 300;
const TEST_FILE: usize = 500;
const FUNCTION: usize = 40;
const MEDIAN: usize = 12;

/// How much may be saved before the entry has to follow.
const SLACK: usize = 15;

const LONG_FILES: &[(&str, usize)] = &[];

const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[("src/http/status.rs", "reason_phrase", 47)];

pub fn outgrown(file: &File) -> Vec<String> {
    let tests = file.path.starts_with("tests/") || file.path.contains("/tests/");
    let listed = LONG_FILES.iter().find(|(path, _)| *path == file.path).map(|(_, lines)| *lines);
    let long = ratchet("this file", file.lines(), if tests { TEST_FILE } else { FILE }, listed);
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
pub fn outlived(files: &[File]) -> Vec<String> {
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
    let seeded = |path: &str, text: &str| outgrown(&File::new(path, text)).len();
    assert_eq!(seeded("src/a/b.rs", &"\n".repeat(FILE)), 0);
    assert_eq!(seeded("src/a/b.rs", &"\n".repeat(FILE + 1)), 1);
    assert_eq!(seeded("tests/b.rs", &"\n".repeat(FILE + 1)), 0);
    assert_eq!(seeded("tests/b.rs", &"\n".repeat(TEST_FILE + 1)), 1);
    assert_eq!(seeded("src/a/b.rs", &function_of(FUNCTION)), 0);
    assert_eq!(seeded("src/a/b.rs", &function_of(FUNCTION + 1)), 1);
    assert_eq!(seeded("src/a/tests/b.rs", &function_of(FUNCTION + 1)), 0, "a table of cases may be long");
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
    assert_eq!(outlived(&[]).len(), LONG_FILES.len() + LONG_FUNCTIONS.len());
}

#[test]
fn long_functions_everywhere_are_seen() {
    let of = |lines| File::new("src/a/b.rs", &function_of(lines));
    assert!(median(&[of(MEDIAN), of(30), of(3)]).is_empty());
    assert_eq!(median(&[of(MEDIAN + 1), of(30), of(3)]).len(), 1);
}
