//! A config that does not run: its servers are taken for up, as long as nobody says otherwise.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Explainer;
use crate::balance::{Servers, SitePools};
use crate::config::{Config, ServerConfig};
use crate::control::names::Names;
use crate::script::{self, LoadError, Script, Source};

/// For all names of servers together.
const PATIENCE: Duration = Duration::from_secs(3);

/// Loads a config to explain requests with it.
pub fn offline(config: &Path) -> Result<Explainer, LoadError> {
    let (config, script) = script::load(&mut Source::file(config))?;
    let pools = Servers::new(1).of(&config);
    let unresolved = find_names(&config, &pools);
    let mut explainer = with_pools(Arc::new(config), script, &pools);
    explainer.notes.extend(unresolved);
    Ok(explainer)
}

/// The same of a config that is loaded; names of servers are not looked up.
pub fn of_loaded(config: Arc<Config>, script: Script) -> Explainer {
    let pools = Servers::new(1).of(&config);
    with_pools(config, script, &pools)
}

fn with_pools(config: Arc<Config>, script: Script, pools: &SitePools) -> Explainer {
    let mut notes = Vec::new();
    for (config, pool) in config.pools.iter().zip(&pools.pools).filter(|(config, _)| config.health.is_some())
    {
        pool.members().iter().for_each(|server| pool.set_checked(server.name(), true));
        notes.push(format!("pool {}: nobody has checked its servers, which are taken for up", config.name));
    }
    let mut explainer = Explainer::new(config, script, pools, Instant::now());
    explainer.notes = notes;
    explainer
}

/// Looks the names of servers up, as a start does.
fn find_names(config: &Config, pools: &SitePools) -> Vec<String> {
    if !config.pools.iter().any(|pool| pool.servers.iter().any(ServerConfig::is_name)) {
        return Vec::new();
    }
    let Ok(Some(names)) = Names::start(config, None) else { return Vec::new() };
    names.wait(PATIENCE);
    Servers::adopt(config, pools, &|pool, server| names.servers(pool, server));
    names.unresolved()
}
