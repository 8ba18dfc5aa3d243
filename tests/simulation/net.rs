//! The network that rsp dials through: connects that are refused at once, or are decided later.

use std::io::{self, ErrorKind};

use rsp::config::{Address, Endpoint};
use rsp::net::Network;

use crate::filter::Filter;
use crate::wire::Wire;
use crate::world::{Dialed, Shared};

pub struct Net {
    pub world: Shared,
}

impl Net {
    /// A client connects; gives rsp's end and the link's number.
    pub fn client(world: &Shared) -> (Filter, usize) {
        let id = world.borrow_mut().open(Dialed::No);
        (Filter::new(Wire { id, world: world.clone() }, false), id)
    }
}

impl Network for Net {
    type Stream = Filter;

    fn connect(&mut self, to: &Endpoint, token: u64) -> io::Result<Filter> {
        let Address::Ip(address) = to.address else { return Err(ErrorKind::Unsupported.into()) };
        let server = address.port() as usize - 1;
        let mut world = self.world.borrow_mut();
        if !world.up[server] && world.rng.one_in(2) {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        if world.crowded || !world.honest && world.rng.one_in(30) {
            return Err(ErrorKind::WouldBlock.into());
        }
        if !world.honest && world.rng.one_in(50) {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let id = world.open(Dialed::Pending(server));
        world.links[id].token = Some(token);
        // A socket that is being connected can be reported without being writable.
        world.links[id].due = world.rng.one_in(4);
        world.pending.push(id);
        drop(world);
        Ok(Filter::new(Wire { id, world: self.world.clone() }, true))
    }

    fn watch(&mut self, stream: &mut Filter, token: u64) -> io::Result<()> {
        let link = &mut self.world.borrow_mut().links[stream.wire.id];
        link.token = Some(token);
        link.due = true;
        Ok(())
    }
}
