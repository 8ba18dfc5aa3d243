//! Connections whose TLS is passed through: nothing happens before their ClientHello is whole, which says where they go.
//! It stays in the client's input, as the first bytes for the server.

use std::io::{self, ErrorKind};

use crate::http::{Fault, Sink};
use crate::net::Network;
use crate::tls::{Alert, ClientHello, HelloFault};
use crate::worker::conn::client::Arrival;
use crate::worker::conn::connection::OutputSink;
use crate::worker::conn::table::ClientKey;
use crate::worker::core::{Core, Step};

impl<N: Network> Core<N> {
    /// Reads what comes before any request, of a client that must send it.
    #[cold]
    pub(crate) fn read_preamble(&mut self, key: ClientKey) -> Step {
        match self.clients[key].role.arrival {
            Arrival::Hello => self.read_hello(key),
            _ => self.read_proxy_header(key),
        }
    }

    fn read_hello(&mut self, key: ClientKey) -> Step {
        match ClientHello::read(self.clients[key].input.bytes()) {
            Ok(Some(hello)) => self.pass_through(key, hello.name.as_deref()),
            Ok(None) => self.more_of_head(key),
            // The answer goes out in plain text.
            Err(HelloFault::PlainHttp) => self.refuse(key, Fault::LacksTls),
            Err(fault @ HelloFault::NotTls) => self.refuse_handshake(key, &io::Error::other(fault.text())),
            Err(fault) => self.refuse_hello(key, fault),
        }
    }

    /// The client closed before its hello was whole.
    pub(crate) fn left_within_hello(&mut self, key: ClientKey) -> Step {
        self.refuse_handshake(key, &ErrorKind::UnexpectedEof.into())
    }

    fn refuse_hello(&mut self, key: ClientKey, fault: HelloFault) -> Step {
        let client = &mut self.clients[key];
        let out = &mut OutputSink { output: &mut client.output, blocks: &mut self.tools.blocks };
        out.put(&Alert::DecodeError.record());
        self.refuse_handshake(key, &io::Error::other(fault.text()))
    }
}
