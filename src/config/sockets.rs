//! Options of TCP sockets. Unset ones keep the kernel's defaults, which suit almost everybody.

/// Default length of the accept queue: enough for a burst on a busy site.
pub const BACKLOG: u32 = 4096;

/// For the connections of a listener, or to the servers of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SocketOptions {
    /// Bytes (SO_RCVBUF, socket(7)); `None`: tuned by the kernel.
    pub receive_buffer: Option<u32>,
    /// Bytes (SO_SNDBUF); `None` as above.
    pub send_buffer: Option<u32>,
    /// Microseconds that a read polls the device before it returns nothing (SO_BUSY_POLL).
    pub busy_poll: Option<u32>,
}

impl SocketOptions {
    /// The name of the first option that is set.
    pub fn first_set(&self) -> Option<&'static str> {
        let all = [
            ("receive_buffer", self.receive_buffer),
            ("send_buffer", self.send_buffer),
            ("busy_poll", self.busy_poll),
        ];
        all.into_iter().find(|(_, value)| value.is_some()).map(|(name, _)| name)
    }
}
