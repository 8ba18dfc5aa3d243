//! One connection to the control socket or the admin address: bytes in, requests out, answers in, bytes out. A client
//! has ten seconds for each request, and for taking each answer.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::console::{Answer, Command, Console, ConsoleStep};
use super::http::{self, HttpAnswer, HttpRequest, HttpStep};
use crate::config::ControlLevel;
use crate::net::{Stream, Transport};

/// For a request, and for taking an answer.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// The most bytes of a request.
const REQUEST_SIZE: usize = 64 << 10;
/// How long a client that was answered may go on sending.
const LINGER: Duration = Duration::from_secs(1);

pub struct Connection {
    pub stream: Stream,
    protocol: Protocol,
    input: Vec<u8>,
    output: Vec<u8>,
    /// The client sends no more.
    is_whole: bool,
    stage: Stage,
    deadline: Instant,
}

enum Protocol {
    Console(Console),
    Http(Option<HttpRequest>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Reading,
    /// A request waits for its answer.
    Asked,
    /// The last bytes are on their way.
    Ending,
    /// They are; what still comes is dropped.
    Lingering,
}

/// What the process has to answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    Command(Command),
    Http(HttpRequest),
}

/// Whether the connection is still there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alive {
    Yes,
    No,
}

impl Connection {
    pub fn console(stream: Stream) -> Connection {
        Connection::new(stream, Protocol::Console(Console::default()))
    }

    pub fn http(stream: Stream) -> Connection {
        Connection::new(stream, Protocol::Http(None))
    }

    fn new(stream: Stream, protocol: Protocol) -> Connection {
        Connection {
            stream,
            protocol,
            input: Vec::new(),
            output: Vec::new(),
            is_whole: false,
            stage: Stage::Reading,
            deadline: Instant::now() + REQUEST_TIME,
        }
    }

    /// When it is closed if nothing happens. `None` while it waits for an answer.
    pub fn deadline(&self) -> Option<Instant> {
        (self.stage != Stage::Asked).then_some(self.deadline)
    }

    /// Reads and writes what the kernel has and takes.
    pub fn transfer(&mut self) -> Alive {
        let moved = self.receive().and_then(|()| self.send());
        match moved {
            Ok(()) if !(self.stage == Stage::Lingering && self.is_whole) => Alive::Yes,
            _ => Alive::No,
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut piece = [0; 4096];
        while !self.is_whole && (self.input.len() < REQUEST_SIZE || self.stage == Stage::Lingering) {
            match self.stream.recv(&mut piece) {
                Ok(0) => self.is_whole = true,
                Ok(_) if self.stage == Stage::Lingering => {}
                Ok(count) => self.input.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.send(&self.output) {
                Ok(count) => {
                    self.output.drain(..count);
                    self.deadline = Instant::now() + REQUEST_TIME;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.stage == Stage::Ending {
            self.stage = Stage::Lingering;
            self.deadline = Instant::now() + LINGER;
            self.input = Vec::new();
            self.stream.shutdown_write()?;
            return self.receive();
        }
        Ok(())
    }

    /// The next request, if it is whole and the one before it is answered.
    pub fn next(&mut self, level: ControlLevel) -> Option<Request> {
        // A client that does not take its answers gets no further ones.
        if self.stage != Stage::Reading || self.output.len() > REQUEST_SIZE {
            return None;
        }
        let request = match &mut self.protocol {
            Protocol::Console(console) => {
                match console.next(&mut self.input, self.is_whole, level, &mut self.output) {
                    ConsoleStep::Command(command) => Some(Request::Command(command)),
                    ConsoleStep::More => None,
                    ConsoleStep::Close => return self.end(),
                }
            }
            Protocol::Http(asked) => match http::read(&self.input) {
                HttpStep::Request(request) => {
                    *asked = Some(request.clone());
                    Some(Request::Http(request))
                }
                HttpStep::Answer(answer) => {
                    http::write(&answer, None, &mut self.output);
                    return self.end();
                }
                HttpStep::More if self.is_whole => return self.end(),
                HttpStep::More => None,
            },
        };
        match request {
            Some(_) => self.stage = Stage::Asked,
            None if self.input.len() >= REQUEST_SIZE => return self.refuse_size(),
            None => {}
        }
        request
    }

    fn refuse_size(&mut self) -> Option<Request> {
        match &mut self.protocol {
            Protocol::Console(console) => {
                let answer = Answer::error("The command is too long");
                console.answer(&answer, &mut self.output);
            }
            Protocol::Http(_) => {
                http::write(&HttpAnswer::text(413, "the request is too long\n"), None, &mut self.output)
            }
        }
        self.end()
    }

    fn end(&mut self) -> Option<Request> {
        self.stage = Stage::Ending;
        None
    }

    /// Answers a command.
    pub fn answer(&mut self, answer: &Answer) {
        if let Protocol::Console(console) = &mut self.protocol {
            console.answer(answer, &mut self.output);
            self.stage = Stage::Reading;
            self.deadline = Instant::now() + REQUEST_TIME;
        }
    }

    /// Answers a request, and ends.
    pub fn answer_http(&mut self, answer: &HttpAnswer) {
        if let Protocol::Http(request) = &self.protocol {
            http::write(answer, request.as_ref(), &mut self.output);
            self.stage = Stage::Ending;
            self.deadline = Instant::now() + REQUEST_TIME;
        }
    }
}
