//! What is asked of the kernel for TCP sockets. Where nothing is said the kernel decides, as it does well for almost
//! everybody; these are for those who measured that they know better.

/// Connections the kernel keeps for us while we are busy: as many as one moment brings a busy site.
pub const BACKLOG: u32 = 4096;

/// Of every connection of a listener, or to the servers of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SocketOptions {
    /// Bytes (SO_RCVBUF, socket(7)); `None`: grows and shrinks as the kernel sees fit.
    pub receive_buffer: Option<u32>,
    /// Bytes (SO_SNDBUF); `None` as above.
    pub send_buffer: Option<u32>,
    /// Microseconds a read looks at the network card itself before it finds nothing (SO_BUSY_POLL).
    pub busy_poll: Option<u32>,
}

impl SocketOptions {
    /// The name of the first one that is set.
    pub fn first_set(&self) -> Option<&'static str> {
        let all = [
            ("receive_buffer", self.receive_buffer),
            ("send_buffer", self.send_buffer),
            ("busy_poll", self.busy_poll),
        ];
        all.into_iter().find(|(_, value)| value.is_some()).map(|(name, _)| name)
    }
}
