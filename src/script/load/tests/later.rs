//! Names that are reserved for later versions get an error that says so, and are never unknown.

use super::{error, load_text};
use crate::config::later;

/// `name` at the second line of a table, in an otherwise valid call.
fn refused(before: &str, name: &str, after: &str, shown: &str) {
    let line = error(&format!("{before}\n {name}{after}"));
    assert_eq!(line, format!("site.lua:2: {shown}: not supported by this version"));
}

#[test]
fn keys_of_a_later_version_say_so() {
    for name in later::LISTENER {
        refused("rsp.listen { '127.0.0.1:0',", name, " = 1 }", name);
    }
    for name in later::POOL {
        refused("rsp.pool { servers = { '127.0.0.1:1' },", name, " = true }", name);
    }
    for name in later::SETTINGS {
        refused("rsp.settings {", name, " = 'x' }", name);
    }
    for name in later::SCRIPT {
        refused("rsp.settings { script = {", name, " = 1 } }", &format!("script.{name}"));
    }
}

#[test]
fn functions_of_a_later_version_say_so_when_called_assigned_or_read() {
    for name in later::CALLS {
        for (before, after) in
            [("", "('x')"), ("", " = print"), ("local x = ", ".encode"), ("local x = ", "")]
        {
            let line = error(&format!("\n{before}rsp.{name}{after}"));
            assert_eq!(line, format!("site.lua:2: rsp.{name}: not supported by this version"));
        }
    }
}

/// A name that is supported now must be removed from the table.
#[test]
fn supported_names_are_not_in_the_table() {
    use super::super::{listen, pool, settings};
    let none = |taken: Vec<&str>, later: &[&str]| assert!(taken.iter().all(|name| !later.contains(name)));
    none(listen::KEYS.taken().collect(), later::LISTENER);
    none(pool::KEYS.taken().collect(), later::POOL);
    none(settings::KEYS.taken().collect(), later::SETTINGS);
    none(settings::SCRIPT.taken().collect(), later::SCRIPT);
    none(super::super::calls::names().collect(), later::CALLS);
    load_text("rsp.listen '127.0.0.1:0' rsp.pool { servers = { '127.0.0.1:1' } }").unwrap();
}
