//! The table to which a misplaced key belongs: `timeouts.connect` in the settings, `access_log` in a pool. Used only
//! for keys that are unknown in their own table.

use super::{listen, pool, server, settings, tls};
use crate::config::later;

/// How the table with this key is written in a config.
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
    if server::SERVER.taken().any(|known| known == name) {
        return Some(format!("rsp.pool {{ servers = {{ {{ \"ADDRESS\", {name} = … }} }} }}"));
    }
    if tls::KEYS.taken().any(|known| known == name) {
        return Some(format!("rsp.listen {{ \"ADDRESS\", tls = {{ {name} = … }} }}"));
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
