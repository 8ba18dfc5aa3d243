//! A bounded queue of byte batches from some producers to one consumer that never holds a producer up.
//!
//! A producer (a worker, or whoever writes to the error log) fills a buffer and hands it over whole; a queue that is
//! full costs it the batch, not time, and the loss is counted in records. Producers meet once a batch, not once a
//! record, and hold each other up no longer than it takes to wake the consumer. Emptied buffers travel back on a
//! channel of each producer, so that in the steady state nothing is allocated. A `Nudge` wakes the consumer without
//! a batch, when it shall look at something else.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver as Inlet, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

/// At most `depth` batches wait; a buffer starts with room for `batch_size` bytes and may grow.
pub fn queue(depth: usize, batch_size: usize) -> (Sender, Receiver) {
    let (full, mut receiver) = inlet(depth, batch_size);
    (receiver.sender(full, depth), receiver)
}

/// The same for several producers: `depth` is how many batches of each have room at a time, if all are as busy.
pub fn queues(producers: usize, depth: usize, batch_size: usize) -> (Vec<Sender>, Receiver) {
    let (full, mut receiver) = inlet(depth * producers, batch_size);
    ((0..producers).map(|_| receiver.sender(full.clone(), depth)).collect(), receiver)
}

fn inlet(depth: usize, batch_size: usize) -> (SyncSender<Batch>, Receiver) {
    let (full, filled) = mpsc::sync_channel(depth);
    let nudge = Some(Nudge { full: full.clone() });
    (full, Receiver { filled, emptied: Vec::new(), nudge, batch_size, counts: Arc::default() })
}

/// Records of all senders of a queue, for whoever wants to know what became of them.
#[derive(Default, Debug)]
pub struct Counts {
    /// In batches that the queue took.
    taken: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    /// Lost so far because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Sent so far, lost or not.
    pub fn sent(&self) -> u64 {
        self.taken.load(Ordering::Relaxed) + self.dropped()
    }
}

/// Records, and whose buffer they stand in. Without any if it was only a nudge.
#[derive(Default, Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Which of the senders.
    from: usize,
}

impl Deref for Batch {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A producer's end.
pub struct Sender {
    full: SyncSender<Batch>,
    empty: Inlet<Vec<u8>>,
    number: usize,
    buffer: Vec<u8>,
    records: u64,
    batch_size: usize,
    counts: Arc<Counts>,
}

impl Sender {
    /// Where the next record is appended; say `note` after each.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Bytes that were not sent yet.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Bytes after which a batch is worth sending.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Counts one record in the buffer.
    pub fn note(&mut self) {
        self.records += 1;
    }

    /// Hands the buffer over without waiting. False if the queue was full (or the consumer gone): the batch is
    /// lost then, and its records are counted as dropped.
    pub fn send(&mut self) -> bool {
        let sent = self.hand_over();
        if !sent {
            self.lose();
        }
        sent
    }

    /// The same for who asks again soon: where the queue is full, a batch that is not stays here for more records.
    /// So the queue takes as much as it has room for, however small the batches are that were sent first.
    pub fn send_or_keep(&mut self) -> bool {
        if self.buffer.len() >= self.batch_size { self.send() } else { self.hand_over() }
    }

    fn hand_over(&mut self) -> bool {
        if self.buffer.is_empty() {
            return true;
        }
        let batch = Batch { bytes: std::mem::take(&mut self.buffer), from: self.number };
        match self.full.try_send(batch) {
            Ok(()) => {
                let fresh = || Vec::with_capacity(self.batch_size);
                self.buffer = self.empty.try_recv().unwrap_or_else(|_| fresh());
                self.counts.taken.fetch_add(std::mem::take(&mut self.records), Ordering::Relaxed);
                true
            }
            Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => {
                self.buffer = batch.bytes;
                false
            }
        }
    }

    fn lose(&mut self) {
        self.buffer.clear();
        self.counts.dropped.fetch_add(std::mem::take(&mut self.records), Ordering::Relaxed);
    }
}

/// A worker that ends hands over what it has.
impl Drop for Sender {
    fn drop(&mut self) {
        self.send();
    }
}

/// The consumer's end.
pub struct Receiver {
    filled: Inlet<Batch>,
    /// The way back to each sender.
    emptied: Vec<SyncSender<Vec<u8>>>,
    nudge: Option<Nudge>,
    batch_size: usize,
    counts: Arc<Counts>,
}

impl Receiver {
    fn sender(&mut self, full: SyncSender<Batch>, depth: usize) -> Sender {
        // One in the producer's hands and one in the consumer's besides those that wait.
        let (emptied, empty) = mpsc::sync_channel(depth + 2);
        self.emptied.push(emptied);
        let (number, batch_size) = (self.emptied.len() - 1, self.batch_size);
        let (buffer, counts) = (Vec::with_capacity(batch_size), self.counts.clone());
        Sender { full, empty, number, buffer, records: 0, batch_size, counts }
    }

    /// The means to wake this receiver; to be taken once, before waiting. The queue counts as closed when all
    /// senders and the nudge are gone.
    pub fn nudge(&mut self) -> Option<Nudge> {
        self.nudge.take()
    }

    /// The next batch, empty if it was only a nudge; `None` once the queue is closed and drained.
    pub fn recv(&mut self) -> Option<Batch> {
        self.nudge = None;
        self.filled.recv().ok()
    }

    pub fn recv_timeout(&mut self, wait: Duration) -> Result<Batch, RecvTimeoutError> {
        self.nudge = None;
        self.filled.recv_timeout(wait)
    }

    /// What waits already; `None` if nothing does.
    pub fn try_recv(&mut self) -> Option<Batch> {
        self.filled.try_recv().ok()
    }

    /// Gives a batch back for the next records. One that grew far beyond the usual is freed instead.
    pub fn recycle(&mut self, batch: Batch) {
        let Batch { mut bytes, from } = batch;
        if (self.batch_size..=4 * self.batch_size).contains(&bytes.capacity())
            && let Some(owner) = self.emptied.get(from)
        {
            bytes.clear();
            // Refused only when the producer is gone, or took all the room: the buffer is freed then.
            let _ = owner.try_send(bytes);
        }
    }

    /// Records lost so far because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.counts.dropped()
    }

    /// What was sent, for others than the receiver to see.
    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }
}

/// Wakes the receiver.
#[derive(Clone)]
pub struct Nudge {
    full: SyncSender<Batch>,
}

impl Nudge {
    /// A full queue needs no nudge: its receiver has something to wake up for.
    pub fn nudge(&self) {
        let _ = self.full.try_send(Batch::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(sender: &mut Sender, records: &[&str]) -> bool {
        records.iter().for_each(|record| add(sender, record));
        sender.send()
    }

    fn add(sender: &mut Sender, record: &str) {
        sender.buffer().extend_from_slice(record.as_bytes());
        sender.note();
    }

    #[test]
    fn batches_arrive_in_order_and_the_queue_ends_with_its_sender() {
        let (mut sender, mut receiver) = queue(4, 64);
        assert!(put(&mut sender, &["a", "b"]));
        assert!(put(&mut sender, &["c"]));
        sender.buffer().extend_from_slice(b"last");
        drop(sender);
        assert_eq!(receiver.recv().as_deref(), Some(&b"ab"[..]));
        assert_eq!(receiver.recv().as_deref(), Some(&b"c"[..]));
        assert_eq!(receiver.recv().as_deref(), Some(&b"last"[..]));
        assert!(receiver.recv().is_none());
    }

    #[test]
    fn a_full_queue_drops_the_batch_and_counts_its_records() {
        let (mut sender, mut receiver) = queue(1, 64);
        assert!(put(&mut sender, &["a"]));
        assert!(!put(&mut sender, &["b", "c", "d"]));
        assert_eq!((sender.len(), receiver.dropped()), (0, 3));
        assert_eq!(receiver.recv().as_deref(), Some(&b"a"[..]));
        assert!(put(&mut sender, &["e"]));
        assert_eq!(receiver.recv().as_deref(), Some(&b"e"[..]));
        let counts = receiver.counts();
        assert_eq!((counts.sent(), counts.dropped()), (5, 3));
    }

    #[test]
    fn a_batch_that_is_not_full_is_kept_until_there_is_room_and_a_full_one_is_not() {
        let (mut sender, mut receiver) = queue(1, 4);
        assert!(put(&mut sender, &["a"]));
        for (record, kept) in [("b", 1), ("c", 2), ("d", 3)] {
            add(&mut sender, record);
            assert_eq!((sender.send_or_keep(), sender.len(), receiver.dropped()), (false, kept, 0));
        }
        assert_eq!(receiver.recv().as_deref(), Some(&b"a"[..]));
        assert!(sender.send_or_keep());
        add(&mut sender, "full");
        assert_eq!((sender.send_or_keep(), sender.len(), receiver.dropped()), (false, 0, 1));
        assert_eq!(receiver.recv().as_deref(), Some(&b"bcd"[..]));
    }

    #[test]
    fn nothing_is_sent_for_an_empty_buffer() {
        let (mut sender, mut receiver) = queue(1, 64);
        assert!(sender.send() && sender.send());
        assert!(receiver.try_recv().is_none());
    }

    #[test]
    fn buffers_are_recycled_and_only_those_of_the_usual_size() {
        let (mut sender, mut receiver) = queue(2, 64);
        put(&mut sender, &["a"]);
        let batch = receiver.recv().unwrap();
        let address = batch.as_ptr();
        receiver.recycle(batch);
        put(&mut sender, &["b"]);
        assert_eq!(sender.buffer().as_ptr(), address);
        put(&mut sender, &["x".repeat(1000).as_str()]);
        receiver.recv().unwrap();
        let large = receiver.recv().unwrap();
        assert!(large.bytes.capacity() >= 1000);
        receiver.recycle(large);
        put(&mut sender, &["c"]);
        assert!(sender.buffer().capacity() < 1000);
    }

    #[test]
    fn a_nudge_wakes_a_waiting_receiver_and_keeps_the_queue_open() {
        let (sender, mut receiver) = queue(2, 64);
        let nudge = receiver.nudge().unwrap();
        drop(sender);
        let waiting = std::thread::spawn(move || (receiver.recv(), receiver));
        nudge.nudge();
        let (woken, mut receiver) = waiting.join().unwrap();
        assert_eq!(woken.as_deref(), Some(&b""[..]));
        let nothing = receiver.recv_timeout(Duration::from_millis(1));
        assert_eq!(nothing.err(), Some(RecvTimeoutError::Timeout));
        drop(nudge);
        assert!(receiver.recv().is_none());
    }

    #[test]
    fn several_producers_share_a_queue_keep_their_order_and_get_their_own_buffers_back() {
        let (mut senders, mut receiver) = queues(2, 1, 64);
        assert!(put(&mut senders[1], &["a"]) && put(&mut senders[0], &["b"]));
        assert!(!put(&mut senders[1], &["c", "d"]) && !put(&mut senders[0], &["e"]));
        assert_eq!(receiver.dropped(), 3, "the losses of both");
        let (first, second) = (receiver.recv().unwrap(), receiver.recv().unwrap());
        assert_eq!((&first[..], &second[..]), (&b"a"[..], &b"b"[..]));
        let address = first.as_ptr();
        receiver.recycle(second);
        receiver.recycle(first);
        put(&mut senders[1], &["f"]);
        assert_eq!(senders[1].buffer().as_ptr(), address);
        senders.pop();
        assert_eq!(receiver.recv().as_deref(), Some(&b"f"[..]));
        receiver.nudge();
        senders[0].buffer().extend_from_slice(b"last");
        drop(senders);
        assert_eq!(receiver.recv().as_deref(), Some(&b"last"[..]));
        assert!(receiver.recv().is_none());
    }

    #[test]
    fn a_producer_whose_consumer_is_gone_goes_on() {
        let (mut sender, receiver) = queue(2, 64);
        let counts = receiver.counts();
        drop(receiver);
        assert!(!put(&mut sender, &["a"]));
        assert_eq!(counts.dropped(), 1);
    }
}
