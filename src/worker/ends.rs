//! What the end of a connection means to the exchange it carried.

use super::sides::Lane;
use crate::exchange::{Failure, RequestHalf, ResponseHalf};

/// A client that is not there any more, by the half it left in.
pub fn client_gone(lane: &Lane) -> Failure {
    match lane.exchange.request {
        RequestHalf::Body if !lane.exchange.tunnel => Failure::REQUEST_GONE,
        _ => Failure::CLIENT_GONE,
    }
}

/// The server's connection ended: before anything of a response came, or in its middle.
pub fn closed_early(lane: &Lane) -> Failure {
    match lane.exchange.response {
        ResponseHalf::Waiting => Failure::SERVER_CLOSED,
        _ => Failure::RESPONSE_CUT,
    }
}
