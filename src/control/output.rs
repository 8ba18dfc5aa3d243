//! Destination of the access log: standard output or a file that can be reopened after rotation, or a syslog daemon
//! (`syslog`). A batch is one write, except into a pipe, which gets whole lines in pieces. A write error is reported once
//! and costs lines, never the program: a full disk or a reader that went away must not end the service.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::counted::counted;
use crate::base::os_error::os_error;
use crate::config::LogTarget;
use crate::control::access::Settled;
use crate::control::privileges::Identity;
use crate::control::syslog::{Daemon, SyslogOutput};
use crate::net;

/// Where lines go.
pub enum LogOutput {
    File(FileOutput),
    Syslog(SyslogOutput),
}

impl LogOutput {
    /// `owner`: whose a file is that this makes.
    pub fn open(target: &LogTarget, settled: Settled, owner: Option<&Identity>) -> io::Result<LogOutput> {
        let losses = Losses::new(target, settled);
        let daemon = match target {
            LogTarget::Stdout => return FileOutput::open(None, losses, None).map(LogOutput::File),
            LogTarget::File(path) => return FileOutput::open(Some(path), losses, owner).map(LogOutput::File),
            LogTarget::Syslog(path) => Daemon::Local(path.clone()),
            LogTarget::SyslogUdp(address) => Daemon::Udp(*address),
        };
        Ok(LogOutput::Syslog(SyslogOutput::open(daemon, losses)))
    }

    /// Writes so many whole lines.
    pub fn write(&mut self, text: &[u8], lines: u64) {
        match self {
            LogOutput::File(file) => file.write(text, lines),
            LogOutput::Syslog(daemon) => daemon.write(text),
        }
    }

    /// Opens it again: a file by its name, after a rotation.
    pub fn reopen(&mut self) {
        match self {
            LogOutput::File(file) => file.reopen(),
            LogOutput::Syslog(daemon) => daemon.reopen(),
        }
    }

    /// The count of the lines that could not be written.
    pub fn lost(&self) -> Arc<AtomicU64> {
        match self {
            LogOutput::File(file) => file.losses.total.clone(),
            LogOutput::Syslog(daemon) => daemon.losses.total.clone(),
        }
    }

    /// Reports the losses at the end.
    pub fn end(&mut self) {
        match self {
            LogOutput::File(file) => file.losses.say(""),
            LogOutput::Syslog(daemon) => daemon.losses.say(""),
        }
    }
}

/// Lines that could not be written: reported when that begins and when it is over, and counted.
pub struct Losses {
    name: String,
    settled: Settled,
    /// Lines lost since writing began to fail; `None` while it works.
    failing: Option<u64>,
    /// Lines lost in all.
    total: Arc<AtomicU64>,
}

impl Losses {
    pub fn new(target: &LogTarget, settled: Settled) -> Losses {
        Losses { name: target.to_string(), settled, failing: None, total: Arc::default() }
    }

    /// So many lines were written.
    pub fn wrote(&self, lines: u64) {
        self.settled.fetch_add(lines, Ordering::Relaxed);
    }

    pub fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    pub fn failed(&mut self, lines: u64, error: &io::Error) {
        if self.failing.is_none() {
            let reason = os_error(error);
            log::error!("access log {}: cannot write: {reason}; requests go on without it", self.name);
        }
        *self.failing.get_or_insert(0) += lines;
        self.total.fetch_add(lines, Ordering::Relaxed);
    }

    /// Writing works again, or is over.
    pub fn say(&mut self, first: &str) {
        if let Some(lost) = self.failing.take() {
            self.wrote(lost);
            log::warn!("access log {}: {first}{} lost", self.name, counted(lost, "line"));
        }
    }
}

/// Standard output, or a file.
pub struct FileOutput {
    /// `None`: standard output.
    path: Option<PathBuf>,
    file: File,
    /// The most bytes of whole lines in one write.
    piece: usize,
    losses: Losses,
    /// The last write stopped within a line.
    mid_line: bool,
}

/// Retries and pause for a terminal or pipe that another program made non-blocking.
const RETRIES: u32 = 100;
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// A pipe takes a write of up to this size entirely or not at all (pipe(7)), so that it is known what a stopped
/// reader has received.
const PIPE_PIECE: usize = libc::PIPE_BUF;

/// Tries and pause while a pipe waits for its reader: one second in all.
const READER_TRIES: u32 = 50;
const READER_PAUSE: Duration = Duration::from_millis(20);

impl FileOutput {
    /// `owner`: whose a file is that this makes.
    fn open(path: Option<&PathBuf>, losses: Losses, owner: Option<&Identity>) -> io::Result<FileOutput> {
        let path = path.cloned();
        let (file, piece) = open(path.as_deref(), owner)?;
        Ok(FileOutput { path, file, piece, losses, mid_line: false })
    }

    fn write(&mut self, mut text: &[u8], mut lines: u64) {
        if text.is_empty() {
            return;
        }
        while !text.is_empty() {
            let (written, error) = self.write_piece(text);
            let done = if written == text.len() { lines } else { count_lines(&text[..written]) };
            self.losses.wrote(done);
            (text, lines) = (&text[written..], lines.saturating_sub(done));
            if let Some(error) = error {
                return self.losses.failed(lines, &error);
            }
        }
        self.losses.say("writing works again, ");
    }

    /// Returns how many bytes were written, and what ended it before the piece was.
    fn write_piece(&mut self, text: &[u8]) -> (usize, Option<io::Error>) {
        if self.mid_line {
            if let Err((_, error)) = write_all(&mut self.file, b"\n") {
                return (0, Some(error));
            }
            self.mid_line = false;
        }
        let piece = first_lines(text, self.piece);
        let (written, error) = match write_all(&mut self.file, piece) {
            Ok(()) => (piece.len(), None),
            Err((written, error)) => (written, Some(error)),
        };
        self.mid_line = piece[..written].last().is_some_and(|byte| *byte != b'\n');
        (written, error)
    }

    /// On failure the old file stays in use.
    fn reopen(&mut self) {
        let name = &self.losses.name;
        match open(self.path.as_deref(), None) {
            Ok((file, piece)) => {
                log::info!("access log {name} reopened");
                (self.file, self.piece, self.mid_line) = (file, piece, false);
            }
            Err(error) => {
                let reason = os_error(&error);
                log::error!("access log {name}: cannot reopen: {reason}; the old file stays in use");
            }
        }
    }
}

/// The file and the largest write into it.
fn open(path: Option<&Path>, owner: Option<&Identity>) -> io::Result<(File, usize)> {
    let file = match path {
        // A descriptor of our own: std's handle buffers by lines, which would split a batch into several writes.
        None => File::from(io::stdout().as_fd().try_clone_to_owned()?),
        Some(path) => match owner.filter(|owner| owner.is_switch()) {
            Some(owner) => append_as_root(path, owner)?,
            None => append_to(path, 0)?,
        },
    };
    let piece = piece_of(&file)?;
    Ok((file, piece))
}

/// The user may write to the directory, so no link there is followed; a new file is the user's, who could not open it
/// again otherwise.
fn append_as_root(path: &Path, owner: &Identity) -> io::Result<File> {
    let mut new = OpenOptions::new();
    match new.append(true).create_new(true).mode(0o640).open(path) {
        Ok(file) => owner.give(&file).map(|()| file),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => append_to(path, libc::O_NOFOLLOW),
        Err(error) => Err(error),
    }
}

/// Opening a pipe blocks until it has a reader, which may be never: so it is opened non-blocking, and retried for a
/// moment.
fn append_to(path: &Path, flags: i32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640).custom_flags(libc::O_NONBLOCK | flags);
    for _ in 0..READER_TRIES {
        match options.open(path) {
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) && is_pipe(path) => {
                std::thread::sleep(READER_PAUSE);
            }
            Err(error) => return Err(error),
            Ok(file) => {
                net::set_blocking(&file)?;
                return Ok(file);
            }
        }
    }
    Err(io::Error::other("nobody reads this pipe (start its reader first)"))
}

fn is_pipe(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

fn piece_of(file: &File) -> io::Result<usize> {
    let is_pipe = file.metadata()?.file_type().is_fifo();
    Ok(if is_pipe { PIPE_PIECE } else { usize::MAX })
}

/// The lines at the start of `text` that fit into `most` bytes, but at least one.
fn first_lines(text: &[u8], most: usize) -> &[u8] {
    let Some(within) = text.get(..most) else { return text };
    let last = memchr::memrchr(b'\n', within).or_else(|| memchr::memchr(b'\n', text));
    &text[..last.map_or(text.len(), |end| end + 1)]
}

fn count_lines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

/// On failure returns how many bytes had been written.
fn write_all(file: &mut File, text: &[u8]) -> Result<(), (usize, io::Error)> {
    let (mut written, mut retries) = (0, 0);
    while written < text.len() {
        match file.write(&text[written..]) {
            Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
            Ok(n) => (written, retries) = (written + n, 0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && retries < RETRIES => {
                retries += 1;
                std::thread::sleep(RETRY_PAUSE);
            }
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, Read};
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::PermissionsExt;

    fn output(path: impl Into<PathBuf>) -> FileOutput {
        let path = path.into();
        let losses = Losses::new(&LogTarget::File(path.clone()), Settled::default());
        FileOutput::open(Some(&path), losses, None).unwrap()
    }

    fn put(output: &mut FileOutput, line: &str) {
        output.write(line.as_bytes(), count_lines(line.as_bytes()));
    }

    fn settled(output: &FileOutput) -> u64 {
        output.losses.settled.load(Ordering::Relaxed)
    }

    #[test]
    fn a_file_is_created_readable_by_its_group_appended_to_and_reopened_by_name() {
        let folder = std::env::temp_dir().join(format!("rsp-output-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, old) = (folder.join("access"), folder.join("access.1"));
        let mut output = self::output(&path);
        put(&mut output, "one\n");
        std::fs::rename(&path, &old).unwrap();
        put(&mut output, "two\n");
        output.reopen();
        put(&mut output, "three\n");
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
        drop(output);
        put(&mut self::output(&path), "four\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\nfour\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn lost_lines_are_counted_and_writing_resumes() {
        let mut output = output("/dev/full");
        put(&mut output, "lost\n");
        put(&mut output, "lost\nlost\n");
        assert_eq!((output.losses.failing, settled(&output)), (Some(3), 0));
        output.file = append_to(Path::new("/dev/null"), 0).unwrap();
        put(&mut output, "kept\n");
        assert_eq!((output.losses.failing, output.mid_line, settled(&output)), (None, false, 4));
        assert_eq!(output.losses.total.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_file_that_cannot_be_reopened_stays_in_use() {
        let mut output = output("/dev/null");
        output.path = Some("/nowhere/at/all".into());
        output.reopen();
        put(&mut output, "kept\n");
        assert_eq!(output.losses.failing, None);
    }

    #[test]
    fn a_pipe_gets_whole_lines_and_the_rest_is_counted() {
        let (mut reader, writer): (PipeReader, _) = io::pipe().unwrap();
        let file = File::from(OwnedFd::from(writer));
        // Non-blocking: a full pipe is an error at some line.
        socket2::SockRef::from(&file).set_nonblocking(true).unwrap();
        let mut output = output("/dev/null");
        (output.piece, output.file) = (piece_of(&file).unwrap(), file);
        let line = format!("{}\n", "x".repeat(99));
        put(&mut output, &line.repeat(2_000));
        let taken = settled(&output);
        assert_eq!(output.losses.failing, Some(2_000 - taken));
        let mut text = String::new();
        output = self::output("/dev/null");
        reader.read_to_string(&mut text).unwrap();
        assert_eq!((text, settled(&output)), (line.repeat(taken as usize), 0));
    }

    #[test]
    fn pieces_are_whole_lines_and_a_line_longer_than_a_piece_is_one() {
        for (text, most, first) in [
            ("a\nb\nc\n", 4, "a\nb\n"),
            ("a\nb\n", 9, "a\nb\n"),
            ("a\nb\n", 4, "a\nb\n"),
            ("abc\nd\n", 2, "abc\n"),
        ] {
            assert_eq!(first_lines(text.as_bytes(), most), first.as_bytes());
        }
    }
}
