//! What the end of a connection means to the exchange it carried.

use super::sides::{Backend, Lane};
use crate::exchange::{Failure, RequestHalf, ResponseHalf};
use crate::net::Transport;

/// A client that is not there any more, by the half it left in.
pub fn client_gone(lane: &Lane) -> Failure {
    match lane.exchange.request {
        RequestHalf::Body if !lane.exchange.tunnel => Failure::REQUEST_GONE,
        _ => Failure::CLIENT_GONE,
    }
}

/// Whether a server's end is one too early, whatever the framing. A reset is reported once: where the write that
/// failed was told, reading sees a plain end, and a body that only the close ends would seem whole.
pub fn is_cut<S: Transport>(backend: &Backend<S>, lane: &Lane) -> bool {
    lane.exchange.response == ResponseHalf::Waiting || backend.role.write_failed
}

/// The server's connection ended: before anything of a response came, or in its middle.
pub fn closed_early(lane: &Lane) -> Failure {
    match lane.exchange.response {
        ResponseHalf::Waiting => Failure::SERVER_CLOSED,
        _ => Failure::RESPONSE_CUT,
    }
}
