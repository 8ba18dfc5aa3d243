//! A connection to a server: what is known of it besides the socket and its buffers.

use std::rc::Rc;

use super::connection::Connection;
use crate::balance::WorkerServer;
use crate::h1;
use crate::net::Either;
use crate::worker::backend::dedicated::Dedicated;

pub type Backend<S> = Connection<Either<S>, BackendSide>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackendState {
    Connecting,
    /// The transport has yet to become able to carry bytes.
    Handshaking,
    Busy,
    /// Waits for its next request.
    Idle,
}

pub struct BackendSide {
    pub codec: h1::BackendCodec,
    pub server: Rc<WorkerServer>,
    /// `Server::moves` when it was made.
    pub moves: u32,
    pub state: BackendState,
    pub pair: Option<u32>,
    /// Set where a PROXY header made it one client's own.
    pub dedicated: Option<Box<Dedicated>>,
    /// When it reached its state.
    pub since: u64,
    /// Bytes of the present request went to the socket.
    pub wrote: bool,
    /// The server keeps the connection after its present response.
    pub keep_alive: bool,
    /// Writing failed: the response, if there is one, is still worth reading.
    pub write_failed: bool,
}
