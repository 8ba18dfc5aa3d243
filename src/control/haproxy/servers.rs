//! Servers and pools: `show servers state`, `show backend`, and rsp's own `show pools` and `show changes`.

use std::fmt::Write;
use std::sync::Arc;

use super::seconds_since;
use crate::balance::{Administrative, ByHand, PoolState, Server, ServerState};
use crate::config::{Address, ServerConfig};
use crate::control::process::Process;

const STATE_COLUMNS: &str = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight \
srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state \
srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr \
srv_agent_addr srv_agent_port";

/// Of one pool or of all; `None` if there is no such pool.
pub fn state(process: &Process, pool: Option<&str>) -> Option<String> {
    let mut text = format!("1\n{STATE_COLUMNS}\n");
    let mut found = pool.is_none();
    let first = process.config.listeners.len() + 1;
    for (at, of) in process.pools().iter().enumerate() {
        if pool.is_some_and(|pool| pool != of.name()) {
            continue;
        }
        found = true;
        for (sid, server) in of.members().iter().enumerate() {
            server_state(&mut text, of, first + at, server, sid + 1);
        }
    }
    found.then_some(text)
}

fn server_state(text: &mut String, pool: &PoolState, be_id: usize, server: &Server, id: usize) {
    let endpoint = server.endpoint();
    let (address, port) = match &endpoint.address {
        Address::Ip(address) => (address.ip().to_string(), address.port().to_string()),
        _ => (endpoint.written.clone(), "0".into()),
    };
    let operational = match server.state() {
        ServerState::Up | ServerState::Drain => 2,
        _ => 0,
    };
    let by_hand = pool.by_hand(server.name()).state;
    let administrative = match (by_hand, server.state()) {
        (Some(Administrative::Maint), _) => 1,
        (Some(Administrative::Drain), _) => 8,
        // In the config.
        (_, ServerState::Disabled) => 4,
        _ => 0,
    };
    let (result, health) = match server.check_result() {
        None => (0, 0),
        Some(true) => (2, 1),
        Some(false) => (1, 0),
    };
    let checks = if pool.config().is_some_and(|config| config.health.is_some()) { 6 } else { 0 };
    let tls = u8::from(endpoint.tls.is_some());
    let since = seconds_since(server.history.last().at);
    let (weight, configured) = (server.weight(), server.configured_weight());
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{be_id} {} {id} {} {address} {operational} {administrative} {weight} {configured} {since} 1 {result} {health} \
         {checks} 0 0 0 - {port} - {tls} 0 - - 0",
        pool.name(),
        server.name()
    );
}

pub fn backends(process: &Process) -> String {
    process.pools().iter().fold("# name\n".into(), |text, pool| text + pool.name() + "\n")
}

/// A table for people: pools and their servers.
pub fn pools(process: &Process) -> String {
    let mut rows = vec![
        [
            "# pool/server",
            "state",
            "weight",
            "in_flight",
            "most",
            "busy",
            "idle",
            "requests",
            "5xx",
            "since",
            "reason",
        ]
        .map(str::to_owned),
    ];
    for pool in process.pools() {
        for server in pool.members().iter() {
            rows.push(row(server));
        }
    }
    table(&rows)
}

fn row(server: &Arc<Server>) -> [String; 11] {
    let (totals, changed) = (server.totals(), server.history.last());
    let weight = match (server.weight(), server.configured_weight()) {
        (weight, configured) if weight == configured => weight.to_string(),
        (weight, configured) => format!("{weight}({configured})"),
    };
    [
        server.to_string(),
        server.state().word().to_owned(),
        weight,
        totals.in_flight.to_string(),
        server.max_connections().map_or("-".into(), |most| most.to_string()),
        totals.connections.saturating_sub(totals.idle).to_string(),
        totals.idle.to_string(),
        totals.answers.iter().sum::<u64>().to_string(),
        totals.answers[5].to_string(),
        format!("{}s", seconds_since(changed.at)),
        changed.reason,
    ]
}

/// Columns as wide as what is in them.
pub fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join(" ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// What was set by hand, as config; of servers that are not there now too.
pub fn changes(process: &Process) -> String {
    let (table, mut text) = (process.servers.by_hand(), String::new());
    for (pool, name, by_hand) in table.all() {
        change(&mut text, process, (&pool, &name), by_hand);
    }
    // Those that were added and nothing else.
    for (pool, name, _) in table.all_added() {
        if table.get(&pool, &name) == ByHand::default() {
            change(&mut text, process, (&pool, &name), ByHand::default());
        }
    }
    for (pool, name) in table.all_deleted() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "-- {pool}/{name}: deleted");
    }
    text
}

fn change(text: &mut String, process: &Process, (pool, name): (&str, &str), by_hand: ByHand) {
    let members = process.pool(pool).map(|pool| pool.members());
    let server = members.as_ref().and_then(|members| members.iter().find(|server| server.name() == name));
    let added = process.servers.by_hand().added(pool, name);
    let mut said = Vec::new();
    if added.is_some() {
        said.push("added".to_owned());
    }
    if let Some(weight) = by_hand.weight {
        let configured = server.map(|server| server.configured_weight());
        let configured = configured.or(added.as_ref().map(|added| added.weight));
        let configured = configured.map_or("?".into(), |weight| weight.to_string());
        said.push(format!("weight {weight} (config {configured})"));
    }
    said.extend(by_hand.state.map(|state| state.text().to_owned()));
    if server.is_none() {
        said.push("not there now".into());
    }
    let written = server.map(|server| server.endpoint().written.clone());
    let address = written.or(added.as_ref().map(|added| added.written.clone())).unwrap_or("ADDRESS".into());
    let keys = keys(added.as_ref(), by_hand);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "-- {pool}/{name}: {}", said.join(", "));
    let _ = writeln!(text, "{{ {}, name = {}{keys} }},", lua(&address), lua(name));
}

/// What the config of the server has to say: of one that was added, all that is not the default.
fn keys(added: Option<&ServerConfig>, by_hand: ByHand) -> String {
    let mut keys = String::new();
    let weight = by_hand.weight.or(added.map(|added| added.weight).filter(|weight| *weight != 1));
    match (by_hand.state, weight) {
        (Some(Administrative::Drain), _) => keys.push_str(", weight = 0"),
        (_, Some(weight)) => keys += &format!(", weight = {weight}"),
        (_, None) => {}
    }
    if let Some(most) = added.and_then(|added| added.max_connections) {
        keys += &format!(", max_connections = {most}");
    }
    if added.is_some_and(|added| added.backup) {
        keys.push_str(", backup = true");
    }
    match by_hand.state {
        Some(Administrative::Maint) => keys.push_str(", disabled = true"),
        // What was added is in use once the config has it.
        Some(Administrative::Ready) if added.is_none() => keys.push_str(", disabled = false"),
        _ => {}
    }
    keys
}

/// A string of Lua.
fn lua(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let rows = [["a", "bb", "c"], ["aaa", "b", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "a   bb c\naaa b\n");
    }

    #[test]
    fn an_added_server_is_written_with_its_options() {
        let mut added = crate::control::by_hand::server("new", "10.0.0.1:80").unwrap();
        let set = |state, weight| ByHand { state, weight };
        assert_eq!(keys(Some(&added), set(Some(Administrative::Maint), None)), ", disabled = true");
        (added.weight, added.max_connections, added.backup) = (3, Some(7), true);
        let ready = set(Some(Administrative::Ready), None);
        assert_eq!(keys(Some(&added), ready), ", weight = 3, max_connections = 7, backup = true");
        assert_eq!(keys(None, set(Some(Administrative::Ready), Some(5))), ", weight = 5, disabled = false");
        assert_eq!(keys(None, set(Some(Administrative::Drain), Some(5))), ", weight = 0");
    }

    #[test]
    fn names_are_written_as_lua_reads_them() {
        assert_eq!(lua("a\"b\\"), "\"a\\\"b\\\\\"");
    }
}
