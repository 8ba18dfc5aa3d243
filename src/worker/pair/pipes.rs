//! The pipes of splice(2), kept for reuse and bounded in number: each costs two descriptors and, while it holds
//! bytes, memory of the kernel's that no setting of ours limits.

use std::cell::Cell;
use std::rc::Rc;

/// Pipes at one time in the whole process, in use and spare; whoever comes when all are out copies instead.
const MOST: usize = 128;
const SPARE: usize = 16;
/// For each worker, however many there are.
const LEAST: usize = 4;

/// A pipe and how many bytes are in it.
pub struct Held<P> {
    pub pipe: P,
    pub bytes: usize,
    /// None while it only waits for the next body.
    lease: Option<Lease>,
}

/// Counts a pipe that is out for as long as it lives.
struct Lease(Rc<Cell<usize>>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

pub struct Pipes<P> {
    spare: Vec<Box<Held<P>>>,
    out: Rc<Cell<usize>>,
    /// The least a body has to have left for a pipe to pay; `None` never uses one.
    pub least: Option<u64>,
    /// The kernel has refused to splice: nothing changes that.
    impossible: bool,
    /// This worker's part of all that there may be.
    most: usize,
}

impl<P> Pipes<P> {
    pub fn new(least: Option<u64>) -> Pipes<P> {
        Pipes { spare: Vec::new(), out: Rc::default(), least, impossible: false, most: MOST }
    }

    /// As another config says.
    pub fn set_least(&mut self, least: Option<u64>) {
        self.least = least.filter(|_| !self.impossible);
    }

    /// Bodies are copied from now on.
    pub fn give_up(&mut self) {
        (self.least, self.impossible) = (None, true);
    }

    /// So many workers have pipes: to each its part.
    pub fn share(&mut self, workers: usize) {
        self.most = (MOST / workers).max(LEAST);
    }

    /// An empty pipe, unless there are too many or none can be made; then bytes are copied.
    pub fn borrow(&mut self, make: impl FnOnce() -> std::io::Result<P>) -> Option<Box<Held<P>>> {
        if self.out.get() >= self.most {
            return None;
        }
        let mut held = match self.spare.pop() {
            Some(held) => held,
            None => Box::new(Held { pipe: make().ok()?, bytes: 0, lease: None }),
        };
        self.out.set(self.out.get() + 1);
        held.lease = Some(Lease(self.out.clone()));
        Some(held)
    }

    /// Keeps an empty pipe for the next body; one that holds bytes is closed with them.
    #[inline]
    pub fn give_back(&mut self, held: Option<Box<Held<P>>>) {
        if let Some(held) = held {
            self.keep(held);
        }
    }

    fn keep(&mut self, mut held: Box<Held<P>>) {
        if held.bytes == 0 && self.spare.len() < SPARE.min(self.most) {
            held.lease = None;
            self.spare.push(held);
        }
    }

    /// Closes those that only wait for the next body.
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
    fn pipes_are_bounded_reused_when_empty_and_counted_wherever_they_end() {
        let mut made = 0;
        let mut pipes = Pipes::new(Some(1));
        let mut borrow = |pipes: &mut Pipes<u32>| {
            pipes.borrow(|| {
                made += 1;
                Ok(made)
            })
        };
        let mut held: Vec<_> = (0..MOST).map(|_| borrow(&mut pipes)).collect();
        assert!(held.iter().all(Option::is_some) && borrow(&mut pipes).is_none());
        pipes.give_back(held.pop().flatten());
        assert_eq!((pipes.out(), pipes.spare.len()), (MOST - 1, 1));
        let mut full = borrow(&mut pipes).unwrap();
        assert_eq!(full.pipe, MOST as u32, "the spare one");
        full.bytes = 5;
        pipes.give_back(Some(full));
        assert_eq!((pipes.out(), pipes.spare.len()), (MOST - 1, 0), "one with bytes is not kept");
        drop(held);
        assert_eq!(pipes.out(), 0);
        pipes.share(256);
        let held: Vec<_> = (0..9).filter_map(|_| borrow(&mut pipes)).collect();
        assert_eq!(held.len(), LEAST);
        assert!(pipes.borrow(|| Err(std::io::ErrorKind::Other.into())).is_none());
    }
}
