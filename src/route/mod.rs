//! Floor 5: request head + pools + clock → decision. Combines the script and the balancing. Holds no socket, so that
//! any caller can ask where a request would go.
//!
//! - `affinity` the key or the cookie that ties a request to a server
//! - `admit`    forwards, answers or refuses a request whose head has been read
//! - `challenge` the token of an ACME challenge that is asked for
//! - `handlers` the functions of a config's script, and their failures
//! - `pass_through` finds the pool for a connection whose TLS is not ended here
//! - `phases`   the functions that decide about no request: `on_answer`, `on_log`, `on_connect`, `rsp.every`
//! - `pick`     chooses the server of one try
//! - `waiting`  handlers that wait, and how they go on

mod admit;
mod affinity;
mod challenge;
mod handlers;
mod pass_through;
mod phases;
mod pick;
mod waiting;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::balance::{Pool, SitePools, WorkerServer, WorkerServers};
use crate::config::{Config, PoolId, ServerConfig};

pub use admit::{Decision, FailedCall, admit, admit_further, balance_failed, hash_copy};
pub use affinity::session_cookie;
pub use challenge::Challenge;
pub use handlers::{CallClock, Handlers, Responded};
pub use pass_through::{NoRoute, admit_name};
pub use phases::TaskStep;
pub use pick::{NoServer, pick, waits_for};
pub use waiting::WaitingCall;

/// A config with its pools, for one worker.
pub struct Routes {
    pub config: Arc<Config>,
    /// In the config's order.
    pub pools: Vec<Rc<Pool>>,
    /// Those whose servers are not all in the config: names have addresses.
    with_names: Vec<Rc<Pool>>,
    /// A function of the script may fail, and a fallback pool takes the request as it came then.
    may_fall_back: bool,
}

impl Routes {
    pub fn new(config: Arc<Config>, pools: &SitePools, all: &Rc<RefCell<WorkerServers>>) -> Routes {
        let ids = (0..).map(PoolId);
        let pools = ids.zip(config.pools.iter().zip(&pools.pools));
        let pools =
            pools.map(|(id, (config, state))| Rc::new(Pool::new(id, config.clone(), state.clone(), all)));
        let pools: Vec<Rc<Pool>> = pools.collect();
        let with_names = |pool: &&Rc<Pool>| pool.config.servers.iter().any(ServerConfig::is_name);
        let may_fall_back = config.settings.fallback.is_some()
            && (config.on_request || pools.iter().any(|pool| pool.config.calls_script()));
        let with_names = pools.iter().filter(with_names).cloned().collect();
        Routes { with_names, may_fall_back, pools, config }
    }

    /// Returns a route to the pool of this name.
    pub fn to(&self, pool: &str) -> Option<Route> {
        self.pools.iter().find(|found| found.config.name == pool).map(Route::to)
    }

    /// Returns a route to the pool that the script of the same config names.
    pub fn route_to(&self, pool: PoolId) -> Option<Route> {
        self.pool(pool).map(Route::to)
    }

    /// Returns the pool for an id from the same config's script.
    fn pool(&self, id: PoolId) -> Option<&Rc<Pool>> {
        self.pools.get(id.0 as usize)
    }
}

/// The target of a request.
#[derive(Clone)]
pub struct Route {
    pub pool: Rc<Pool>,
    /// The server that the request is bound to, and how.
    pub server: Option<Rc<WorkerServer>>,
    pub binding: Binding,
    /// What the pool's algorithm hashes.
    pub key: Option<u64>,
}

/// How a request is bound to its route's server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Binding {
    /// It goes there or nowhere: the script named it.
    Only,
    /// If that is not up or fails, others are tried.
    Preferred,
    /// The same for a sticky session, which also waits for it.
    Session,
    /// It checks the server, whatever its state.
    Check,
}

impl Route {
    /// Whether the request belongs to this server rather than to any of its pool.
    pub fn stays_with(&self, server: &Rc<WorkerServer>) -> bool {
        self.key.is_some() || self.server.as_ref().is_some_and(|bound| Rc::ptr_eq(bound, server))
    }

    /// Takes a server of the pool at once, where nothing limits the choice (`Pool::pick_any`); otherwise `pick` chooses.
    pub fn pick_any(&self, now: u64) -> Option<Rc<WorkerServer>> {
        if self.server.is_none() { self.pool.pick_any(now) } else { None }
    }

    /// Returns a route to the server that the pool's balancing picks.
    fn to(pool: &Rc<Pool>) -> Route {
        Route { pool: pool.clone(), server: None, binding: Binding::Preferred, key: None }
    }
}
