//! The floors: a module may import from floors below its own; neighbours only on floors 5 and 6. Test code is checked
//! too: a test that needs an upper floor belongs up there.

use crate::code::File;

const FLOORS: &[(&str, u8)] = &[
    ("base", 1),
    ("tls", 1),
    ("config", 2),
    ("http", 2),
    ("store", 2),
    ("net", 3),
    ("h1", 3),
    ("proxy", 3),
    ("websocket", 3),
    ("exchange", 4),
    ("balance", 4),
    ("script", 4),
    ("worker", 5),
    ("route", 5),
    ("control", 6),
    ("offline", 6),
    ("cli", 6),
];

/// The floor from which on neighbours may import each other.
const OPEN: u8 = 5;

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

pub fn imports(file: &File) -> Vec<String> {
    let Some(module) = module_of(&file.path) else { return Vec::new() };
    let Some(own) = floor(module) else {
        return vec![file.at(1, &format!("{module} has no floor: give it one in src/lib.rs and here"))];
    };
    let wrong = |(line, other): (usize, String)| {
        let other_floor = floor(&other)?;
        let fine = other == module || other_floor < own || (other_floor == own && own >= OPEN);
        let way = if other_floor > own { "upward" } else { "sideways" };
        let what = || format!("{way}: {module} (floor {own}) must not know {other} (floor {other_floor})");
        (!fine).then(|| file.at(line, &what()))
    };
    named_modules(&file.path, &file.code).into_iter().filter_map(wrong).collect()
}

/// `src/net/mod.rs` → `net`; the crate's root is above all floors.
fn module_of(path: &str) -> Option<&str> {
    let (module, _) = path.strip_prefix("src/")?.split_once('/')?;
    Some(module)
}

/// The modules that `crate::…`, or `super::…` up to the root, names in this code, with the line.
fn named_modules(path: &str, code: &str) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    for prefix in ["crate::", "super::"] {
        for (at, _) in code.match_indices(prefix) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let line = code[..at].matches('\n').count() + 1;
            let rest = &code[at..];
            let rest = match prefix {
                "crate::" => Some(&rest["crate::".len()..]),
                _ => above_all(rest, depth(path) + inner_modules(&code[..at])),
            };
            named.extend(rest.map(heads).unwrap_or_default().into_iter().map(|name| (line, name)));
        }
    }
    named
}

/// The nesting of a file's module: `src/net/mod.rs` 1, `src/net/stream.rs` 2.
fn depth(path: &str) -> usize {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    inside.split('/').count()
}

/// How many `mod x {` are open at the end of this code.
fn inner_modules(code: &str) -> usize {
    let mut open: Vec<String> = Vec::new();
    for line in code.lines() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let words = line.trim_start().trim_start_matches("pub ");
        if words.starts_with("mod ") && words.ends_with('{') {
            open.push(format!("{indent}}}"));
        } else if open.last().is_some_and(|closing| closing == line) {
            open.pop();
        }
    }
    open.len()
}

/// What follows the `super::`s that lead to the crate's root; `None` if there are fewer.
fn above_all(mut path: &str, depth: usize) -> Option<&str> {
    for _ in 0..depth {
        path = path.strip_prefix("super::")?;
    }
    Some(path)
}

/// The first names of a path or of a list in braces: `{a::b, c}` → a, c.
fn heads(path: &str) -> Vec<String> {
    let Some(list) = path.strip_prefix('{') else { return vec![word(path)] };
    let (mut names, mut level, mut start) = (Vec::new(), 0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => level += 1,
            '}' if level > 0 => level -= 1,
            ',' if level == 0 => {
                names.push(word(&list[start..]));
                start = at + 1;
            }
            '}' => {
                names.push(word(&list[start..]));
                break;
            }
            _ => {}
        }
    }
    names
}

fn word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The map names every module with its floor, and no other module.
pub fn map(lib: &str) -> Vec<String> {
    let absent = FLOORS.iter().filter(|(name, floor)| !lib.contains(&format!("| {floor} | [`{name}`] |")));
    let absent = absent.map(|(name, floor)| format!("src/lib.rs: the map lacks {name} on floor {floor}"));
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let homeless = modules.filter(|name| floor(name).is_none());
    absent.chain(homeless.map(|name| format!("src/lib.rs: {name} has no floor in this test"))).collect()
}

#[cfg(test)]
fn seeded(path: &str, text: &str) -> usize {
    imports(&File::new(path, text)).len()
}

#[test]
fn an_upward_or_sideways_import_is_seen_in_every_spelling() {
    for (path, text) in [
        ("src/base/buffer.rs", "use crate::http::Fields;\n"),
        ("src/h1/mod.rs", "use crate::worker;\n"),
        ("src/h1/mod.rs", "use crate::net::Stream;\n"),
        ("src/balance/mod.rs", "use crate::script::Handlers;\n"),
        ("src/exchange/pair.rs", "use crate::{\n    http::Head,\n    route::{Router, Decision},\n};\n"),
        ("src/net/mod.rs", "fn f() -> crate::worker::Setup {}\n"),
        ("src/net/mod.rs", "pub(crate) use super::h1::ClientCodec;\n"),
        ("src/script/load/mod.rs", "use super::super::balance::Pools;\n"),
        ("src/h1/body.rs", "mod tests {\n    use super::super::super::net::Stream;\n}\n"),
        ("src/nowhere/mod.rs", "use std::io;\n"),
    ] {
        assert_eq!(seeded(path, text), 1, "{path}: {text}");
    }
}

#[test]
fn imports_downward_inside_and_between_neighbours_of_the_open_floors_are_fine() {
    for (path, text) in [
        ("src/h1/mod.rs", "use crate::base::Buffer;\nuse crate::h1::body::Body;\nuse super::http::Fields;\n"),
        ("src/worker/mod.rs", "use crate::{route::Router, net, script};\n"),
        ("src/cli/mod.rs", "use crate::control::run;\n"),
        ("src/script/load/mod.rs", "use super::super::source;\nuse super::balance;\n"),
        ("src/base/mod.rs", "// use crate::worker;\nconst A: &str = \"use crate::worker\";\n"),
        ("src/base/mod.rs", "mod tests {\n    use super::worker;\n}\n"),
        ("src/lib.rs", "pub use crate::cli::main;\n"),
    ] {
        assert_eq!(seeded(path, text), 0, "{path}: {text}");
    }
}

#[test]
fn a_map_without_a_module_or_with_a_new_one_is_seen() {
    let whole: String =
        FLOORS.iter().map(|(name, floor)| format!("| {floor} | [`{name}`] | x |\n")).collect();
    assert!(map(&whole).is_empty());
    assert_eq!(map(&whole.replace("| 3 | [`net`]", "| 2 | [`net`]")).len(), 1);
    assert_eq!(map(&format!("{whole}pub mod attic;\n")).len(), 1);
}
