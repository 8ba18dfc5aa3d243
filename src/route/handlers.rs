//! The functions that a config's script set, as one worker calls them, and what becomes of a message that one of them
//! had half changed when it failed.

use crate::balance::{Pool, Tried};
use crate::config::{Config, OnResponseError, ServerId};
use crate::exchange::Exchange;
use crate::http::{RequestHead, ResponseHead};
use crate::script::{RequestMeta, Script, ScriptError, Verdict};

/// What became of a response that the script was shown.
pub enum Responded {
    Well,
    /// The script failed; the response goes on as the server sent it.
    Passes(ScriptError),
    Failed(ScriptError),
}

pub struct Handlers {
    script: Script,
    /// Copies of the heads that the script may change, where they may be needed.
    request_as_it_came: RequestHead,
    response_as_it_came: ResponseHead,
}

impl Handlers {
    pub fn new(script: Script) -> Handlers {
        Handlers {
            script,
            request_as_it_came: RequestHead::default(),
            response_as_it_came: ResponseHead::default(),
        }
    }

    /// Asks the script where the request goes. It may change the head; where it fails and there is a fallback, the head
    /// is as it came.
    pub(super) fn on_request(&mut self, x: &mut Exchange, config: &Config) -> Result<Verdict, ScriptError> {
        let restores = config.settings.fallback.is_some();
        if restores {
            self.request_as_it_came.copy_from(&x.head);
        }
        let (head, meta) = parts(x);
        let verdict = self.script.on_request(head, meta);
        if restores && verdict.is_err() {
            x.head.copy_from(&self.request_as_it_came);
        }
        verdict
    }

    /// Lets the script look at a server's final response and change its head. Called where there is a handler.
    pub fn on_response(
        &mut self,
        x: &mut Exchange,
        response: &mut ResponseHead,
        config: &Config,
    ) -> Responded {
        let passes = config.settings.on_response_error == OnResponseError::Pass;
        if passes {
            self.response_as_it_came.copy_from(response);
        }
        let (head, meta) = parts(x);
        match self.script.on_response(head, meta, response) {
            Ok(()) => Responded::Well,
            Err(error) if passes => {
                // What the handler had changed by then may be half of what it wanted.
                response.copy_from(&self.response_as_it_came);
                Responded::Passes(error)
            }
            Err(error) => Responded::Failed(error),
        }
    }

    /// Calls the pool's `balance` function; `None` where no server is left to choose from.
    pub(super) fn balance(
        &mut self,
        pool: &Pool,
        tried: &Tried,
        x: &mut Exchange,
        now: u64,
    ) -> Option<Result<ServerId, ScriptError>> {
        let candidates = pool.candidates(tried, now);
        let (head, meta) = parts(x);
        let (servers, in_flight) = (&candidates.servers, &candidates.in_flight);
        (!servers.is_empty()).then(|| self.script.balance(pool.id, head, meta, servers, in_flight))
    }

    /// Large bodies of scripted answers that clients are reading now.
    pub fn answer_bodies(&self) -> usize {
        self.script.bodies()
    }
}

/// A request's head, and what a script may know besides.
fn parts(x: &mut Exchange) -> (&mut RequestHead, RequestMeta<'_>) {
    (&mut x.head, RequestMeta { address: x.client, scheme: x.scheme.text(), id: x.id.as_bytes() })
}
