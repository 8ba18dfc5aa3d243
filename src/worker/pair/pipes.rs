//! A bounded pool of pipes for splice(2): each costs two descriptors and, while it holds bytes, kernel memory that no
//! other setting limits.

use std::cell::Cell;
use std::rc::Rc;

/// Maximum number of pipes in the process, in use and spare; beyond it, bodies are copied.
const MAX_PIPES: usize = 128;
const SPARE: usize = 16;
/// Minimum for each worker.
const LEAST: usize = 4;

/// A pipe and how many bytes are in it.
pub struct HeldPipe<P> {
    pub pipe: P,
    pub bytes: usize,
    /// `None` while the pipe is spare.
    lease: Option<InUse>,
}

/// Counts a pipe in use; dropping it ends that.
struct InUse(Rc<Cell<usize>>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

pub struct Pipes<P> {
    spare: Vec<Box<HeldPipe<P>>>,
    out: Rc<Cell<usize>>,
    /// The least number of remaining body bytes for which a pipe is used; `None` disables pipes.
    pub least: Option<u64>,
    /// The kernel refused to splice; pipes stay disabled.
    impossible: bool,
    /// This worker's share of `MAX_PIPES`.
    most: usize,
}

impl<P> Pipes<P> {
    pub fn new(least: Option<u64>) -> Pipes<P> {
        Pipes { spare: Vec::new(), out: Rc::default(), least, impossible: false, most: MAX_PIPES }
    }

    /// Applies the setting of a new config.
    pub fn set_least(&mut self, least: Option<u64>) {
        self.least = least.filter(|_| !self.impossible);
    }

    /// Disables pipes: bodies are copied from now on.
    pub fn give_up(&mut self) {
        (self.least, self.impossible) = (None, true);
    }

    /// Divides the pipes among this many workers.
    pub fn share(&mut self, workers: usize) {
        self.most = (MAX_PIPES / workers).max(LEAST);
    }

    /// Returns an empty pipe, or `None` if the limit is reached or none can be made; then bytes are copied.
    pub fn borrow(&mut self, make: impl FnOnce() -> std::io::Result<P>) -> Option<Box<HeldPipe<P>>> {
        if self.out.get() >= self.most {
            return None;
        }
        let mut held = match self.spare.pop() {
            Some(held) => held,
            None => Box::new(HeldPipe { pipe: make().ok()?, bytes: 0, lease: None }),
        };
        self.out.set(self.out.get() + 1);
        held.lease = Some(InUse(self.out.clone()));
        Some(held)
    }

    /// Keeps an empty pipe for reuse; one that holds bytes is closed.
    pub fn give_back(&mut self, held: Option<Box<HeldPipe<P>>>) {
        if let Some(held) = held {
            self.keep(held);
        }
    }

    fn keep(&mut self, mut held: Box<HeldPipe<P>>) {
        if held.bytes == 0 && self.spare.len() < SPARE.min(self.most) {
            held.lease = None;
            self.spare.push(held);
        }
    }

    /// Closes the spare pipes.
    pub fn close_spare(&mut self) {
        self.spare.clear();
    }

    pub fn out(&self) -> usize {
        self.out.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_bounded_reused_when_empty_and_counted() {
        let mut made = 0;
        let mut pipes = Pipes::new(Some(1));
        let mut borrow = |pipes: &mut Pipes<u32>| {
            pipes.borrow(|| {
                made += 1;
                Ok(made)
            })
        };
        let mut held: Vec<_> = (0..MAX_PIPES).map(|_| borrow(&mut pipes)).collect();
        assert!(held.iter().all(Option::is_some) && borrow(&mut pipes).is_none());
        pipes.give_back(held.pop().flatten());
        assert_eq!((pipes.out(), pipes.spare.len()), (MAX_PIPES - 1, 1));
        let mut full = borrow(&mut pipes).unwrap();
        assert_eq!(full.pipe, MAX_PIPES as u32, "the spare one");
        full.bytes = 5;
        pipes.give_back(Some(full));
        assert_eq!((pipes.out(), pipes.spare.len()), (MAX_PIPES - 1, 0), "one with bytes is not kept");
        drop(held);
        assert_eq!(pipes.out(), 0);
        pipes.share(256);
        let held: Vec<_> = (0..9).filter_map(|_| borrow(&mut pipes)).collect();
        assert_eq!(held.len(), LEAST);
        assert!(pipes.borrow(|| Err(std::io::ErrorKind::Other.into())).is_none());
    }
}
