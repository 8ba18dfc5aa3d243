//! What one client's address may have of rsp at one time. Off by default: behind one address there may be a
//! company, and only the operator knows his visitors.

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PerClient {
    /// Connections at one time (`max_connections_per_client`).
    pub connections: Option<usize>,
    /// New connections a second (`new_connections_per_client`).
    pub new_a_second: Option<u32>,
}

impl PerClient {
    /// Whether there is any limit.
    pub fn any(&self) -> bool {
        self.connections.is_some() || self.new_a_second.is_some()
    }
}
