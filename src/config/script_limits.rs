//! What the functions of a script may use and do: `script` in `rsp.settings`.

use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScriptLimits {
    /// CPU time of one call.
    pub time: Duration,
    /// Bytes of memory of a VM, of which each worker has one.
    pub memory: usize,
    /// Handlers of all workers that may wait at one time.
    pub waiting: u32,
    /// Functions may set globals while they handle requests.
    pub globals: bool,
}

impl ScriptLimits {
    pub const SHORTEST: Duration = Duration::from_millis(1);
    /// The loop of a worker stands still for so long.
    pub const LONGEST: Duration = Duration::from_secs(1);
    pub const LEAST_MEMORY: usize = 4 << 20;
    pub const MOST_MEMORY: usize = 1 << 30;

    /// The memory for loading the config: it is known only then how much it may use.
    pub fn while_loading(self) -> ScriptLimits {
        ScriptLimits { memory: self.memory.max(ScriptLimits::default().memory), ..self }
    }

    /// The message for the script's author, in place of Lua's "not enough memory".
    pub fn memory_text(self) -> String {
        let (number, unit) = match self.memory.is_multiple_of(1 << 20) {
            true => (self.memory >> 20, "MiB"),
            false => (self.memory >> 10, "KiB"),
        };
        format!("not enough memory: a script may use {number} {unit}")
    }
}

impl Default for ScriptLimits {
    /// Memory: generous for tables of routes, small beside a proxy's connections.
    fn default() -> ScriptLimits {
        ScriptLimits { time: Duration::from_millis(10), memory: 64 << 20, waiting: 10_000, globals: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_the_memory() {
        let text = |memory| ScriptLimits { memory, ..ScriptLimits::default() }.memory_text();
        assert_eq!(text(64 << 20), "not enough memory: a script may use 64 MiB");
        assert_eq!(text(5000 << 10), "not enough memory: a script may use 5000 KiB");
    }
}
