//! Floor 5: request head + pool state + clock → decision. Joins the script and the balance; holds no socket, so
//! everything that wants to know where a request would go can ask the same code.

use std::sync::Arc;

use crate::balance::{Pools, Tried};
use crate::config::{Balance, Config, PoolId, ServerId};
use crate::http::{RequestHead, ResponseHead};
use crate::script::{Answer, Client, Script, ScriptError, Verdict};

/// Where a request goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    pub pool: PoolId,
    /// The script named the server: no other is tried.
    pub server: Option<ServerId>,
}

pub enum Decision {
    Forward(Route),
    Answer(Box<Answer>),
    /// The script failed and there is no fallback.
    Failed(ScriptError),
    /// The script failed; the fallback takes the request.
    Fallback(Route, ScriptError),
}

pub enum NoServer {
    /// Nobody is left to be tried.
    None,
    Script(ScriptError),
}

pub struct Router {
    pub config: Arc<Config>,
    pub pools: Pools,
    script: Script,
}

impl Router {
    pub fn new(config: Arc<Config>, script: Script) -> Router {
        Router { pools: Pools::new(&config), config, script }
    }

    /// Asks the script where the request goes. It may change the head's fields.
    pub fn decide(&mut self, head: &mut RequestHead, client: Client<'_>) -> Decision {
        match self.script.on_request(head, client) {
            Ok(Verdict::Pool(pool)) => Decision::Forward(Route { pool, server: None }),
            Ok(Verdict::Server(pool, server)) => Decision::Forward(Route { pool, server: Some(server) }),
            Ok(Verdict::Answer(answer)) => Decision::Answer(answer),
            Err(error) => match self.config.settings.fallback {
                Some(pool) => Decision::Fallback(Route { pool, server: None }, error),
                None => Decision::Failed(error),
            },
        }
    }

    /// Chooses the server for one try.
    #[inline(always)]
    pub fn pick<'a>(
        &mut self,
        route: Route,
        tried: &Tried,
        head: &mut RequestHead,
        client: impl FnOnce() -> Client<'a>,
        now: u64,
    ) -> Result<ServerId, NoServer> {
        if let Some(server) = route.server {
            return if tried.has(server) { Err(NoServer::None) } else { Ok(server) };
        }
        match self.config.pools[route.pool.0 as usize].balance {
            Balance::RoundRobin => self.pools.round_robin(route.pool, tried, now).ok_or(NoServer::None),
            Balance::Function => self.ask_function(route.pool, tried, head, client(), now),
        }
    }

    #[inline(never)]
    fn ask_function(
        &mut self,
        pool: PoolId,
        tried: &Tried,
        head: &mut RequestHead,
        client: Client<'_>,
        now: u64,
    ) -> Result<ServerId, NoServer> {
        let (candidates, in_flight) = self.pools.candidates(pool, tried, now);
        if candidates.is_empty() {
            return Err(NoServer::None);
        }
        self.script.balance(pool, head, client, candidates, in_flight).map_err(NoServer::Script)
    }

    /// Large bodies of scripted answers that clients are reading now.
    pub fn answer_bodies(&self) -> usize {
        self.script.bodies()
    }

    /// Lets the script look at a server's final response and change its fields.
    pub fn respond(
        &mut self,
        request: &mut RequestHead,
        client: Client<'_>,
        response: &mut ResponseHead,
    ) -> Result<(), ScriptError> {
        if self.config.on_response { self.script.on_response(request, client, response) } else { Ok(()) }
    }
}
