//! Changes of servers by operators, over the control socket or the admin address: state, weight, and which there are. They
//! beat the config until they are set back (`balance::by_hand`).

use std::sync::Arc;

use crate::balance::{Administrative, PoolState, Server, ServerState};
use crate::config::{Address, PoolConfig, ServerConfig};
use crate::control::process::Process;

/// What is to change; the rest stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Change {
    pub state: Option<Administrative>,
    pub weight: Option<u32>,
}

/// What is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unknown {
    Pool,
    Server,
}

pub fn find(process: &Process, pool: &str, server: &str) -> Result<(Arc<PoolState>, Arc<Server>), Unknown> {
    let pool = process.pool(pool).ok_or(Unknown::Pool)?;
    let members = pool.members();
    let server = members.iter().find(|member| member.name() == server).ok_or(Unknown::Server)?;
    Ok((pool.clone(), server.clone()))
}

/// Changes the server. What is then as the config says is not set by hand any more.
pub fn change(pool: &PoolState, server: &Server, change: Change) -> Result<(), String> {
    let before = pool.by_hand(server.name());
    let mut wanted = before;
    if let Some(weight) = change.weight {
        if weight > ServerConfig::MOST_WEIGHT {
            let most = ServerConfig::MOST_WEIGHT;
            return Err(format!("weight: got {weight}, expected 0 to {most}"));
        }
        wanted.weight = Some(weight).filter(|weight| *weight != server.configured_weight());
    }
    if let Some(state) = change.state {
        let disabled = pool.config().is_some_and(|config| is_disabled(&config, server));
        wanted.state = Some(state).filter(|state| *state != Administrative::Ready || disabled);
    }
    if wanted != before {
        pool.set_by_hand(server.name(), wanted);
        log::info!("server {server}: {} by hand", said(change, server));
    }
    Ok(())
}

fn said(change: Change, server: &Server) -> String {
    let state = change.state.map(|state| state.text().to_owned());
    let weight =
        change.weight.map(|weight| format!("weight {weight} (config {})", server.configured_weight()));
    state.into_iter().chain(weight).collect::<Vec<_>>().join(", ")
}

/// Whether the config has it disabled.
pub fn is_disabled(config: &PoolConfig, server: &Server) -> bool {
    let of = |name: &str| server.name() == name || server.is_address_of(name);
    config.servers.iter().any(|config| config.disabled && of(&config.name))
}

/// A server at this address, with default options.
pub fn server(name: &str, written: &str) -> Result<ServerConfig, String> {
    let path = written.strip_prefix("unix:").or_else(|| written.strip_prefix("unix@"));
    let address = match path {
        Some(path) if path.starts_with('/') => Address::Unix(path.into()),
        _ => match written.parse() {
            Ok(address) => Address::Ip(address),
            Err(_) => return Err("'server' expects an IP address with a port, or unix:PATH.".into()),
        },
    };
    let fits =
        !name.is_empty() && name.len() <= 256 && !name.contains(|c: char| c.is_whitespace() || c == ';');
    match fits {
        true => Ok(ServerConfig::new(name.to_owned(), address, written.to_owned())),
        false => Err("Invalid character in server name.".into()),
    }
}

/// Adds a server, as haproxy's `add server` writes it: an address and options. It is in maint.
pub fn add(pool: &Arc<PoolState>, name: &str, options: &[String]) -> Result<(), String> {
    let Some((address, options)) = options.split_first() else {
        return Err("'server' expects <name> and <addr>[:<port>] as arguments.".into());
    };
    if pool.members().iter().any(|member| member.name() == name || member.is_address_of(name)) {
        return Err("Already exists a server with the same name in backend.".into());
    }
    let mut config = server(name, address)?;
    let (mut enabled, mut options) = (false, options.iter().map(String::as_str));
    while let Some(option) = options.next() {
        let mut number = |most: u32| {
            let number = options.next().and_then(|value| value.parse().ok()).filter(|number| *number <= most);
            number.ok_or(format!("'{option}' expects a number from 0 to {most}."))
        };
        match option {
            "weight" => config.weight = number(ServerConfig::MOST_WEIGHT)?,
            "maxconn" => config.max_connections = Some(number(1_000_000)?).filter(|most| *most > 0),
            "backup" => config.backup = true,
            "enabled" => enabled = true,
            "disabled" => enabled = false,
            // It is checked as its pool says.
            "check" => {}
            other => {
                return Err(format!("'{}' option is not accepted for dynamic servers.", printable(other)));
            }
        }
    }
    pool.add_server(config)?;
    log::info!("server {}/{name}: added by hand", pool.name());
    let members = pool.members();
    match members.iter().find(|member| member.name() == name).filter(|_| enabled) {
        Some(server) => change(pool, server, Change { state: Some(Administrative::Ready), weight: None }),
        None => Ok(()),
    }
}

/// Removes a server that nothing uses.
pub fn delete(pool: &Arc<PoolState>, server: &Server) -> Result<(), String> {
    if !matches!(server.state(), ServerState::Maint | ServerState::Disabled) {
        return Err("Only servers in maintenance mode can be deleted.".into());
    }
    if server.totals().connections > 0 || server.in_flight() > 0 {
        return Err("Server still has connections attached to it, cannot remove it.".into());
    }
    let config = pool.config();
    let is_named = |of: &ServerConfig| of.is_name() && server.is_address_of(&of.name);
    if config.is_some_and(|config| config.servers.iter().any(is_named)) {
        return Err("This is an address of a name: it goes when its name has it no more.".into());
    }
    pool.delete_server(server.name());
    log::info!("server {server}: deleted by hand");
    Ok(())
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Servers;
    use crate::config::{Balance, Config};

    fn pool() -> (Servers, Arc<PoolState>, Config) {
        let config = PoolConfig {
            servers: ["a", "b"].map(|name| server(name, "127.0.0.1:1").unwrap()).to_vec(),
            ..PoolConfig::named("web".into(), Balance::RoundRobin)
        };
        let config = Config { pools: vec![Arc::new(config)], ..Config::default() };
        let servers = Servers::new(1);
        let pool = servers.of(&config).pools.remove(0);
        (servers, pool, config)
    }

    fn names(pool: &PoolState) -> Vec<String> {
        pool.members().iter().map(|server| server.name().to_owned()).collect()
    }

    fn set(pool: &PoolState, name: &str, state: Administrative) {
        let members = pool.members();
        let server = members.iter().find(|server| server.name() == name).unwrap();
        change(pool, server, Change { state: Some(state), weight: None }).unwrap();
    }

    #[test]
    fn what_is_as_the_config_says_is_not_set_by_hand_any_more() {
        let (servers, pool, _) = pool();
        let member = pool.members()[0].clone();
        change(&pool, &member, Change { state: Some(Administrative::Drain), weight: Some(7) }).unwrap();
        assert_eq!((member.state(), member.weight()), (ServerState::Drain, 7));
        change(&pool, &member, Change { state: Some(Administrative::Ready), weight: Some(1) }).unwrap();
        assert_eq!((member.state(), member.weight()), (ServerState::Up, 1));
        assert!(servers.by_hand().all().is_empty());
        let more = ServerConfig::MOST_WEIGHT + 1;
        assert!(change(&pool, &member, Change { state: None, weight: Some(more) }).is_err());
    }

    #[test]
    fn an_added_server_is_in_maint_and_stays_over_a_reload() {
        let (servers, pool, config) = pool();
        add(&pool, "c", &["127.0.0.1:3".into(), "weight".into(), "5".into()]).unwrap();
        assert_eq!((pool.members()[2].state(), pool.members()[2].weight()), (ServerState::Maint, 5));
        add(&pool, "d", &["unix:/run/d.sock".into(), "enabled".into()]).unwrap();
        assert_eq!(pool.members()[3].state(), ServerState::Up);
        let again = servers.of(&config);
        Servers::adopt(&config, &again, &|_, _| None);
        assert_eq!(names(&pool), ["a", "b", "c", "d"]);
        for bad in
            [&["127.0.0.1"][..], &["x:1"], &[], &["127.0.0.1:1", "ssl"], &["127.0.0.1:1", "weight", "257"]]
        {
            let options: Vec<String> = bad.iter().map(|word| (*word).to_owned()).collect();
            assert!(add(&pool, "e", &options).is_err(), "{bad:?}");
        }
        assert!(add(&pool, "a", &["127.0.0.1:1".into()]).is_err(), "there is one");
    }

    #[test]
    fn a_server_in_maint_can_be_deleted_and_stays_so_over_a_reload() {
        let (servers, pool, config) = pool();
        let member = pool.members()[0].clone();
        assert!(delete(&pool, &member).is_err(), "it is in use");
        set(&pool, "a", Administrative::Maint);
        delete(&pool, &member).unwrap();
        assert_eq!(names(&pool), ["b"]);
        let again = servers.of(&config);
        Servers::adopt(&config, &again, &|_, _| None);
        assert_eq!(names(&pool), ["b"]);
        add(&pool, "a", &["127.0.0.1:9".into(), "enabled".into()]).unwrap();
        assert_eq!(names(&pool), ["b", "a"]);
        assert_eq!(pool.members()[1].endpoint().written, "127.0.0.1:9");
    }
}
