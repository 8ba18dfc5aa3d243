//! One connection to the control socket or the admin address: bytes in, requests out, answers in, bytes out. A client
//! has ten seconds for each request, and for taking each answer.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::commands::Command;
use super::console::{Answer, Console, ConsoleStep};
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
    /// How much of the output the client has.
    sent: usize,
    /// How much came after the last request.
    dropped: usize,
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
    /// Part of the answer is there.
    Telling,
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

/// What a connection has moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transferred {
    Nothing,
    Some,
    /// The connection is over.
    Ended,
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
            sent: 0,
            dropped: 0,
            is_whole: false,
            stage: Stage::Reading,
            deadline: Instant::now() + REQUEST_TIME,
        }
    }

    /// When it is closed if nothing happens. `None` while it waits for an answer.
    pub fn deadline(&self) -> Option<Instant> {
        (self.stage != Stage::Asked).then_some(self.deadline)
    }

    /// Reads and writes what the kernel has and takes, within the limits.
    pub fn transfer(&mut self) -> Transferred {
        let moved = self.receive().and_then(|received| Ok(received | self.send()?));
        match moved {
            Ok(_) if self.stage == Stage::Lingering && self.is_whole => Transferred::Ended,
            Ok(true) => Transferred::Some,
            Ok(false) => Transferred::Nothing,
            Err(_) => Transferred::Ended,
        }
    }

    /// Returns whether anything came.
    fn receive(&mut self) -> io::Result<bool> {
        let (mut piece, mut moved) = ([0; 4096], false);
        while !self.is_whole && self.input.len() < REQUEST_SIZE {
            match self.stream.recv(&mut piece) {
                Ok(0) => self.is_whole = true,
                Ok(count) if self.stage == Stage::Lingering => {
                    self.dropped += count;
                    // Whoever sends on and on is cut off.
                    self.is_whole = self.dropped > REQUEST_SIZE;
                }
                Ok(count) => self.input.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            moved = true;
        }
        Ok(moved)
    }

    /// Returns whether anything went.
    fn send(&mut self) -> io::Result<bool> {
        let mut moved = false;
        while self.sent < self.output.len() {
            match self.stream.send(&self.output[self.sent..]) {
                Ok(count) => (self.sent, moved) = (self.sent + count, true),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(self.note_sent(moved)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.note_sent(moved);
        self.output.clear();
        self.sent = 0;
        if self.stage == Stage::Ending {
            self.stage = Stage::Lingering;
            self.deadline = Instant::now() + LINGER;
            self.input = Vec::new();
            self.stream.shutdown_write()?;
            self.receive()?;
            return Ok(true);
        }
        Ok(moved)
    }

    /// A client that takes a long answer, however slowly, may go on.
    fn note_sent(&mut self, moved: bool) -> bool {
        if moved && self.stage == Stage::Telling {
            self.deadline = Instant::now() + REQUEST_TIME;
        }
        moved
    }

    /// The next request, if it is whole and the one before it is answered.
    pub fn next(&mut self, level: ControlLevel) -> Option<Request> {
        if self.stage != Stage::Reading {
            return None;
        }
        let answered = self.output.len();
        let request = match &mut self.protocol {
            Protocol::Console(console) => {
                match console.next(&mut self.input, self.is_whole, level, &mut self.output) {
                    ConsoleStep::Command(command) => Some(Request::Command(command)),
                    ConsoleStep::More | ConsoleStep::Full => None,
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
            None if self.output.len() > answered => self.deadline = Instant::now() + REQUEST_TIME,
            None if self.output.is_empty() && self.input.len() >= REQUEST_SIZE => return self.refuse_size(),
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
        self.deadline = Instant::now() + REQUEST_TIME;
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

    /// Adds to the answer, which `answer` ends.
    pub fn answer_part(&mut self, text: &str) {
        self.output.extend_from_slice(text.as_bytes());
        if self.stage == Stage::Asked {
            self.stage = Stage::Telling;
            self.deadline = Instant::now() + REQUEST_TIME;
        }
    }

    /// Whether the client has taken what there is of the answer.
    pub fn is_sent(&self) -> bool {
        self.output.is_empty()
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
