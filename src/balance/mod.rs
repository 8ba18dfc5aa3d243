//! Floor 4: which server. Pools and their servers as one worker sees them: requests in flight, connections kept
//! for the next request, and how long a server that refused is left alone. No sockets: connections are numbers
//! the worker gave us.

mod board;
mod idle;
mod pause;
mod pools;

pub use board::{Board, Row};
pub use idle::{Idle, IdleConnections};
pub use pause::Pause;
pub use pools::{Pools, ServerState, Tried};
