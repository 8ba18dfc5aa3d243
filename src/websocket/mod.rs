//! Floor 3: WebSocket framing (RFC 6455), sans-IO. rsp takes no part in a WebSocket; it only has to know where a frame
//! ends, to close one without cutting a message's frame in the middle.

#![forbid(unsafe_code)]

mod frames;

pub use frames::Frames;

/// The name of the protocol in `Upgrade`.
pub const PROTOCOL: &[u8] = b"websocket";

/// A server's Close frame with the status 1012, "service restart": clients connect again.
pub const CLOSE_RESTART: [u8; 4] = [0x88, 2, 0x03, 0xF4];
