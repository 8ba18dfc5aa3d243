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
        // Until this one takes over, its end must not take the files of the other's sockets along.
        net::leave_socket_files(true);
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

    /// Says that this process serves, and waits until it is the service. `unused`: the names of passed sockets that no
    /// listener has. False if the old process is gone.
    pub fn take_over(mut self, unused: &[String]) -> io::Result<bool> {
        let ready = [&[READY.to_owned()], unused].concat().join("\t");
        let answer = self.ask(&format!("{ready}\n"))?;
        net::leave_socket_files(false);
        Ok(answer == TAKE_OVER)
    }

    fn ask(&mut self, question: &str) -> io::Result<String> {
        self.channel.get_mut().write_all(question.as_bytes())?;
        let mut line = String::new();
        self.channel.read_line(&mut line)?;
        Ok(line)
    }
}
