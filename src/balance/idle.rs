//! Idle connections to a server: last in, first out, so that the ones in use stay warm and surplus ones age at the
//! front until they time out.

use std::collections::VecDeque;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Idle {
    /// The worker's key of the connection.
    pub connection: u32,
    /// When it became idle, in microseconds.
    pub since: u64,
}

#[derive(Default)]
pub struct IdleConnections {
    list: VecDeque<Idle>,
}

impl IdleConnections {
    /// Returns how many there are now.
    pub fn put(&mut self, idle: Idle) -> usize {
        self.list.push_back(idle);
        self.list.len()
    }

    /// The one that has been idle for longest.
    pub fn oldest(&self) -> Option<u32> {
        self.list.front().map(|idle| idle.connection)
    }

    /// Takes the most recently used connection, if it is idle for less than `max_age` microseconds.
    pub fn take(&mut self, now: u64, max_age: u64) -> Option<Idle> {
        let fresh = self.list.back().is_some_and(|idle| now.saturating_sub(idle.since) < max_age);
        if fresh { self.list.pop_back() } else { None }
    }

    /// Removes a closed connection. Searches from the oldest, since those time out first. Returns true if it was idle.
    pub fn forget(&mut self, connection: u32) -> bool {
        let found = self.list.iter().position(|idle| idle.connection == connection);
        found.and_then(|at| self.list.remove(at)).is_some()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_recent_idle_connection_is_taken_first_unless_too_old() {
        let mut idle = IdleConnections::default();
        for (connection, since) in [(1, 10), (2, 20), (3, 30)] {
            assert_eq!(idle.put(Idle { connection, since }), connection as usize);
        }
        assert_eq!(idle.oldest(), Some(1));
        assert_eq!(idle.take(40, u64::MAX).map(|i| i.connection), Some(3));
        assert_eq!(idle.take(40, 20), None, "20 is not less than 20");
        assert!(idle.forget(1));
        assert!(!idle.forget(1));
        assert_eq!((idle.take(40, 21).map(|i| i.connection), idle.len()), (Some(2), 0));
    }
}
