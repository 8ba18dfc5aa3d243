//! The access log's thread: takes batches of records from the workers' queue, formats them and writes each batch in
//! one call. Only this thread blocks on the disk or the terminal; records that find the queue full are dropped and
//! counted. The control thread reports them on the error log, as this one may stand still for long.
//!
//! ```text
//! worker ─ records ─► queue ─ batch ─► line … line ─ one write ─► stdout or file
//! ```

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::base::batch::{self, BatchWaker, Counts, Receiver, Sender};
use crate::base::counted::counted;
use crate::base::log_limit::LogLimit;
use crate::config::LogTarget;
use crate::control::clock::Clock;
use crate::control::lines::FormatLine;
use crate::control::output::LogOutput;
use crate::control::privileges::Identity;
use crate::exchange::record::Record;
use crate::worker::AccessSender;

/// 16 batches of 128 KiB a worker: some ten thousand lines. A worker that is busy sends one once it is half full: with
/// smaller ones, waking this thread costs more than what it does.
const DEPTH: usize = 16;
const BATCH_SIZE: usize = 128 * 1024;

/// The control thread's handle to the running access log.
pub struct AccessLogHandle {
    /// Keeps the queue open.
    waker: Option<BatchWaker>,
    reopen: Arc<AtomicBool>,
    ended: mpsc::Receiver<()>,
    dropped: Arc<Dropped>,
}

/// The lines that are lost because the queue was full.
struct Dropped {
    counts: Arc<Counts>,
    settled: Settled,
    /// Those that could not be written, beside.
    unwritten: Arc<AtomicU64>,
    told: Mutex<LogLimit>,
}

/// Number of lines written or reported as lost.
pub type Settled = Arc<AtomicU64>;

/// An open log whose thread does not run yet.
pub struct OpenedLog(AccessWriter);

/// Opens the log. Returns a sender for each worker. `owner`: whose a file is that this makes.
pub fn open(
    target: &LogTarget,
    line: FormatLine,
    clock: Clock,
    workers: usize,
    owner: Option<&Identity>,
) -> io::Result<(Vec<Sender>, OpenedLog)> {
    let settled = Settled::default();
    let output = LogOutput::open(target, settled.clone(), owner)?;
    let (senders, receiver) = batch::queues(workers, DEPTH, BATCH_SIZE);
    let (counts, unwritten) = (receiver.counts(), output.lost());
    let dropped = Arc::new(Dropped { counts, settled, unwritten, told: Mutex::default() });
    let writer = AccessWriter {
        receiver,
        output,
        line,
        clock,
        reopen: Arc::new(AtomicBool::new(false)),
        dropped,
        lines: Vec::new(),
    };
    Ok((senders, OpenedLog(writer)))
}

impl OpenedLog {
    /// Starts the thread that writes the log.
    pub fn start(self) -> io::Result<AccessLogHandle> {
        let OpenedLog(mut writer) = self;
        let waker = writer.receiver.waker().ok_or(io::ErrorKind::Other)?;
        let (reopen, dropped) = (writer.reopen.clone(), writer.dropped.clone());
        let (ends, ended) = mpsc::channel::<()>();
        thread::Builder::new().name("access-log".into()).spawn(move || {
            writer.run();
            drop(ends);
        })?;
        Ok(AccessLogHandle { waker: Some(waker), reopen, ended, dropped })
    }
}

impl AccessLogHandle {
    /// Reopens the file after the batches that are queued already.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }

    /// The lines that were lost so far, in the queue or when they were written.
    pub fn dropped(&self) -> u64 {
        self.dropped.counts.dropped() + self.dropped.unwritten.load(Ordering::Relaxed)
    }

    /// Reports lines that were dropped, at most every ten seconds. `now`: microseconds of any steady clock.
    pub fn report_dropped(&self, now: u64) {
        self.dropped.report(Some(now));
    }

    /// Another log takes its place: it ends once the last sender is gone and all is written.
    pub fn retire(mut self) -> AccessLogHandle {
        self.waker = None;
        self
    }

    /// Whether one that was retired has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Waits until everything sent is written. The workers must have ended, since their senders keep the queue open.
    /// Returns the number of lost lines if that takes longer than `wait`.
    pub fn close(self, wait: Duration) -> Result<(), u64> {
        drop(self.waker);
        match self.ended.recv_timeout(wait) {
            Err(RecvTimeoutError::Disconnected) => Ok(()),
            _ => Err(self.dropped.counts.sent().saturating_sub(self.dropped.settled.load(Ordering::Relaxed))),
        }
    }
}

impl Dropped {
    /// All at the end, without a time.
    fn report(&self, now: Option<u64>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.note_total(self.counts.dropped());
        let lost = match now {
            Some(now) => told.due(now),
            None => told.rest(),
        };
        if let Some(lost) = lost {
            self.settled.fetch_add(lost, Ordering::Relaxed);
            log::warn!("access log: {} lost, it could not be written fast enough", counted(lost, "line"));
        }
    }
}

struct AccessWriter {
    receiver: Receiver,
    output: LogOutput,
    line: FormatLine,
    clock: Clock,
    reopen: Arc<AtomicBool>,
    dropped: Arc<Dropped>,
    /// The text of one batch; the allocation is reused.
    lines: Vec<u8>,
}

impl AccessWriter {
    fn run(mut self) {
        while let Some(batch) = self.receiver.recv() {
            self.write(&batch);
            self.receiver.recycle(batch);
            if self.reopen.swap(false, Ordering::Acquire) {
                self.output.reopen();
            }
        }
        self.dropped.report(None);
        self.output.end();
    }

    fn write(&mut self, mut batch: &[u8]) {
        let (zero, mut count) = (self.clock.wall_at_zero(), 0);
        while let Some(record) = Record::read(&mut batch) {
            (self.line)(&record, zero + record.times.start, &mut self.lines);
            count += 1;
        }
        self.output.write(&self.lines, count);
        self.lines.clear();
        self.lines.shrink_to(4 * BATCH_SIZE);
    }
}

/// The access log, and earlier ones that may have lines to write.
#[derive(Default)]
pub struct Access {
    pub log: Option<AccessLogHandle>,
    pub former: Vec<AccessLogHandle>,
    /// Lines that were lost of those that have ended.
    pub lost: u64,
    /// Not as the config says.
    pub is_own: bool,
}

/// A sender for each worker, and the log.
pub type OpenLog<L> = (Vec<AccessSender>, L);

impl Access {
    /// What each worker gets, if anything.
    pub fn switch(
        &mut self,
        next: Option<Option<OpenLog<AccessLogHandle>>>,
        workers: usize,
    ) -> Vec<Option<Option<AccessSender>>> {
        let Some(next) = next else { return (0..workers).map(|_| None).collect() };
        // Those that have ended need not be waited for at the end.
        let lost = &mut self.lost;
        self.former.retain(|log| {
            let ended = log.has_ended();
            *lost += if ended { log.dropped() } else { 0 };
            !ended
        });
        self.former.extend(self.log.take().map(AccessLogHandle::retire));
        match next {
            Some((senders, log)) => {
                self.log = Some(log);
                senders.into_iter().map(|sender| Some(Some(sender))).collect()
            }
            None => (0..workers).map(|_| Some(None)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn send(sender: &mut Sender, target: &str) {
        let record = Record { status: 200, method: b"GET", target: target.as_bytes(), ..Record::default() };
        record.write(sender.buffer());
        sender.note();
        sender.send();
    }

    fn targets_only() -> FormatLine {
        Box::new(|record, _, out| {
            out.extend_from_slice(record.target);
            out.push(b'\n');
        })
    }

    fn start(path: &str) -> (Vec<Sender>, AccessLogHandle) {
        let clock = Clock { zero: Instant::now() };
        let (senders, log) = open(&LogTarget::File(path.into()), targets_only(), clock, 1, None).unwrap();
        (senders, log.start().unwrap())
    }

    fn until(what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !holds() {
            assert!(Instant::now() < deadline, "{what} did not come about");
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn records_are_written_to_the_file_of_that_name_and_close_waits_for_them() {
        let folder = std::env::temp_dir().join(format!("rsp-access-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, old) = (folder.join("log"), folder.join("log.1"));
        let (mut senders, log) = start(path.to_str().unwrap());
        let mut sender = senders.remove(0);
        send(&mut sender, "/1");
        until("the first line", || std::fs::read(&path).unwrap() == b"/1\n");
        std::fs::rename(&path, &old).unwrap();
        log.reopen();
        until("a new file", || path.exists());
        for i in 2..2_000 {
            send(&mut sender, &format!("/{i}"));
        }
        let counts = log.dropped.counts.clone();
        drop(sender);
        assert_eq!(log.close(Duration::from_secs(60)), Ok(()));
        let lines = std::fs::read_to_string(&path).unwrap();
        assert_eq!(lines.lines().count() as u64 + counts.dropped(), 1_998);
        assert!(lines.starts_with("/2\n"));
        assert_eq!(std::fs::read(&old).unwrap(), b"/1\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn close_does_not_wait_for_ever() {
        let (senders, log) = start("/dev/null");
        assert_eq!(log.close(Duration::from_millis(20)), Err(0), "a sender is left");
        drop(senders);
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_an_error_at_start() {
        let clock = Clock { zero: Instant::now() };
        assert!(open(&LogTarget::File("/nowhere/at/all".into()), targets_only(), clock, 1, None).is_err());
    }

    #[test]
    fn lines_that_could_not_be_written_are_counted() {
        let (mut senders, log) = start("/dev/full");
        let mut sender = senders.remove(0);
        (0..3).for_each(|_| send(&mut sender, "/"));
        until("they are lost", || log.dropped() == 3);
        drop(sender);
        assert_eq!(log.close(Duration::from_secs(60)), Ok(()));
    }
}
