//! Where the access log goes: standard output or a file that can be reopened after a rotation. A batch is one
//! write. A log that cannot be written is said once and costs lines, never the program: a full disk or a reader
//! that went away must not end the service.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use crate::base::counted::counted;
use crate::config::LogTarget;

pub struct Output {
    target: LogTarget,
    file: File,
    /// Lines lost since writing began to fail; `None` while it works.
    failing: Option<u64>,
    /// A write stopped in the middle of a line.
    torn: bool,
}

/// A terminal or pipe that another program made non-blocking: how often to try again, and with what pause.
const RETRIES: u32 = 100;
const RETRY_PAUSE: Duration = Duration::from_millis(10);

impl Output {
    pub fn open(target: &LogTarget) -> io::Result<Output> {
        Ok(Output { target: target.clone(), file: open(target)?, failing: None, torn: false })
    }

    /// Writes whole lines. `lines` counts them, for the report if they are lost.
    pub fn write(&mut self, text: &mut Vec<u8>, lines: u64) {
        if self.torn {
            text.insert(0, b'\n');
        }
        match write_all(&mut self.file, text) {
            Ok(()) => self.succeeded(),
            Err((written, error)) => {
                let last = if written > 0 { Some(text[written - 1]) } else { None };
                self.torn = last.map_or(self.torn, |byte| byte != b'\n');
                self.failed(lines, &error);
            }
        }
    }

    fn succeeded(&mut self) {
        self.torn = false;
        if let Some(lost) = self.failing.take() {
            let lost = counted(lost, "line");
            log::warn!("access log {}: writing works again, {lost} lost", self.name());
        }
    }

    fn failed(&mut self, lines: u64, error: &io::Error) {
        if self.failing.is_none() {
            log::error!("access log {}: cannot write: {error}; requests go on without it", self.name());
        }
        *self.failing.get_or_insert(0) += lines;
    }

    /// Opens the file anew by its name. If that fails the old one goes on being used.
    pub fn reopen(&mut self) {
        match open(&self.target) {
            Ok(file) => {
                (self.file, self.torn) = (file, false);
                log::info!("access log {} reopened", self.name());
            }
            Err(error) => {
                log::error!("access log {}: cannot reopen: {error}; the old file stays in use", self.name())
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

fn open(target: &LogTarget) -> io::Result<File> {
    match target {
        // Our own descriptor of it, since std's handle buffers by lines: a batch would be several writes.
        LogTarget::Stdout => Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        LogTarget::File(path) => append_to(path),
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
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
    use std::os::unix::fs::PermissionsExt;

    fn put(output: &mut Output, line: &str) {
        output.write(&mut line.as_bytes().to_vec(), 1);
    }

    #[test]
    fn a_file_is_appended_to_made_for_its_group_only_and_reopened_by_name() {
        let folder = std::env::temp_dir().join(format!("rsp-output-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, old) = (folder.join("access"), folder.join("access.1"));
        let mut output = Output::open(&LogTarget::File(path.clone())).unwrap();
        put(&mut output, "one\n");
        std::fs::rename(&path, &old).unwrap();
        put(&mut output, "two\n");
        output.reopen();
        put(&mut output, "three\n");
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
        drop(output);
        put(&mut Output::open(&LogTarget::File(path.clone())).unwrap(), "four\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\nfour\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_writing_goes_on_afterwards() {
        let mut output = Output::open(&LogTarget::File("/dev/full".into())).unwrap();
        put(&mut output, "lost\n");
        put(&mut output, "lost\n");
        assert_eq!(output.failing, Some(2));
        output.file = append_to(Path::new("/dev/null")).unwrap();
        put(&mut output, "kept\n");
        assert_eq!((output.failing, output.torn), (None, false));
    }

    #[test]
    fn a_file_that_cannot_be_opened_again_is_used_further() {
        let mut output = Output::open(&LogTarget::File("/dev/null".into())).unwrap();
        output.target = LogTarget::File("/nowhere/at/all".into());
        output.reopen();
        put(&mut output, "kept\n");
        assert_eq!(output.failing, None);
    }
}
