//! What a closed connection means for its exchange.

use crate::exchange::end::Phase;
use crate::exchange::{Failure, ResponseHalf};
use crate::net::Transport;
use crate::worker::conn::backend::{Backend, BackendState};
use crate::worker::conn::client::Client;
use crate::worker::pair::{Pair, Stage};

/// Returns true if a client whose close was seen counts as gone. A half-closed client may still read, unless the pool
/// has `abort_on_close` or the request waits in a queue or for a handler; once a response has begun, it is delivered.
pub fn has_left<S: Transport>(client: &Client<S>, pair: &Pair) -> bool {
    if client.hung_up {
        return !pair.is_tunnel();
    }
    if pair.waiting.as_ref().is_some_and(|wait| !wait.reads_body()) {
        return true;
    }
    let queues = matches!(pair.stage, Stage::Queued(_));
    let aborts = pair.route.as_ref().is_some_and(|route| route.pool.config.abort_on_close);
    pair.exchange.response == ResponseHalf::Waiting && (queues || aborts)
}

/// Returns the failure for a client that is gone, by the half of the exchange it left in.
pub fn client_gone(pair: &Pair) -> Failure {
    let is_here = pair.held.as_ref().is_some_and(|held| held.whole().is_some());
    if pair.exchange.request.is_open() && !is_here && !pair.is_tunnel() {
        Failure::RequestGone
    } else {
        Failure::ClientGone
    }
}

/// Returns true if a server's close is premature whatever the framing. A reset is reported only once: after a failed
/// write, a read sees a plain close, and a close-delimited body would seem complete.
pub fn is_cut<S: Transport>(backend: &Backend<S>, pair: &Pair) -> bool {
    pair.exchange.response == ResponseHalf::Waiting || backend.role.write_failed
}

/// Returns the phase of an exchange whose server connection is in this state.
pub fn phase_of(pair: &Pair, backend: Option<BackendState>) -> Phase {
    let x = &pair.exchange;
    match (x.response, backend) {
        _ if pair.is_tunnel() => Phase::Tunnel,
        (ResponseHalf::Body | ResponseHalf::Cut, _) => Phase::Data,
        (ResponseHalf::Done, _) => Phase::Last,
        (ResponseHalf::Waiting, None) if pair.route.is_none() => Phase::Request,
        (
            ResponseHalf::Waiting,
            None | Some(BackendState::Opening | BackendState::Connecting | BackendState::Handshaking),
        ) => Phase::Connect,
        (ResponseHalf::Waiting, _) if x.request.is_open() => Phase::Body,
        (ResponseHalf::Waiting | ResponseHalf::InHandler, _) => Phase::Headers,
    }
}

/// Returns the failure for a server that closed before its response was complete.
pub fn closed_early(pair: &Pair) -> Failure {
    match pair.exchange.response {
        ResponseHalf::Waiting => Failure::ServerClosed,
        _ => Failure::ResponseCut,
    }
}
