//! The error log: the `log` facade on standard error, through a bounded queue and a thread of its own, so that a
//! stopped terminal or an unread pipe never blocks the data path. The thread begins after the start of the program has
//! given up what only root may do; lines before that are written directly. Lines that find the queue full are dropped and
//! counted. `RSP_LOG` sets levels (`debug`, `warn`, `rsp::worker=trace`); the default is info.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use log::LevelFilter;

use crate::base::batch::{self, Batch, BatchWaker, Counts, Receiver, Sender};
use crate::base::counted::counted;
use crate::base::log_limit::LogLimit;
use crate::control::clock::{self, Stamp};
use crate::control::escape;

const DEPTH: usize = 1024;
const LINE: usize = 256;

/// How long shutdown waits for the last lines.
pub const FLUSH: Duration = Duration::from_secs(1);

/// What was dropped since the log's thread runs.
static COUNTS: OnceLock<Arc<Counts>> = OnceLock::new();

/// Lines of the log that were lost so far.
pub fn dropped() -> u64 {
    COUNTS.get().map_or(0, |counts| counts.dropped())
}

/// The log while the process has no second thread: each line is written at once.
pub struct DirectLog {
    receiver: Receiver,
    queued: Arc<AtomicBool>,
}

/// Keeps the error log running; drop it at the end of the program.
pub struct ErrorLog {
    waker: BatchWaker,
    closing: Arc<AtomicBool>,
    ended: mpsc::Receiver<()>,
}

/// Sets up the log. Panics are logged too, on one line.
pub fn install(default_level: &str) -> DirectLog {
    let (sender, receiver) = batch::queue(DEPTH, LINE);
    let queued = Arc::new(AtomicBool::new(false));
    let writer = QueueWriter { sender, queued: queued.clone() };
    let logger = Leveled { writer: builder("trace", writer).build(), filter: filter(default_level).build() };
    // Fails only on a second start in one process: the first logger stays.
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(filter(default_level).build().filter());
    }
    std::panic::set_hook(Box::new(|info| log::error!("internal fault: {}", one_line(info))));
    DirectLog { receiver, queued }
}

impl DirectLog {
    /// Starts the thread that writes the log from now on.
    pub fn start(mut self) -> io::Result<ErrorLog> {
        let waker = self.receiver.waker().ok_or(io::ErrorKind::Other)?;
        // A second start in one process keeps the first.
        let _ = COUNTS.set(self.receiver.counts());
        let closing = Arc::new(AtomicBool::new(false));
        let (ends, ended) = mpsc::channel::<()>();
        let writer = ErrorWriter::new(self.receiver, closing.clone(), io::stderr());
        thread::Builder::new().name("error-log".into()).spawn(move || {
            writer.run();
            drop(ends);
        })?;
        self.queued.store(true, Ordering::Release);
        Ok(ErrorLog { waker, closing, ended })
    }
}

/// Writes what was logged so far, in bounded time; also when a panic unwinds the control thread.
impl Drop for ErrorLog {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        self.waker.wake();
        let _ = self.ended.recv_timeout(FLUSH);
    }
}

/// What is logged: as RSP_LOG says, or the default level.
fn filter(default_level: &str) -> env_logger::Builder {
    env_logger::Builder::from_env(env_logger::Env::new().filter_or("RSP_LOG", default_level))
}

/// The level that was set while rsp runs; 0 for none, which is as the filter says.
static LEVEL: AtomicUsize = AtomicUsize::new(0);

/// Sets the level of the log, instead of RSP_LOG's, until the process ends.
pub fn set_level(level: LevelFilter) {
    LEVEL.store(level as usize, Ordering::Relaxed);
    log::set_max_level(level);
}

/// The level of the log.
pub fn level() -> String {
    log::max_level().as_str().to_lowercase()
}

/// Writes what the filter, or the level that was set, lets pass.
struct Leveled {
    writer: env_logger::Logger,
    filter: env_logger::Logger,
}

impl log::Log for Leveled {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        match LEVEL.load(Ordering::Relaxed) {
            0 => self.filter.enabled(metadata),
            level => metadata.level() as usize <= level,
        }
    }

    fn log(&self, record: &log::Record<'_>) {
        let passes = match LEVEL.load(Ordering::Relaxed) {
            0 => self.filter.matches(record),
            level => record.level() as usize <= level,
        };
        if passes {
            self.writer.log(record);
        }
    }

    fn flush(&self) {}
}

/// Writes every line that it is given.
fn builder(level: &str, writer: QueueWriter) -> env_logger::Builder {
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(level);
    builder.target(env_logger::Target::Pipe(Box::new(writer)));
    builder.format(|out, record| {
        let mut line = Vec::with_capacity(LINE);
        write_line(&mut line, clock::wall_micros(), record);
        out.write_all(&line)
    });
    builder
}

/// `2000-10-10T13:55:36.123Z INFO Listening on 0.0.0.0:80`; below info also the module.
fn write_line(line: &mut Vec<u8>, micros: u64, record: &log::Record<'_>) {
    let millis = micros / 1000 % 1000;
    let (mut stamp, level) = (Stamp::default(), record.level());
    line.extend_from_slice(format!("{}.{millis:03}Z {level} ", stamp.iso(micros)).as_bytes());
    if level > log::Level::Info {
        line.extend_from_slice(format!("{}: ", record.target()).as_bytes());
    }
    escape::message(&record.args().to_string(), line);
    line.push(b'\n');
}

/// std prints a panic on two lines: location and message.
fn one_line(info: &impl fmt::Display) -> String {
    info.to_string().replacen(":\n", ": ", 1)
}

/// The logger's writer: each write is one whole line.
struct QueueWriter {
    sender: Sender,
    /// There is a thread that takes lines from the queue.
    queued: Arc<AtomicBool>,
}

impl Write for QueueWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !self.queued.load(Ordering::Acquire) {
            return io::stderr().write_all(line).map(|()| line.len());
        }
        self.sender.buffer().extend_from_slice(line);
        self.sender.note();
        self.sender.send();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct ErrorWriter<W> {
    receiver: Receiver,
    closing: Arc<AtomicBool>,
    /// Lines dropped because the queue was full, and the origin of the clock of their reports.
    losses: LogLimit,
    zero: Instant,
    to: W,
}

impl<W: Write> ErrorWriter<W> {
    fn new(receiver: Receiver, closing: Arc<AtomicBool>, to: W) -> ErrorWriter<W> {
        ErrorWriter { receiver, closing, losses: LogLimit::default(), zero: Instant::now(), to }
    }

    fn run(mut self) {
        while let Ok(line) = self.next() {
            if let Some(line) = line {
                self.put(&line);
                self.receiver.recycle(line);
            }
            self.losses.note_total(self.receiver.dropped());
            let lost = self.losses.due(self.now());
            self.report(lost);
            if self.closing.load(Ordering::Acquire) {
                break;
            }
        }
        while let Some(line) = self.receiver.try_recv() {
            self.put(&line);
        }
        self.losses.note_total(self.receiver.dropped());
        let lost = self.losses.rest();
        self.report(lost);
    }

    fn next(&mut self) -> Result<Option<Batch>, RecvTimeoutError> {
        self.losses.note_total(self.receiver.dropped());
        let Some(due_at) = self.losses.due_at() else {
            return self.receiver.recv().map(Some).ok_or(RecvTimeoutError::Disconnected);
        };
        match self.receiver.recv_timeout(Duration::from_micros(due_at.saturating_sub(self.now()))) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(closed) => Err(closed),
        }
    }

    fn now(&self) -> u64 {
        self.zero.elapsed().as_micros() as u64
    }

    /// Errors are ignored: there is nowhere left to report them.
    fn put(&mut self, line: &[u8]) {
        let _ = self.to.write_all(line);
    }

    /// Written directly: the queue was full.
    fn report(&mut self, lost: Option<u64>) {
        let Some(lost) = lost else { return };
        let mut line = Vec::new();
        let lost = counted(lost, "line");
        let message = format_args!("{lost} of this log lost, it could not be written fast enough");
        let record = log::Record::builder().level(log::Level::Warn).args(message).build();
        write_line(&mut line, clock::wall_micros(), &record);
        self.put(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A standard error that blocks until released.
    #[derive(Clone, Default)]
    struct Terminal(Arc<Mutex<Vec<u8>>>);

    impl Write for Terminal {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line(level: log::Level, message: &str) -> String {
        let mut line = Vec::new();
        let args = format_args!("{message}").to_string();
        let args = format_args!("{args}");
        let record = log::Record::builder().level(level).target("rsp::worker").args(args).build();
        write_line(&mut line, 971_186_136_045_999, &record);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_line_has_time_level_and_message_and_stays_one_line() {
        assert_eq!(
            line(log::Level::Info, "Listening on 0.0.0.0:80"),
            "2000-10-10T13:55:36.045Z INFO Listening on 0.0.0.0:80\n"
        );
        assert_eq!(
            line(log::Level::Debug, "a\r\nb"),
            "2000-10-10T13:55:36.045Z DEBUG rsp::worker: a\\x0D\\x0Ab\n"
        );
    }

    #[test]
    fn a_blocked_log_drops_lines_and_reports_how_many() {
        let (sender, mut receiver) = batch::queue(2, 16);
        let (waker, closing) = (receiver.waker().unwrap(), Arc::new(AtomicBool::new(false)));
        let terminal = Terminal::default();
        let held_up = terminal.0.lock().unwrap();
        let writer = ErrorWriter::new(receiver, closing.clone(), terminal.clone());
        let running = thread::spawn(move || writer.run());
        let mut inlet = QueueWriter { sender, queued: Arc::new(AtomicBool::new(true)) };
        for i in 0..100 {
            inlet.write_all(format!("line {i}\n").as_bytes()).unwrap();
        }
        drop(held_up);
        closing.store(true, Ordering::Release);
        waker.wake();
        running.join().unwrap();
        let text = String::from_utf8(terminal.0.lock().unwrap().clone()).unwrap();
        let kept = text.lines().filter(|line| line.starts_with("line ")).count();
        assert!((2..=3).contains(&kept), "{text}");
        let lost: usize = text
            .lines()
            .filter_map(|line| line.split_once(" WARN ")?.1.split(' ').next()?.parse::<usize>().ok())
            .sum();
        assert_eq!(kept + lost, 100, "{text}");
    }
}
