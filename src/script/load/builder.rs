//! What a running config has said so far. The functions of the `rsp` table share it; when the script has run it is
//! taken away from them, and every later call of theirs is refused.

use std::cell::RefCell;

use mlua::{Function, Table, Value};

use super::super::source::Source;
use super::position::{Place, Texts};
use crate::config::{Address, ListenerConfig, PoolConfig, Settings};

pub(super) struct Draft {
    pub source: Source,
    pub texts: Texts,
    pub listeners: Vec<ListenerConfig>,
    /// Where `proxy_protocol` is asked for, and on which address.
    pub proxied: Vec<Set<Address>>,
    pub pools: Vec<DraftPool>,
    pub settings: Option<Set<Settings>>,
    pub fallback: Option<Set<Value>>,
    pub on_request: Option<Set<Function>>,
    pub on_response: Option<Set<Function>>,
    /// Shipped modules that make a function and are none themselves, with the way to call them.
    pub makers: Vec<(Function, String)>,
    /// Modules that are being loaded, the innermost last.
    pub opening: Vec<String>,
}

/// Something that is set once, and where.
pub(super) struct Set<T> {
    pub value: T,
    pub place: Place,
}

pub(super) struct DraftPool {
    pub pool: PoolConfig,
    pub balance: Option<Function>,
    /// What `rsp.pool` returned.
    pub object: Table,
}

impl Draft {
    pub(super) fn new(source: Source) -> Draft {
        Draft {
            source,
            texts: Texts::new(),
            listeners: Vec::new(),
            proxied: Vec::new(),
            pools: Vec::new(),
            settings: None,
            fallback: None,
            on_request: None,
            on_response: None,
            makers: Vec::new(),
            opening: Vec::new(),
        }
    }

    /// The script used none of the functions of `rsp`.
    pub(super) fn is_untouched(&self) -> bool {
        let set = self.settings.is_some() || self.on_request.is_some() || self.on_response.is_some();
        !set && self.listeners.is_empty() && self.pools.is_empty()
    }
}

/// The draft as long as the config is loaded, `None` after.
pub(super) struct Loading(RefCell<Option<Draft>>);

impl Loading {
    pub(super) fn new(draft: Draft) -> Loading {
        Loading(RefCell::new(Some(draft)))
    }

    pub(super) fn finish(&self) -> Option<Draft> {
        self.0.borrow_mut().take()
    }

    /// Works on the draft; `None` when the config is loaded already, and for a call that comes in the middle of
    /// another one (only a finalizer of Lua's collector could).
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Draft) -> T) -> Option<T> {
        self.0.try_borrow_mut().ok()?.as_mut().map(work)
    }
}
