//! When the process or the machine has no descriptor left (EMFILE, ENFILE). A few are held back: a client that was
//! accepted with the last one still gets its connection to a server, and nobody new is accepted until they are all
//! held again.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Socket, Type};

/// Held back: the requests of as many clients that are there already can go on.
const RESERVE: usize = 16;
/// Its own connection and the one to its server.
const OF_A_CLIENT: usize = 2;

/// Whether it is descriptors that lack: no peer's fault, and nothing that trying again at once would change.
pub fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Whether the process could open enough to serve a client, besides `more`; if not, how many it lacks.
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

/// A socket that is bound to nothing: it needs no file system and says nothing to anybody.
fn spare() -> io::Result<Socket> {
    Socket::new(Domain::UNIX, Type::DGRAM, None)
}

/// Descriptors that wait for a shortage: all workers of a process hold the same ones.
#[derive(Clone, Default)]
pub struct Reserve {
    held: Arc<Mutex<Vec<Socket>>>,
}

impl Reserve {
    /// Holds as many as it should again; false if there are not as many.
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

    /// Tries again with one of them where it was a shortage that made `attempt` fail, and with another where
    /// somebody else took that one.
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
    fn a_shortage_is_helped_out_of_the_reserve_until_that_is_empty() {
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
    fn other_errors_are_no_shortage() {
        let reserve = Reserve::default();
        assert!(reserve.refill());
        let refused = || io::Error::from_raw_os_error(libc::ECONNREFUSED);
        assert!(reserve.help(|| Err::<(), _>(refused())).is_err());
        assert_eq!(reserve.held().len(), RESERVE);
        assert!(!is_shortage(&refused()));
    }
}
