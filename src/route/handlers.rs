//! A worker's calls of the script's functions, and the restoring of heads that a failed call had partly changed.

use crate::balance::{Pool, Tried};
use crate::config::{Config, OnResponseError, ServerId};
use crate::exchange::Exchange;
use crate::http::{RequestHead, ResponseHead};
use crate::script::{RequestMeta, Script, ScriptError, Verdict};

/// The result of `on_response`.
pub enum Responded {
    Ok,
    /// The script failed; the response is passed on as the server sent it.
    Unchanged(ScriptError),
    Failed(ScriptError),
}

pub struct Handlers {
    script: Script,
    /// Copies of the heads before the script ran, kept only if a failure restores them.
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

    /// Calls `on_request`, which chooses the route and may change the head. If it fails and there is a fallback pool,
    /// the head is restored.
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

    /// Calls `on_response`, which may change a final response's head. The script must have this handler.
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
            Ok(()) => Responded::Ok,
            Err(error) if passes => {
                // The handler may have made only part of its changes.
                response.copy_from(&self.response_as_it_came);
                Responded::Unchanged(error)
            }
            Err(error) => Responded::Failed(error),
        }
    }

    /// Calls the pool's `balance` function; `None` if no server is left.
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

    /// Returns the number of large scripted bodies being sent to clients.
    pub fn answer_bodies(&self) -> usize {
        self.script.bodies()
    }
}

/// Splits an exchange into the request's head and the metadata for scripts.
fn parts(x: &mut Exchange) -> (&mut RequestHead, RequestMeta<'_>) {
    (&mut x.head, RequestMeta { address: x.client, scheme: x.scheme.text(), id: x.id.as_bytes() })
}
