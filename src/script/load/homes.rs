//! The table to which a misplaced key belongs: `timeouts.connect` in the settings, `access_log` in a pool. Used only
//! for keys that are unknown in their own table.

use super::{listen, pool, server, settings, tls};

/// How the table with this key is written in a config.
pub(super) fn of(name: &str) -> Option<String> {
    let at = |call: &str| format!("rsp.{call} {{ {name} = … }}");
    if pool::KEYS.taken().any(|known| known == name) {
        return Some(at("pool"));
    }
    if settings::KEYS.taken().any(|known| known == name) {
        return Some(at("settings"));
    }
    if listen::KEYS.taken().any(|known| known == name) {
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
