//! Where a key belongs that stands in a table which does not have it: `timeouts.connect` in the settings, `access_log` in
//! a pool. Asked only for names that the table itself does not know.

use super::{listen, pool, settings};
use crate::config::later;

/// How the operator writes the table that has this key.
pub(super) fn of(name: &str) -> Option<String> {
    let at = |call: &str| format!("rsp.{call} {{ {name} = … }}");
    if is_in(pool::KEYS.taken(), later::POOL, name) {
        return Some(at("pool"));
    }
    if is_in(settings::KEYS.taken(), later::SETTINGS, name) {
        return Some(at("settings"));
    }
    if is_in(listen::KEYS.taken(), later::LISTENER, name) {
        return Some(format!("rsp.listen {{ \"ADDRESS\", {name} = … }}"));
    }
    if is_in(pool::SERVER.taken(), later::SERVER, name) {
        return Some(format!("rsp.pool {{ servers = {{ {{ \"ADDRESS\", {name} = … }} }} }}"));
    }
    if pool::TIMEOUTS.taken().any(|known| known == name) {
        return Some(format!("rsp.pool {{ timeouts = {{ {name} = … }} }}"));
    }
    let of_clients = settings::TIMEOUTS.taken().any(|known| known == name);
    of_clients.then(|| format!("rsp.settings {{ timeouts = {{ {name} = … }} }}"))
}

fn is_in(mut taken: impl Iterator<Item = &'static str>, later: &[&str], name: &str) -> bool {
    taken.any(|known| known == name) || later.contains(&name)
}
