//! A bounded queue of byte batches from some producers to one consumer. Sending never blocks a producer.
//!
//! A producer (a worker, or a thread that writes to the error log) fills a buffer and sends it whole. A full queue
//! drops the batch instead of waiting, and the loss is counted in records. Producers contend once a batch, not once a
//! record. Emptied buffers go back on a channel of each producer, so that in the steady state nothing is allocated. A
//! `BatchWaker` wakes the consumer without a batch.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver as Channel, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

/// At most `depth` batches wait; a buffer starts with room for `batch_size` bytes and may grow.
pub fn queue(depth: usize, batch_size: usize) -> (Sender, Receiver) {
    let (full, mut receiver) = channel(depth, batch_size);
    (receiver.sender(full, depth), receiver)
}

/// The same for several producers: `depth` batches for each of them.
pub fn queues(producers: usize, depth: usize, batch_size: usize) -> (Vec<Sender>, Receiver) {
    let (full, mut receiver) = channel(depth * producers, batch_size);
    ((0..producers).map(|_| receiver.sender(full.clone(), depth)).collect(), receiver)
}

fn channel(depth: usize, batch_size: usize) -> (SyncSender<Batch>, Receiver) {
    let (full, filled) = mpsc::sync_channel(depth);
    let waker = Some(BatchWaker { full: full.clone() });
    (full, Receiver { filled, emptied: Vec::new(), waker, batch_size, counts: Arc::default() })
}

/// Counts of records over all senders of a queue.
#[derive(Default, Debug)]
pub struct Counts {
    /// In batches that the queue accepted.
    taken: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    /// Dropped so far because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Sent so far, dropped or not.
    pub fn sent(&self) -> u64 {
        self.taken.load(Ordering::Relaxed) + self.dropped()
    }
}

/// Records and the sender whose buffer holds them. Empty if it only woke the receiver.
#[derive(Default, Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Index of the sender.
    from: usize,
}

impl Deref for Batch {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The producer's end.
pub struct Sender {
    full: SyncSender<Batch>,
    empty: Channel<Vec<u8>>,
    number: usize,
    buffer: Vec<u8>,
    records: u64,
    batch_size: usize,
    counts: Arc<Counts>,
}

impl Sender {
    /// Where the next record is appended; call `note` after each.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Bytes not sent yet.
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

    /// Sends the buffer without waiting. False if the queue was full or the consumer is gone: the batch is lost then,
    /// and its records are counted as dropped.
    pub fn send(&mut self) -> bool {
        let sent = self.send_batch();
        if !sent {
            self.drop_batch();
        }
        sent
    }

    /// The same for a caller that tries again soon: when the queue is full, a batch smaller than `batch_size` is kept
    /// and grows. So small batches do not fill up the queue.
    pub fn send_or_keep(&mut self) -> bool {
        if self.buffer.len() >= self.batch_size { self.send() } else { self.send_batch() }
    }

    fn send_batch(&mut self) -> bool {
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

    fn drop_batch(&mut self) {
        self.buffer.clear();
        self.counts.dropped.fetch_add(std::mem::take(&mut self.records), Ordering::Relaxed);
    }
}

/// A worker that ends sends what it has.
impl Drop for Sender {
    fn drop(&mut self) {
        self.send();
    }
}

/// The consumer's end.
pub struct Receiver {
    filled: Channel<Batch>,
    /// Returns buffers to each sender.
    emptied: Vec<SyncSender<Vec<u8>>>,
    waker: Option<BatchWaker>,
    batch_size: usize,
    counts: Arc<Counts>,
}

impl Receiver {
    fn sender(&mut self, full: SyncSender<Batch>, depth: usize) -> Sender {
        // Besides those in the queue, one buffer is with the producer and one with the consumer.
        let (emptied, empty) = mpsc::sync_channel(depth + 2);
        self.emptied.push(emptied);
        let (number, batch_size) = (self.emptied.len() - 1, self.batch_size);
        let (buffer, counts) = (Vec::with_capacity(batch_size), self.counts.clone());
        Sender { full, empty, number, buffer, records: 0, batch_size, counts }
    }

    /// Takes the waker of this receiver; call once, before waiting. The queue is closed when all senders and the
    /// waker are gone.
    pub fn waker(&mut self) -> Option<BatchWaker> {
        self.waker.take()
    }

    /// The next batch, empty after a wake-up; `None` once the queue is closed and drained.
    pub fn recv(&mut self) -> Option<Batch> {
        self.waker = None;
        self.filled.recv().ok()
    }

    pub fn recv_timeout(&mut self, wait: Duration) -> Result<Batch, RecvTimeoutError> {
        self.waker = None;
        self.filled.recv_timeout(wait)
    }

    /// A batch that is already there, if any.
    pub fn try_recv(&mut self) -> Option<Batch> {
        self.filled.try_recv().ok()
    }

    /// Returns a batch's buffer to its sender. One that grew far beyond the usual size is freed instead.
    pub fn recycle(&mut self, batch: Batch) {
        let Batch { mut bytes, from } = batch;
        if (self.batch_size..=4 * self.batch_size).contains(&bytes.capacity())
            && let Some(owner) = self.emptied.get(from)
        {
            bytes.clear();
            // Fails only when the sender is gone or its channel is full: the buffer is freed then.
            let _ = owner.try_send(bytes);
        }
    }

    /// Records dropped so far because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.counts.dropped()
    }

    /// The counts, to be read from other threads.
    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }
}

/// Wakes the receiver.
#[derive(Clone)]
pub struct BatchWaker {
    full: SyncSender<Batch>,
}

impl BatchWaker {
    /// A full queue needs no wake-up: its receiver has a batch to read.
    pub fn wake(&self) {
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
    fn while_the_queue_is_full_a_small_batch_is_kept_and_a_full_one_is_dropped() {
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
    fn only_buffers_of_the_usual_size_are_recycled() {
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
    fn a_waker_wakes_a_waiting_receiver_and_keeps_the_queue_open() {
        let (sender, mut receiver) = queue(2, 64);
        let waker = receiver.waker().unwrap();
        drop(sender);
        let waiting = std::thread::spawn(move || (receiver.recv(), receiver));
        waker.wake();
        let (woken, mut receiver) = waiting.join().unwrap();
        assert_eq!(woken.as_deref(), Some(&b""[..]));
        let nothing = receiver.recv_timeout(Duration::from_millis(1));
        assert_eq!(nothing.err(), Some(RecvTimeoutError::Timeout));
        drop(waker);
        assert!(receiver.recv().is_none());
    }

    #[test]
    fn several_producers_share_a_queue_keep_their_order_and_get_their_own_buffers_back() {
        let (mut senders, mut receiver) = queues(2, 1, 64);
        assert!(put(&mut senders[1], &["a"]) && put(&mut senders[0], &["b"]));
        assert!(!put(&mut senders[1], &["c", "d"]) && !put(&mut senders[0], &["e"]));
        assert_eq!(receiver.dropped(), 3, "dropped by both");
        let (first, second) = (receiver.recv().unwrap(), receiver.recv().unwrap());
        assert_eq!((&first[..], &second[..]), (&b"a"[..], &b"b"[..]));
        let address = first.as_ptr();
        receiver.recycle(second);
        receiver.recycle(first);
        put(&mut senders[1], &["f"]);
        assert_eq!(senders[1].buffer().as_ptr(), address);
        senders.pop();
        assert_eq!(receiver.recv().as_deref(), Some(&b"f"[..]));
        receiver.waker();
        senders[0].buffer().extend_from_slice(b"last");
        drop(senders);
        assert_eq!(receiver.recv().as_deref(), Some(&b"last"[..]));
        assert!(receiver.recv().is_none());
    }

    #[test]
    fn a_producer_goes_on_without_its_consumer() {
        let (mut sender, receiver) = queue(2, 64);
        let counts = receiver.counts();
        drop(receiver);
        assert!(!put(&mut sender, &["a"]));
        assert_eq!(counts.dropped(), 1);
    }
}
