//! Descriptor shortages (EMFILE, ENFILE). A few descriptors are held in reserve: a client accepted with the last one
//! still gets its connection to a server, and no client is accepted until the reserve is full again.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Socket, Type};

/// Descriptors in reserve: as many accepted clients can still reach a server.
const RESERVE: usize = 16;
/// Descriptors of a client: its connection and the one to its server.
const OF_A_CLIENT: usize = 2;

/// Returns true if descriptors are exhausted: not a peer's failure, and not fixed by an immediate retry.
pub fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Returns the number of descriptors missing to serve a client besides `more`, and the error; `None` if none is.
pub fn lacks_for_a_client(more: usize) -> Option<(usize, io::Error)> {
    let (needed, mut held) = (RESERVE + OF_A_CLIENT + more, Vec::new());
    while held.len() < needed {
        match spare() {
            Ok(spare) => held.push(spare),
            Err(error) => return Some((needed - held.len(), error)),
        }
    }
    None
}

/// Opens an unbound socket: it needs no file system.
fn spare() -> io::Result<Socket> {
    Socket::new(Domain::UNIX, Type::DGRAM, None)
}

/// A process's reserved descriptors, shared by its workers.
#[derive(Clone, Default)]
pub struct Reserve {
    held: Arc<Mutex<Vec<Socket>>>,
}

impl Reserve {
    /// Refills the reserve. Returns false if there are too few descriptors.
    pub fn refill(&self) -> bool {
        let mut held = self.held();
        while held.len() < RESERVE {
            match spare() {
                Ok(spare) => held.push(spare),
                Err(_) => return false,
            }
        }
        true
    }

    /// Retries `attempt` after a descriptor shortage, each time with one descriptor of the reserve released, until it
    /// succeeds or the reserve is empty.
    pub fn help<T>(&self, attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
        loop {
            match attempt() {
                Err(error) if is_shortage(&error) && self.give_one_up() => {}
                other => return other,
            }
        }
    }

    fn give_one_up(&self) -> bool {
        self.held().pop().is_some()
    }

    fn held(&self) -> MutexGuard<'_, Vec<Socket>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_shortage_uses_the_reserve_until_it_is_empty() {
        let reserve = Reserve::default();
        assert!(reserve.refill());
        let tries = Cell::new(0);
        let attempt = |fail_first: u32| {
            tries.set(0);
            reserve.help(|| {
                tries.set(tries.get() + 1);
                match tries.get() <= fail_first {
                    true => Err(io::Error::from_raw_os_error(libc::EMFILE)),
                    false => Ok(()),
                }
            })
        };
        assert!(attempt(0).is_ok());
        assert!(attempt(3).is_ok(), "others took the first two");
        for _ in 3..RESERVE {
            assert!(attempt(1).is_ok());
        }
        assert!(is_shortage(&attempt(1).unwrap_err()));
        assert!(reserve.refill() && reserve.held().len() == RESERVE);
    }

    #[test]
    fn other_errors_are_not_a_shortage() {
        let reserve = Reserve::default();
        assert!(reserve.refill());
        let refused = || io::Error::from_raw_os_error(libc::ECONNREFUSED);
        assert!(reserve.help(|| Err::<(), _>(refused())).is_err());
        assert_eq!(reserve.held().len(), RESERVE);
        assert!(!is_shortage(&refused()));
    }
}
