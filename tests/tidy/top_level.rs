//! The top level of the project: short enough to be read at a glance. What is new goes into a folder.

const EXPECTED: &[&str] =
    &["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "examples", "lua", "scripts", "src", "tests"];

/// Names on the top level; dot files are free, and what git ignores there is nobody's.
pub fn check(names: &[String], ignored: &str) -> Vec<String> {
    let is_ignored = |name: &str| ignored.lines().any(|line| line.trim_matches('/') == name);
    let free = |name: &str| name.starts_with('.') || EXPECTED.contains(&name) || is_ignored(name);
    let more = names.iter().filter(|name| !free(name)).map(|name| format!("{name} is new on the top level"));
    let absent = EXPECTED.iter().filter(|name| !names.iter().any(|there| there == *name));
    more.chain(absent.map(|name| format!("{name} is missing on the top level"))).collect()
}

#[test]
fn a_new_and_a_missing_entry_are_seen() {
    let mut names: Vec<String> = EXPECTED.iter().map(|name| name.to_string()).collect();
    names.extend([".git".into(), "target".into()]);
    assert!(check(&names, "/target\n*.log\n").is_empty());
    assert_eq!(check(&names, "").len(), 1, "target is ignored by git alone");
    names.push("notes.txt".into());
    names.retain(|name| name != "LICENSE");
    assert_eq!(check(&names, "/target\n").len(), 2);
}
