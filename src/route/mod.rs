//! Floor 5: request head + pools + clock → decision. Joins the script and the balance; holds no socket, so everything
//! that wants to know where a request would go can ask the same code.
//!
//! - `admit`    a request whose head is there: forward it, answer it, refuse it
//! - `handlers` the functions of a config's script, and what becomes of their failures
//! - `pick`     which server takes one try of a request

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

/// A config with its pools as one worker uses them.
pub struct Routes {
    pub config: Arc<Config>,
    /// In the config's order.
    pub pools: Vec<Rc<Pool>>,
}

impl Routes {
    /// `servers`: of each pool.
    pub fn new(config: Arc<Config>, servers: &[Vec<Arc<Server>>], all: &mut WorkerServers) -> Routes {
        let ids = (0..).map(PoolId);
        let pools = ids.zip(config.pools.iter().zip(servers));
        let pools = pools.map(|(id, (pool, servers))| Rc::new(Pool::new(id, pool.clone(), servers, all)));
        Routes { pools: pools.collect(), config }
    }

    /// To the pool of this name.
    pub fn to(&self, pool: &str) -> Option<Route> {
        self.pools.iter().find(|found| found.config.name == pool).map(Route::to)
    }

    /// The pool that the script of the same config means.
    fn pool(&self, id: PoolId) -> Option<&Rc<Pool>> {
        self.pools.get(id.0 as usize)
    }
}

/// Where a request goes.
#[derive(Clone)]
pub struct Route {
    pub pool: Rc<Pool>,
    /// The script named the server.
    pub server: Option<Rc<WorkerServer>>,
    /// It is only the first choice: otherwise no other is tried.
    pub preferred: bool,
}

impl Route {
    /// To whichever server the pool's balance picks.
    fn to(pool: &Rc<Pool>) -> Route {
        Route { pool: pool.clone(), server: None, preferred: false }
    }
}
