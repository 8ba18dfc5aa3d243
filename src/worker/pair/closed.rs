//! What the end of a connection means to the exchange it carried.

use crate::exchange::end::Phase;
use crate::exchange::{Failure, RequestHalf, ResponseHalf};
use crate::net::Transport;
use crate::worker::conn::backend::{Backend, BackendState};
use crate::worker::conn::client::Client;
use crate::worker::pair::Pair;

/// Whether a client whose end was seen has left. One that only ended its side may still read, but not where the pool
/// takes that for leaving; nor does anybody keep it a place in a queue. Once a response is on its way, it gets that.
#[cold]
pub fn has_left<S: Transport>(client: &Client<S>, pair: &Pair) -> bool {
    if client.hung_up {
        return !pair.exchange.tunnel;
    }
    let queues = pair.backend.is_none() && pair.queue_wait.is_some();
    let aborts = pair.route.as_ref().is_some_and(|route| route.pool.config.abort_on_close);
    pair.exchange.response == ResponseHalf::Waiting && (queues || aborts)
}

/// A client that is not there any more, by the half it left in.
pub fn client_gone(pair: &Pair) -> Failure {
    match pair.exchange.request {
        RequestHalf::Body if !pair.exchange.tunnel => Failure::RequestGone,
        _ => Failure::ClientGone,
    }
}

/// Whether a server's end is one too early, whatever the framing. A reset is reported once: where the write that
/// failed was told, reading sees a plain end, and a body that only the close ends would seem whole.
pub fn is_cut<S: Transport>(backend: &Backend<S>, pair: &Pair) -> bool {
    pair.exchange.response == ResponseHalf::Waiting || backend.role.write_failed
}

/// How far an exchange has come, whose connection to a server is in this state.
pub fn phase_of(pair: &Pair, backend: Option<BackendState>) -> Phase {
    let x = &pair.exchange;
    match (x.response, backend) {
        _ if x.tunnel => Phase::Tunnel,
        (ResponseHalf::Body | ResponseHalf::Cut, _) => Phase::Data,
        (ResponseHalf::Done, _) => Phase::Last,
        (ResponseHalf::Waiting, None) if pair.route.is_none() => Phase::Request,
        (ResponseHalf::Waiting, None | Some(BackendState::Connecting | BackendState::Handshaking)) => {
            Phase::Connect
        }
        (ResponseHalf::Waiting, _) if x.request == RequestHalf::Body => Phase::Body,
        (ResponseHalf::Waiting, _) => Phase::Headers,
    }
}

/// The server's connection ended: before anything of a response came, or in its middle.
pub fn closed_early(pair: &Pair) -> Failure {
    match pair.exchange.response {
        ResponseHalf::Waiting => Failure::ServerClosed,
        _ => Failure::ResponseCut,
    }
}
