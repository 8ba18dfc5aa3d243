//! What a config may ask of the kernel for TCP connections; the same keys for a listener's and for those to servers.

use mlua::Value;

use super::error::Read;
use super::values::{size, whole};

/// Below, no segment fits; above, the kernel counts in more bits than it has.
pub(super) fn buffer(value: &Value) -> Read<Option<u32>> {
    size(value, 4 << 10..=1 << 30, "a size from \"4k\" to \"1g\"").map(|bytes| u32::try_from(bytes).ok())
}

/// Microseconds. A thread that looks for longer has nothing else to do.
pub(super) fn busy_poll(value: &Value) -> Read<Option<u32>> {
    whole(value, 1..=10_000).map(|micros| u32::try_from(micros).ok())
}

/// The kernel keeps it in 16 or 32 bits, according to its age.
pub(super) fn backlog(value: &Value) -> Read<Option<u32>> {
    whole(value, 1..=65_535).map(|connections| u32::try_from(connections).ok())
}
