//! Handing the service to a new binary (USR2) without a refused connection. The new process gets the listening sockets
//! and what the old one knows, loads its config and starts its workers; then it takes over, and the old one drains. If
//! it ends or is not ready in time, the old one goes on as if nothing had been.
//!
//! ```text
//! old   start ────────────── state ────────────── take over ─► drain, end
//!         │ sockets, channel   ▲ │                  ▲    │
//! new     └─► load, open ──────┘ └─► workers start ─┘    └─► the service
//! ```

mod handover;
mod predecessor;

use std::env;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

pub use handover::Handover;
pub use predecessor::Predecessor;

use crate::base::os_error::os_error;
use crate::control::notify;
use crate::net;

/// How long the new process may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take to read a message.
const SEND_WITHIN: Duration = Duration::from_secs(1);
/// The channel's descriptor, in the environment of the new process.
const CHANNEL: &str = "RSP_UPGRADE";

/// The lines of the channel.
const ASK_STATE: &str = "state\n";
const READY: &str = "ready\n";
const TAKE_OVER: &str = "take over\n";

/// The running binary and its directory, as they were when it was started: later its file may be another one.
static PROGRAM: OnceLock<Option<(PathBuf, PathBuf)>> = OnceLock::new();

/// Remembers where the program is. Call before anything changes.
pub fn remember_program() {
    let program = || Some((env::current_exe().ok()?, env::current_dir().ok()?));
    // A second start in one process keeps the first.
    let _ = PROGRAM.set(program());
}

/// A new process that is not ready yet.
pub struct Upgrade {
    child: Child,
    channel: UnixStream,
    /// What has arrived of a line.
    input: String,
    until: Instant,
}

/// What the new process wants.
#[derive(PartialEq, Eq, Debug)]
pub enum Wanted {
    Nothing,
    State,
    /// It is ready to be the service.
    TakeOver,
    /// It will not be; why.
    Failed(String),
}

impl Upgrade {
    /// Starts the new binary with these sockets, each with the address of its listener.
    pub fn start(sockets: &[(String, RawFd)], registry: &Registry, token: Token) -> io::Result<Upgrade> {
        let unknown = || io::Error::other("it is not known where the program is");
        let (program, directory) = PROGRAM.get().cloned().flatten().ok_or_else(unknown)?;
        let arguments: Vec<OsString> = env::args_os().skip(1).collect();
        let (own, others) = std::os::unix::net::UnixStream::pair()?;
        let mut command = Command::new(&program);
        command.args(arguments).current_dir(directory).env(CHANNEL, others.as_raw_fd().to_string());
        notify::hand_on(&mut command);
        net::pass(&mut command, sockets, &[others.as_raw_fd()]);
        let child = command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {}", program.display(), os_error(&error)))
        })?;
        own.set_nonblocking(true)?;
        let mut channel = UnixStream::from_std(own);
        registry.register(&mut channel, token, Interest::READABLE)?;
        Ok(Upgrade { child, channel, input: String::new(), until: Instant::now() + READY_WITHIN })
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// When it has had its time.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Reads what the new process wants. Call until it wants nothing.
    pub fn wanted(&mut self) -> Wanted {
        let mut piece = [0; 256];
        loop {
            if let Some(end) = self.input.find('\n') {
                let line: String = self.input.drain(..=end).collect();
                return match line.as_str() {
                    ASK_STATE => Wanted::State,
                    READY => Wanted::TakeOver,
                    other => {
                        Wanted::Failed(format!("it says {:?}, which is not understood", other.trim_end()))
                    }
                };
            }
            match self.channel.read(&mut piece) {
                Ok(0) => return Wanted::Failed(self.end()),
                Ok(count) => self.input.push_str(&String::from_utf8_lossy(&piece[..count])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Wanted::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Wanted::Failed(self.end()),
            }
        }
    }

    /// How it has ended.
    fn end(&mut self) -> String {
        // The channel closes a moment before the process ends.
        let _ = self.child.kill();
        match self.child.wait() {
            Ok(status) if status.code().is_some() => format!("it ended ({status}); its own lines say why"),
            Ok(_) => "it ended before it was ready; its own lines say why".into(),
            Err(error) => format!("it ended ({error})"),
        }
    }

    /// Tells the new process what this one knows. A failure shows when the channel is read.
    pub fn send_state(&mut self, handover: &Handover) {
        let _ = self.send(&format!("{}\n", handover.to_line()));
    }

    /// Lets the new process be the service.
    pub fn hand_over(mut self) -> io::Result<u32> {
        self.send(TAKE_OVER)?;
        let _ = self.channel.shutdown(Shutdown::Both);
        Ok(self.child.id())
    }

    /// The state of many servers is more than the channel holds; the new process does nothing but read it.
    fn send(&mut self, text: &str) -> io::Result<()> {
        let channel = SockRef::from(&self.channel);
        channel.set_nonblocking(false)?;
        channel.set_write_timeout(Some(SEND_WITHIN))?;
        let sent = (&*channel).write_all(text.as_bytes());
        channel.set_nonblocking(true)?;
        sent
    }

    /// Ends it.
    pub fn give_up(mut self) {
        self.end();
    }
}
