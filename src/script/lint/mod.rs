//! What `rsp check` warns of in a script that loads: mistakes that Lua finds only when a request comes that way, if at
//! all. A warning that is wrong is worse than none, so nothing is said of what cannot be known from the text.

mod calls;
mod expressions;
mod fields;
mod flow;
mod syntax;
mod walk;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use self::walk::{FunctionFacts, Known, Returned, Walk};
use super::{Script, Source, nearest};
use crate::config::{Config, Warning};

/// The warnings about a script that was loaded from this source, by file and line.
pub fn lint(source: &mut Source, config: &Config, script: &Script) -> Vec<Warning> {
    let trees: Vec<_> =
        source.scripts().into_iter().filter_map(|(file, text)| Some((file, syntax::parse(&text)?))).collect();
    let (mut globals, rsp) = script.names();
    let nothing = Known { globals: &BTreeSet::new(), rsp: &rsp };
    for (_, tree) in &trees {
        let walk = Walk::of(tree, &nothing);
        globals.extend(walk.global_functions.into_iter().map(|(name, _)| name));
        globals.extend(walk.assigned);
    }
    let known = Known { globals: &globals, rsp: &rsp };
    let walks: Vec<_> = trees.iter().map(|(file, tree)| (file, Walk::of(tree, &known))).collect();
    let named: Vec<&str> = walks.iter().flat_map(|(_, walk)| &walk.texts).map(String::as_str).collect();
    let builds = walks.iter().any(|(_, walk)| walk.builds_texts);
    let mut found: Vec<(&String, usize, String)> = Vec::new();
    for (file, walk) in &walks {
        let mut lines = walk.warnings.clone();
        lines.extend(missing(walk));
        if !config.settings.script.globals {
            lines.extend(in_handlers(walk));
        }
        lines.extend(answers(walk, config));
        if config.on_request && config.pools.len() > 1 && config.settings.fallback.is_none() {
            lines.extend(unused(walk, &named, builds));
        }
        found.extend(lines.into_iter().map(|(line, text)| (*file, line, text)));
    }
    found.sort();
    found.dedup();
    let warning =
        |(file, line, text): (&String, usize, String)| Warning { position: format!("{file}:{line}"), text };
    found.into_iter().map(warning).collect()
}

/// Globals that nothing assigns, where the script does not ask for them first.
fn missing(walk: &Walk) -> Vec<(usize, String)> {
    let untested = walk.missing.iter().filter(|(_, name, _)| !walk.tested.contains(name));
    untested.map(|(line, _, text)| (*line, text.clone())).collect()
}

/// Globals that functions assign which run for requests.
fn in_handlers(walk: &Walk) -> Vec<(usize, String)> {
    let (mut seen, mut open) = (BTreeSet::new(), walk.handlers.clone());
    while let Some(number) = open.pop() {
        if seen.insert(number) {
            open.extend(called(walk, &walk.functions[number]));
        }
    }
    seen.into_iter().flat_map(|number| walk.functions[number].if_handler.clone()).collect()
}

fn called(walk: &Walk, facts: &FunctionFacts) -> Vec<usize> {
    let global = |name: &String| walk.global_functions.iter().find(|(known, _)| known == name);
    let globals = facts.calls_globals.iter().filter_map(global).map(|(_, number)| *number);
    facts.calls.iter().copied().chain(globals).collect()
}

/// What `on_request` may return that is no answer.
fn answers(walk: &Walk, config: &Config) -> Vec<(usize, String)> {
    let (mut seen, mut open, mut found) = (BTreeSet::new(), Vec::from_iter(walk.on_request), Vec::new());
    while let Some(number) = open.pop() {
        if !seen.insert(number) {
            continue;
        }
        let facts = &walk.functions[number];
        let several = config.pools.len() > 1;
        let nothing = |how: &str| format!("on_request {how}, and there are {} pools", config.pools.len());
        if let Some(end) = facts.falls_through.filter(|_| several) {
            found.push((end, nothing("may come here without returning anything")));
        }
        for (line, returned) in &facts.returns {
            match returned {
                Returned::Nothing if several => found.push((*line, nothing("returns nothing here"))),
                Returned::Call(number) => open.push(*number),
                Returned::Text(name) => {
                    let names = || config.pools.iter().map(|pool| pool.name.as_str());
                    if !names().any(|known| known == name) {
                        let hint = nearest::hint(name.as_bytes(), names());
                        found.push((*line, format!("no pool is named \"{name}\", {hint}")));
                    }
                }
                Returned::Literal(kind) => {
                    let expected = "expected a pool or its name, rsp.respond, rsp.redirect or rsp.abort";
                    found.push((*line, format!("on_request returns {kind}, {expected}")));
                }
                Returned::Nothing | Returned::Other => {}
            }
        }
    }
    found
}

/// Pools whose variable nobody reads and whose name nobody says. `builds`: names may be put together.
fn unused(walk: &Walk, named: &[&str], builds: bool) -> Vec<(usize, String)> {
    let is_unused = |pool: &&walk::PoolFacts| match &pool.name {
        _ if pool.used => false,
        None => true,
        Some(name) => !builds && !named.contains(&name.as_str()),
    };
    let line = |pool: &walk::PoolFacts| {
        let name = pool.name.as_ref().map(|name| format!(" \"{name}\"")).unwrap_or_default();
        (pool.line, format!("pool{name} is never used"))
    };
    walk.pools.iter().filter(is_unused).map(line).collect()
}
