//! The top level of the project is short. Whatever is new goes into a folder.

const EXPECTED: &[&str] =
    &["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "examples", "lua", "scripts", "src", "tests"];

/// Names on the top level; dot files and git-ignored files are not checked.
pub fn check(names: &[String], ignored: &str) -> Vec<String> {
    let is_ignored = |name: &str| ignored.lines().any(|line| fits(name, line));
    let free = |name: &str| name.starts_with('.') || EXPECTED.contains(&name) || is_ignored(name);
    let more = names.iter().filter(|name| !free(name)).map(|name| format!("{name} is new on the top level"));
    let absent = EXPECTED.iter().filter(|name| !names.iter().any(|there| there == *name));
    more.chain(absent.map(|name| format!("{name} is missing on the top level"))).collect()
}

/// The two kinds of lines in `.gitignore`: a name, and `*` with an ending.
fn fits(name: &str, line: &str) -> bool {
    let line = line.trim_matches('/');
    line == name || line.strip_prefix('*').is_some_and(|ending| !ending.is_empty() && name.ends_with(ending))
}

#[test]
fn a_new_and_a_missing_entry_are_seen() {
    let mut names: Vec<String> = EXPECTED.iter().map(|name| name.to_string()).collect();
    names.extend([".git".into(), "target".into(), "access.log".into()]);
    assert!(check(&names, "/target\n*.log\n").is_empty());
    assert_eq!(check(&names, "").len(), 2, "what only git ignores");
    names.push("notes.txt".into());
    names.retain(|name| name != "LICENSE");
    assert_eq!(check(&names, "/target\n*.log\n").len(), 2);
}
