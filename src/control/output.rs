//! Where the access log goes: standard output or a file that can be reopened after a rotation. A batch is one
//! write, but into a pipe, which takes whole lines. A log that cannot be written is said once and costs lines, never the program: a full disk or a reader
//! that went away must not end the service.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::counted::counted;
use crate::base::os_error::reason;
use crate::config::LogTarget;
use crate::control::access::Settled;
use crate::net;

pub struct Output {
    target: LogTarget,
    file: File,
    /// Lines go into it at most so many bytes at a time.
    piece: usize,
    settled: Settled,
    /// Lines lost since writing began to fail; `None` while it works.
    failing: Option<u64>,
    /// A write stopped in the middle of a line.
    torn: bool,
}

/// A terminal or pipe that another program made non-blocking: how often to try again, and with what pause.
const RETRIES: u32 = 100;
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// A pipe takes no more than this as one piece, whole or not at all (pipe(7)): so it is known what a reader who stopped
/// has got.
const PIPE_PIECE: usize = libc::PIPE_BUF;

/// How often a pipe is asked for its reader, and with what pause: for a second in all.
const READER_TRIES: u32 = 50;
const READER_PAUSE: Duration = Duration::from_millis(20);

impl Output {
    pub fn open(target: &LogTarget, settled: Settled) -> io::Result<Output> {
        let (file, piece) = open(target)?;
        Ok(Output { target: target.clone(), file, piece, settled, failing: None, torn: false })
    }

    /// Writes whole lines.
    pub fn write(&mut self, mut text: &[u8]) {
        if text.is_empty() {
            return;
        }
        while !text.is_empty() {
            match self.write_piece(text) {
                Ok(written) => text = &text[written..],
                Err((written, error)) => return self.failed(count_lines(&text[written..]), &error),
            }
        }
        self.say_lost("writing works again, ");
    }

    /// On failure says how much of it was written all the same.
    fn write_piece(&mut self, text: &[u8]) -> Result<usize, (usize, io::Error)> {
        if self.torn {
            write_all(&mut self.file, b"\n").map_err(|(_, error)| (0, error))?;
            self.torn = false;
        }
        let piece = first_lines(text, self.piece);
        let written = write_all(&mut self.file, piece).map(|()| piece.len());
        let lines = &piece[..*written.as_ref().unwrap_or_else(|(written, _)| written)];
        self.torn = lines.last().is_some_and(|byte| *byte != b'\n');
        self.settled.fetch_add(count_lines(lines), Ordering::Relaxed);
        written
    }

    fn failed(&mut self, lines: u64, error: &io::Error) {
        if self.failing.is_none() {
            let reason = reason(error);
            log::error!("access log {}: cannot write: {reason}; requests go on without it", self.name());
        }
        *self.failing.get_or_insert(0) += lines;
    }

    fn say_lost(&mut self, first: &str) {
        if let Some(lost) = self.failing.take() {
            self.settled.fetch_add(lost, Ordering::Relaxed);
            log::warn!("access log {}: {first}{} lost", self.name(), counted(lost, "line"));
        }
    }

    /// Nothing more will be written.
    pub fn end(&mut self) {
        self.say_lost("");
    }

    /// Opens the file anew by its name. If that fails the old one goes on being used.
    pub fn reopen(&mut self) {
        match open(&self.target) {
            Ok((file, piece)) => {
                (self.file, self.piece, self.torn) = (file, piece, false);
                log::info!("access log {} reopened", self.name());
            }
            Err(error) => {
                let (name, reason) = (self.name(), reason(&error));
                log::error!("access log {name}: cannot reopen: {reason}; the old file stays in use");
            }
        }
    }

    fn name(&self) -> String {
        match &self.target {
            LogTarget::Stdout => "to stdout".into(),
            LogTarget::File(path) => path.display().to_string(),
        }
    }
}

/// The file, and how much is written into it at a time.
fn open(target: &LogTarget) -> io::Result<(File, usize)> {
    let file = match target {
        // Our own descriptor of it, since std's handle buffers by lines: a batch would be several writes.
        LogTarget::Stdout => File::from(io::stdout().as_fd().try_clone_to_owned()?),
        LogTarget::File(path) => append_to(path)?,
    };
    let piece = piece_of(&file)?;
    Ok((file, piece))
}

/// Opening a pipe waits until somebody reads it, which may be never: so it is opened without waiting, and the reader
/// has a moment to come.
fn append_to(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640).custom_flags(libc::O_NONBLOCK);
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

/// The lines that `text` begins with, as many as there are within `most` bytes, but one at least.
fn first_lines(text: &[u8], most: usize) -> &[u8] {
    let Some(within) = text.get(..most) else { return text };
    let last = memchr::memrchr(b'\n', within).or_else(|| memchr::memchr(b'\n', text));
    &text[..last.map_or(text.len(), |end| end + 1)]
}

fn count_lines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

/// On failure says how many bytes had been written.
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
    use std::path::PathBuf;

    fn output(path: impl Into<PathBuf>) -> Output {
        Output::open(&LogTarget::File(path.into()), Settled::default()).unwrap()
    }

    fn put(output: &mut Output, line: &str) {
        output.write(line.as_bytes());
    }

    fn settled(output: &Output) -> u64 {
        output.settled.load(Ordering::Relaxed)
    }

    #[test]
    fn a_file_is_appended_to_made_for_its_group_only_and_reopened_by_name() {
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
    fn what_cannot_be_written_is_counted_and_writing_goes_on_afterwards() {
        let mut output = output("/dev/full");
        put(&mut output, "lost\n");
        put(&mut output, "lost\nlost\n");
        assert_eq!((output.failing, settled(&output)), (Some(3), 0));
        output.file = append_to(Path::new("/dev/null")).unwrap();
        put(&mut output, "kept\n");
        assert_eq!((output.failing, output.torn, settled(&output)), (None, false, 4));
    }

    #[test]
    fn a_file_that_cannot_be_opened_again_is_used_further() {
        let mut output = output("/dev/null");
        output.target = LogTarget::File("/nowhere/at/all".into());
        output.reopen();
        put(&mut output, "kept\n");
        assert_eq!(output.failing, None);
    }

    #[test]
    fn a_pipe_takes_lines_whole_and_what_it_did_not_take_is_known() {
        let (mut reader, writer): (PipeReader, _) = io::pipe().unwrap();
        let file = File::from(OwnedFd::from(writer));
        // Full at some line, the write fails there instead of waiting.
        socket2::SockRef::from(&file).set_nonblocking(true).unwrap();
        let mut output = output("/dev/null");
        (output.piece, output.file) = (piece_of(&file).unwrap(), file);
        let line = format!("{}\n", "x".repeat(99));
        put(&mut output, &line.repeat(2_000));
        let taken = settled(&output);
        assert_eq!(output.failing, Some(2_000 - taken));
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
