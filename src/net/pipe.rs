//! Pipes for splice(2): the bytes of a large body move between sockets as references to kernel pages, without being
//! copied to user space and back.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Clears O_NONBLOCK, so that writes to the file block.
pub fn set_blocking(file: &impl AsRawFd) -> io::Result<()> {
    let fd = file.as_raw_fd();
    // SAFETY: fcntl(2) takes and returns integers with this command; a bad descriptor is an error.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    // SAFETY: as above.
    if flags < 0 || unsafe { libc::fcntl(fd, libc::F_SETFL, flags & !libc::O_NONBLOCK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Requested pipe capacity, in bytes; the kernel may grant less (pipe(7), pipe-user-pages-soft).
const CAPACITY: libc::c_int = 256 * 1024;

pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    pub fn new() -> io::Result<Pipe> {
        let mut ends = [0; 2];
        // SAFETY: `ends` has room for the two descriptors that the call writes.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: both descriptors are open and not owned elsewhere.
        let [read, write] = ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        // SAFETY: the descriptor is open. On failure the pipe keeps its default size, which is enough.
        unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, CAPACITY) };
        Ok(Pipe { read, write })
    }

    /// Splices from a socket into the pipe.
    pub fn take_from(&mut self, socket: RawFd, most: usize) -> io::Result<usize> {
        splice(socket, self.write.as_raw_fd(), most)
    }

    /// Splices from the pipe into a socket.
    pub fn give_to(&mut self, socket: RawFd, most: usize) -> io::Result<usize> {
        splice(self.read.as_raw_fd(), socket, most)
    }
}

fn splice(from: RawFd, to: RawFd, most: usize) -> io::Result<usize> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    let null = std::ptr::null_mut();
    // SAFETY: the offsets are null, and bad descriptors are an error.
    let n = unsafe { libc::splice(from, null, to, null, most, flags) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (here, listener.accept().unwrap().0)
    }

    #[test]
    fn bytes_pass_from_socket_to_socket_in_order() {
        let ((mut sender, from), (to, mut receiver)) = (pair(), pair());
        from.set_nonblocking(true).unwrap();
        let mut pipe = Pipe::new().unwrap();
        let empty = pipe.take_from(from.as_raw_fd(), 10).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        sender.write_all(b"0123456789").unwrap();
        drop(sender);
        let mut came = 0;
        while came < 10 {
            match pipe.take_from(from.as_raw_fd(), 7) {
                Ok(n) => {
                    came += n;
                    assert_eq!(pipe.give_to(to.as_raw_fd(), n).unwrap(), n);
                }
                Err(e) => assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
            }
        }
        while pipe.take_from(from.as_raw_fd(), 7).map_err(|e| e.kind()) == Err(io::ErrorKind::WouldBlock) {}
        assert_eq!(pipe.take_from(from.as_raw_fd(), 7).unwrap(), 0, "the end");
        let mut text = [0; 10];
        receiver.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"0123456789");
    }
}
