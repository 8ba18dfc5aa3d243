//! The config under construction. The functions of the `rsp` table share it; after the script has run it is taken
//! from them, and every later call is refused.

use std::cell::RefCell;
use std::time::Duration;

use mlua::{Function, Table, Value};

use super::super::source::Source;
use super::position::{Position, Texts};
use super::second_tries::MirrorTable;
use crate::config::{Address, ListenerConfig, Part, PoolConfig, Settings, SniId, Warning};

pub(super) struct Builder {
    pub source: Source,
    pub texts: Texts,
    pub listeners: Vec<ListenerConfig>,
    /// Positions of `proxy_protocol`, with the listener's address.
    pub proxied: Vec<SetOnce<Address>>,
    pub pools: Vec<PoolBuilder>,
    pub settings: Option<SetOnce<Settings>>,
    pub fallback: Option<SetOnce<Value>>,
    /// The functions of the listeners that have one, in order.
    pub sni: Vec<Function>,
    pub on_request: Option<SetOnce<Function>>,
    pub on_response: Option<SetOnce<Function>>,
    pub on_answer: Option<SetOnce<Function>>,
    pub on_log: Option<SetOnce<Function>>,
    pub on_connect: Option<SetOnce<Function>>,
    pub on_start: Option<SetOnce<Function>>,
    /// Periods and functions of `rsp.every`.
    pub every: Vec<(Duration, Function)>,
    /// Shipped modules that return a function which makes one, with an example of the call.
    pub makers: Vec<(Function, String)>,
    /// Modules being loaded, the innermost last.
    pub opening: Vec<String>,
    /// With where each was said.
    pub parts: Vec<SetOnce<Part>>,
    pub warnings: Vec<Warning>,
}

/// A value that can be set once, and its position.
pub(super) struct SetOnce<T> {
    pub value: T,
    pub position: Position,
}

pub(super) struct PoolBuilder {
    pub pool: PoolConfig,
    pub balance: Option<Function>,
    pub hash_by: Option<Function>,
    /// Its pool may be made later.
    pub mirror: Option<(MirrorTable, Position)>,
    /// The value that `rsp.pool` returned.
    pub object: Table,
}

impl Builder {
    pub(super) fn new(source: Source) -> Builder {
        Builder {
            source,
            texts: Texts::new(),
            listeners: Vec::new(),
            proxied: Vec::new(),
            pools: Vec::new(),
            settings: None,
            fallback: None,
            sni: Vec::new(),
            on_request: None,
            on_response: None,
            on_answer: None,
            on_log: None,
            on_connect: None,
            on_start: None,
            every: Vec::new(),
            makers: Vec::new(),
            opening: Vec::new(),
            parts: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Keeps the function of a listener.
    pub(super) fn add_sni(&mut self, function: Function) -> SniId {
        self.sni.push(function);
        SniId(self.sni.len() as u32 - 1)
    }

    /// Whether the script called none of the functions of `rsp`.
    pub(super) fn is_untouched(&self) -> bool {
        let functions = [
            &self.on_request,
            &self.on_response,
            &self.on_answer,
            &self.on_log,
            &self.on_connect,
            &self.on_start,
        ];
        let set =
            self.settings.is_some() || functions.iter().any(|set| set.is_some()) || !self.every.is_empty();
        !set && self.listeners.is_empty() && self.pools.is_empty()
    }
}

/// The builder while the config is loaded, `None` after.
pub(super) struct Loading(RefCell<Option<Builder>>);

impl Loading {
    pub(super) fn new(builder: Builder) -> Loading {
        Loading(RefCell::new(Some(builder)))
    }

    pub(super) fn finish(&self) -> Option<Builder> {
        self.0.borrow_mut().take()
    }

    /// Runs `work` on the builder; `None` after the load, and for a call within another one (only a finalizer of
    /// Lua's collector could make one).
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Builder) -> T) -> Option<T> {
        self.0.try_borrow_mut().ok()?.as_mut().map(work)
    }
}
