//! Floor 5: request head + pools + clock → decision. Combines the script and the balancing. Holds no socket, so that
//! any caller can ask where a request would go.
//!
//! - `admit`    forwards, answers or refuses a request whose head has been read
//! - `handlers` the functions of a config's script, and their failures
//! - `pick`     chooses the server of one try

mod admit;
mod handlers;
mod pick;

use std::rc::Rc;
use std::sync::Arc;

use crate::balance::{Pool, Server, WorkerServer, WorkerServers};
use crate::config::{Config, PoolId};

pub use admit::{Decision, admit};
pub use handlers::{Handlers, Responded};
pub use pick::{NoServer, pick};

/// A config with its pools, for one worker.
pub struct Routes {
    pub config: Arc<Config>,
    /// In the config's order.
    pub pools: Vec<Rc<Pool>>,
}

impl Routes {
    /// `servers`: the servers of each pool.
    pub fn new(config: Arc<Config>, servers: &[Vec<Arc<Server>>], all: &mut WorkerServers) -> Routes {
        let ids = (0..).map(PoolId);
        let pools = ids.zip(config.pools.iter().zip(servers));
        let pools = pools.map(|(id, (pool, servers))| Rc::new(Pool::new(id, pool.clone(), servers, all)));
        Routes { pools: pools.collect(), config }
    }

    /// Returns a route to the pool of this name.
    pub fn to(&self, pool: &str) -> Option<Route> {
        self.pools.iter().find(|found| found.config.name == pool).map(Route::to)
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
    /// The server, if the script named one.
    pub server: Option<Rc<WorkerServer>>,
    /// If `server` fails, others are tried.
    pub preferred: bool,
}

impl Route {
    /// Returns a route to the server that the pool's balancing picks.
    fn to(pool: &Rc<Pool>) -> Route {
        Route { pool: pool.clone(), server: None, preferred: false }
    }
}
