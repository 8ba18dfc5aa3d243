//! `rsp help`: the whole manual is in the binary, and unknown topics lead to existing ones.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::manual::{chapters, root};
use crate::support::*;

/// Name and summary of each topic, as listed after this line.
fn topics(text: &str) -> Vec<(String, String)> {
    let list = text.split("topics:\n").nth(1).unwrap_or_else(|| panic!("no topics in:\n{text}"));
    let pair = |line: &str| {
        let (name, about) = line.trim().split_once(' ').expect("a name and what it is about");
        (name.to_string(), about.trim().to_string())
    };
    list.lines().map(pair).collect()
}

/// The same from the chapters' files, in order of names: `# Title: summary`.
fn written() -> Vec<(String, String)> {
    let about = |text: &str| text.lines().next()?.split_once(": ").map(|(_, about)| about.to_string());
    chapters().into_iter().map(|(name, text)| (name, about(&text).expect("a title"))).collect()
}

#[test]
fn rsp_help_lists_every_chapter_of_the_manual_with_its_summary() {
    let (help, long) = (run(root(), &["help"]), run(root(), &["--help"]));
    assert_eq!((help.code, &help.stdout), (Some(0), &long.stdout));
    let mut listed = topics(&help.stdout);
    listed.sort();
    assert_eq!(listed, written(), "src/manual, and what is embedded");
}

#[test]
fn the_readme_has_the_same_index_as_rsp_help() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let row = |line: &str| {
        let (name, rest) = line.strip_prefix("| [")?.split_once("](src/manual/")?;
        let about = rest.split_once(".md) | ")?.1.trim_end_matches(" |").replace('`', "");
        Some((name.to_string(), about))
    };
    let index: Vec<_> = readme.lines().filter_map(row).collect();
    assert_eq!(index, topics(&run(root(), &["help"]).stdout));
}

#[test]
fn rsp_help_topic_prints_each_chapter_whole() {
    for (name, text) in chapters() {
        let help = run(root(), &["help", &name]);
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{name}");
        assert!(!help.stdout.contains("](") && !help.stdout.contains("```"), "{name}:\n{}", help.stdout);
        let mut in_code = false;
        for line in text.lines() {
            in_code ^= line.trim().starts_with("```");
            let kept = in_code && !line.trim().starts_with("```") || !in_code && line.starts_with('#');
            assert!(!kept || help.stdout.contains(line.trim()), "{name} lacks: {line}");
        }
        // Wrapping may change the lines of tables and paragraphs, but no word is lost.
        let plain: String = help.stdout.split_whitespace().collect();
        let words =
            text.lines().filter(|line| !line.contains("](") && !line.contains("**") && !line.contains("|--"));
        for word in words.flat_map(|line| line.split(['|', ' '])) {
            assert!(
                plain.contains(word.trim()) || word == "```sh" || word.starts_with("```"),
                "{name}: {word}"
            );
        }
    }
}

#[test]
fn the_text_of_a_chapter_fits_a_terminal_except_code_and_long_words() {
    for (name, _) in chapters() {
        let text = run(root(), &["help", &name]).stdout;
        let folded = text.lines().filter(|line| !line.starts_with("    ") && !line.starts_with('#'));
        for line in folded {
            assert!(line.chars().count() <= 80, "{name}: {line}");
        }
    }
}

#[test]
fn an_unknown_topic_exits_2_names_the_nearest_and_lists_all() {
    for (word, hint) in [
        ("lau", "rsp: no topic \"lau\"; did you mean rsp help lua?"),
        ("timeouts", "did you mean rsp help configuration?"),
        ("weather", "rsp: no topic \"weather\"\n"),
    ] {
        let help = run(root(), &["help", word]);
        assert_eq!((help.code, help.stdout.as_str()), (Some(2), ""), "{help:?}");
        assert!(help.stderr.contains(hint), "{help:?}");
        assert_eq!(topics(&help.stderr).len(), chapters().len(), "{help:?}");
    }
}

#[test]
fn a_closed_pipe_is_no_failure_of_help() {
    let mut command = rsp_command();
    command.args(["help", "configuration"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("rsp");
    let mut first = String::new();
    BufReader::with_capacity(1, child.stdout.take().expect("a pipe")).read_line(&mut first).expect("a line");
    assert!(first.starts_with("# Configuration"), "{first}");
    let output = child.wait_with_output().expect("its end");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
