//! rsp's end of a link in memory.

use std::io::{self, ErrorKind, IoSlice};

use rsp::net::Transport;

use crate::world::{Dialed, Shared, World};

pub struct Wire {
    pub id: usize,
    pub world: Shared,
}

impl Wire {
    pub fn is_filtered(&self) -> bool {
        self.world.borrow().links[self.id].filter.is_some()
    }

    /// The filter took so many bytes of rsp's.
    pub fn took(&self, n: usize) {
        self.world.borrow_mut().links[self.id].written += n;
    }
}

impl Transport for Wire {
    type Pipe = Vec<u8>;

    fn new_pipe() -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn can_splice(&self) -> bool {
        self.world.borrow().links[self.id].tcp
    }

    /// Gives less than there is at times, for no reason, as splice does.
    fn splice_in(&mut self, pipe: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        assert!(pipe.is_empty() && most > 0, "filled before it was empty");
        let mut world = self.world.borrow_mut();
        let most = if world.rng.one_in(3) { world.rng.upto(most.min(1000)) } else { most.min(100_000) };
        let mut space = vec![0; most];
        let result = world.recv(self.id, &mut space);
        world.say(self.id, format_args!("rsp splices in {result:?}"));
        pipe.extend_from_slice(&space[..*result.as_ref().unwrap_or(&0)]);
        result
    }

    fn splice_out(&mut self, pipe: &mut Vec<u8>, held: usize) -> io::Result<usize> {
        assert_eq!(pipe.len(), held, "not what is in the pipe");
        let mut world = self.world.borrow_mut();
        let result = world.send(self.id, pipe);
        world.say(self.id, format_args!("rsp splices out {result:?} of {held}"));
        pipe.drain(..*result.as_ref().unwrap_or(&0));
        result
    }

    fn recv(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        let result = world.recv(self.id, space);
        world.say(self.id, format_args!("rsp receives {result:?}"));
        result
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        let result = world.send(self.id, bytes);
        world.say(self.id, format_args!("rsp sends {result:?} of {}", bytes.len()));
        result
    }

    fn send_parts(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let all: Vec<u8> = parts.iter().flat_map(|p| p.to_vec()).collect();
        self.send(&all)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        world.say(self.id, format_args!("rsp ends its side"));
        let link = &mut world.links[self.id];
        link.from_rsp.fin = true;
        // Both ends closed is a hang-up, which is an event.
        link.due |= link.to_rsp.fin;
        if link.dead { Err(ErrorKind::NotConnected.into()) } else { Ok(()) }
    }

    fn connect_result(&mut self) -> io::Result<()> {
        let link = &mut self.world.borrow_mut().links[self.id];
        if let Some(error) = link.error.take() {
            return Err(error.into());
        }
        match link.dialed {
            Dialed::Pending(_) | Dialed::Refused => Err(ErrorKind::NotConnected.into()),
            _ => Ok(()),
        }
    }

    fn reset_on_close(&mut self) {
        self.world.borrow_mut().links[self.id].linger_reset = true;
    }

    fn unacknowledged(&self) -> usize {
        self.world.borrow().links[self.id].from_rsp.len()
    }

    fn short_recv_is_empty(&self) -> bool {
        self.world.borrow().links[self.id].tcp
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let mut world = self.world.borrow_mut();
        world.say(self.id, format_args!("rsp closes"));
        let World { rng, links, .. } = &mut *world;
        let link = &mut links[self.id];
        link.closed = true;
        link.token = None;
        // Closing with unread bytes resets; of those that rsp was not told about yet it could not know.
        if link.linger_reset || !link.to_rsp.is_empty() && !link.due {
            link.cut = true;
            link.from_rsp.lose(rng);
        } else {
            link.from_rsp.fin = true;
        }
    }
}
