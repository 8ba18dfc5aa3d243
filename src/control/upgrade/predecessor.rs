//! The new process's side of an upgrade: the channel to the process that started it.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{ASK_STATE, CHANNEL, Handover, READY, TAKE_OVER};
use crate::net;

/// The old process answers at once, or it is stuck or gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// The process that this one takes over from.
pub struct Predecessor {
    channel: BufReader<UnixStream>,
}

impl Predecessor {
    /// Takes what the environment says, and removes it from there as long as no other thread could be reading it.
    pub fn take() -> io::Result<Option<Predecessor>> {
        let Ok(number) = std::env::var(CHANNEL) else { return Ok(None) };
        net::forget(&[CHANNEL]);
        let unreadable = || io::Error::other(format!("{CHANNEL} in the environment is not understood"));
        let number: RawFd = number.parse().map_err(|_| unreadable())?;
        let channel = net::adopt_stream(number).map_err(|_| unreadable())?;
        channel.set_read_timeout(Some(PATIENCE))?;
        channel.set_write_timeout(Some(PATIENCE))?;
        Ok(Some(Predecessor { channel: BufReader::new(channel) }))
    }

    /// Asks what it knows.
    pub fn state(&mut self) -> Result<Handover, String> {
        let line = self.ask(ASK_STATE).map_err(|error| error.to_string())?;
        Handover::from_line(&line)
    }

    /// Says that this process serves, and waits until it is the service.
    pub fn take_over(mut self) -> io::Result<()> {
        match self.ask(READY)? == TAKE_OVER {
            true => Ok(()),
            false => Err(io::Error::other("the old process is gone")),
        }
    }

    fn ask(&mut self, question: &str) -> io::Result<String> {
        self.channel.get_mut().write_all(question.as_bytes())?;
        let mut line = String::new();
        self.channel.read_line(&mut line)?;
        Ok(line)
    }
}
