//! The house rules, held by a test: which floor may know which, where the clock, the sockets and `unsafe` may
//! live, how long a file and a function may grow, what the top level of the project is.
//!
//! Every rule is a function of a file's path and text, and has a test beside it that shows it failing on a
//! seeded violation, so that it is known to work. Violations from before a rule are in a table beside it
//! that may only shrink.

mod borders;
mod code;
mod floors;
mod manners;
mod needed;
mod size;
mod top_level;

use std::io::Write;
use std::path::{Path, PathBuf};

use code::File;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file under a folder of the project, with its path as the rules name it: `src/net/mod.rs`.
fn files(folder: &str) -> Vec<File> {
    let mut found = Vec::new();
    collect(&root().join(folder), &mut found);
    found.sort();
    let name = |path: &Path| path.strip_prefix(root()).expect("inside").display().to_string();
    let read = |path: &PathBuf| std::fs::read_to_string(path).expect("a readable file");
    let files: Vec<File> = found.iter().map(|path| File::new(&name(path), &read(path))).collect();
    assert!(files.len() > 10, "the rules looked at {} files of {folder}", files.len());
    files
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn hold(rule: fn(&File) -> Vec<String>, folders: &[&str]) {
    let all: Vec<File> = folders.iter().flat_map(|folder| files(folder)).collect();
    none(all.iter().flat_map(rule).collect());
}

fn none(violations: Vec<String>) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn lower_floors_never_import_upper_ones() {
    hold(floors::imports, &["src"]);
}

#[test]
fn the_map_in_lib_rs_shows_every_floor() {
    none(floors::map(&std::fs::read_to_string(root().join("src/lib.rs")).expect("the map")));
}

#[test]
fn the_clock_sockets_and_unsafe_are_confined() {
    hold(borders::violations, &["src"]);
}

#[test]
fn every_exception_is_needed() {
    none(borders::unneeded(&files("src")));
}

#[test]
fn no_file_and_no_function_is_too_long() {
    hold(size::too_long, &["src", "tests"]);
}

#[test]
fn long_files_are_listed() {
    // Not through eprintln!, which the test runner captures.
    let note: String =
        size::long(&files("src")).iter().map(|file| format!("worth a look: {file}\n")).collect();
    std::io::stderr().write_all(note.as_bytes()).expect("stderr");
}

#[test]
fn few_files_are_short() {
    none(size::short(&files("src")));
}

#[test]
fn every_listed_function_exists() {
    none(size::gone(&[files("src"), files("tests")].concat()));
}

#[test]
fn the_median_function_is_short() {
    none(size::median(&files("src")));
}

#[test]
fn every_file_opens_with_its_purpose_and_leaves_nothing_half_done() {
    hold(manners::of_all, &["src", "tests"]);
}

#[test]
fn the_program_neither_panics_nor_prints() {
    hold(manners::of_the_program, &["src"]);
}

#[test]
fn the_top_level_is_as_agreed() {
    let entries = std::fs::read_dir(root()).expect("the project").map(|entry| entry.expect("an entry"));
    let names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let ignored = std::fs::read_to_string(root().join(".gitignore")).expect(".gitignore");
    none(top_level::check(&names, &ignored));
}

#[test]
fn every_program_that_a_test_uses_is_installed_by_scripts_test() {
    let script = std::fs::read_to_string(root().join("scripts/test")).expect("scripts/test");
    let listed = needed::listed(&script);
    assert!(listed.len() > 10, "{listed:?}");
    // The rules themselves run nothing; their examples do.
    let files = files("tests").into_iter().filter(|file| !file.path.starts_with("tests/tidy/"));
    none(files.flat_map(|file| needed::missing(&file, &listed)).collect());
}
