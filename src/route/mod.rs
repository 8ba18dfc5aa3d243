//! Floor 5: request head + pool state + clock → decision. Joins the script and the balance; holds no socket, so
//! everything that wants to know where a request would go can ask the same code.

use std::sync::Arc;

use crate::balance::{Pools, Tried};
use crate::config::{Balance, Config, OnResponseError, PoolId, ServerId};
use crate::http::{RequestHead, ResponseHead};
use crate::script::{Answer, RequestMeta, Script, ScriptError, Verdict};

/// Where a request goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    pub pool: PoolId,
    /// The script named the server.
    pub server: Option<ServerId>,
    /// It is only the first choice: otherwise no other is tried.
    pub preferred: bool,
}

impl Route {
    /// To whichever server the pool's balance picks.
    fn to(pool: PoolId) -> Route {
        Route { pool, server: None, preferred: false }
    }
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

/// What became of a response that the script was shown.
pub enum Responded {
    Well,
    /// The script failed; the response goes on as the server sent it.
    Passes(ScriptError),
    Failed(ScriptError),
}

pub struct Router {
    pub config: Arc<Config>,
    pub pools: Pools,
    script: Script,
    /// Copies of the heads that the script may change, where they may be needed.
    request_as_it_came: RequestHead,
    response_as_it_came: ResponseHead,
}

impl Router {
    pub fn new(config: Arc<Config>, script: Script) -> Router {
        Router {
            pools: Pools::new(&config),
            config,
            script,
            request_as_it_came: RequestHead::default(),
            response_as_it_came: ResponseHead::default(),
        }
    }

    /// Asks the script where the request goes. It may change the head's fields.
    pub fn decide(&mut self, head: &mut RequestHead, client: RequestMeta<'_>) -> Decision {
        if self.config.settings.fallback.is_some() {
            self.request_as_it_came.copy_from(head);
        }
        match self.script.on_request(head, client) {
            Ok(Verdict::Pool(pool)) => Decision::Forward(Route::to(pool)),
            Ok(Verdict::Server { pool, server, preferred }) => {
                Decision::Forward(Route { pool, server: Some(server), preferred })
            }
            Ok(Verdict::Answer(answer)) => Decision::Answer(answer),
            Err(error) => match self.config.settings.fallback {
                Some(pool) => {
                    // What the handler had changed by then may be half of what it wanted.
                    head.copy_from(&self.request_as_it_came);
                    Decision::Fallback(Route::to(pool), error)
                }
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
        client: impl FnOnce() -> RequestMeta<'a>,
        now: u64,
    ) -> Result<ServerId, NoServer> {
        if let Some(server) = route.server
            && let Some(picked) = self.named(route, server, tried, now)
        {
            return picked;
        }
        match self.config.pools[route.pool.0 as usize].balance {
            Balance::RoundRobin => self.pools.round_robin(route.pool, tried, now).ok_or(NoServer::None),
            Balance::Function => self.ask_function(route.pool, tried, head, client(), now),
        }
    }

    /// The server that the script named. `None`: it is only preferred, and fails or pauses.
    #[cold]
    fn named(
        &mut self,
        route: Route,
        server: ServerId,
        tried: &Tried,
        now: u64,
    ) -> Option<Result<ServerId, NoServer>> {
        match tried.has(server) {
            false if !route.preferred => Some(Ok(server)),
            true if !route.preferred => Some(Err(NoServer::None)),
            failed => {
                let ready = !failed && self.pools.server(route.pool, server).pause.is_over(now);
                ready.then_some(Ok(server))
            }
        }
    }

    #[inline(never)]
    fn ask_function(
        &mut self,
        pool: PoolId,
        tried: &Tried,
        head: &mut RequestHead,
        client: RequestMeta<'_>,
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

    /// Lets the script look at a server's final response and change its head. Called where there is a handler.
    pub fn respond(
        &mut self,
        request: &mut RequestHead,
        client: RequestMeta<'_>,
        response: &mut ResponseHead,
    ) -> Responded {
        let passes = self.config.settings.on_response_error == OnResponseError::Pass;
        if passes {
            self.response_as_it_came.copy_from(response);
        }
        match self.script.on_response(request, client, response) {
            Ok(()) => Responded::Well,
            Err(error) if passes => {
                // What the handler had changed by then may be half of what it wanted.
                response.copy_from(&self.response_as_it_came);
                Responded::Passes(error)
            }
            Err(error) => Responded::Failed(error),
        }
    }
}
