//! Floor 3: the kernel. Sockets behind two small traits that the simulation also implements, and the few system calls
//! that std does not offer.

mod fd_reserve;
mod inherited;
mod inside;
mod limits;
mod listener;
mod mailbox;
mod memory;
mod options;
mod pipe;
mod queue;
mod stream;
mod syscalls;
mod tls;
mod transport;

pub use fd_reserve::{Reserve, is_shortage, lacks_for_a_client};
pub use inherited::{Inherited, adopt_stream, forget, key, pass};
pub use inside::{Collected, Either, Inside};
pub use limits::raise_descriptor_limit;
pub use listener::{
    Accepted, Listener, bind, bind_for, bind_private, leave_socket_files, open_for, open_named,
};
pub use mailbox::{Mailbox, queue as mailbox_queue};
pub use memory::map_allocations_from;
pub use options::{short_backlog, shortfalls};
pub use pipe::{Pipe, set_blocking};
pub use stream::{Kernel, Stream};
pub use tls::{TlsInfo, is_refused_certificate};
pub use transport::{Network, Transport};
