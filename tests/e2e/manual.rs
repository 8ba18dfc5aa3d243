//! The README tells the truth where a test can look: its configs pass `rsp check`, its links lead somewhere, its
//! words for how a request ended are those of the log, its help has not gone stale.

use std::path::Path;

use crate::support::*;
use rsp::exchange::record::End;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("README.md")
}

/// The code blocks in this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let start = format!("```{language}\n");
    let lines: Vec<&str> = text.lines().map(|line| line.strip_prefix("   ").unwrap_or(line)).collect();
    let text = lines.join("\n") + "\n";
    let pieces = text.split(&start).skip(1);
    pieces.map(|piece| piece.split("```").next().unwrap_or_default().to_string()).collect()
}

#[test]
fn every_config_of_the_readme_passes_check() {
    let configs = blocks(&readme(), "lua");
    assert!(configs.len() >= 2, "{} configs", configs.len());
    let directory = Directory::new();
    for config in configs {
        directory.write("site.lua", &config);
        let check = run(directory.path(), &["check", "site.lua"]);
        assert_eq!((check.code, check.said().as_str()), (Some(0), "site.lua: ok\n"), "{config}");
    }
}

#[test]
fn every_link_of_the_readme_leads_to_a_file_or_a_heading() {
    let text = readme();
    let headings: Vec<String> = text.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let mut count = 0;
    for target in targets.filter(|target| !target.starts_with("http")) {
        match target.strip_prefix('#') {
            Some(name) => assert!(headings.iter().any(|heading| heading == name), "no heading #{name}"),
            None => assert!(root().join(target).exists(), "no file {target}"),
        }
        count += 1;
    }
    assert!(count > 10, "{count} links");
}

/// As GitHub makes an anchor of a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_example_and_policy_is_in_the_readme() {
    let text = readme();
    for folder in ["examples", "lua"] {
        for entry in std::fs::read_dir(root().join(folder)).expect(folder) {
            let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
            let word = if folder == "lua" { name.trim_end_matches(".lua") } else { &name };
            let shown = ["default", "types"].contains(&word) || text.contains(word);
            assert!(shown, "{folder}/{name} is not in the README");
        }
    }
}

#[test]
fn the_ends_of_requests_are_those_of_the_log() {
    let text = readme();
    let ends: Vec<&str> = End::ALL.iter().map(|end| end.text()).collect();
    assert!(ends.len() > 10, "{ends:?}");
    for end in ends {
        assert!(text.contains(&format!("`{end}`")), "the end {end} is not in the README");
    }
}

#[test]
fn the_signals_and_exit_codes_of_the_help_are_in_the_readme() {
    let text = readme();
    let help = run(root(), &["--help"]).stdout;
    let codes = help.split("exit codes:").nth(1).expect("exit codes").lines();
    for code in codes.filter_map(|line| line.split_whitespace().next()) {
        assert!(text.contains(&format!("| {code} |")), "exit code {code} is not in the README");
    }
    for signal in ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2"] {
        assert!(help.contains(signal) && text.contains(signal), "{signal}");
    }
}
