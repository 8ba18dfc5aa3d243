//! The script's `on_answer` and `on_log`.

use super::{Origin, Pair};
use crate::http::{ResponseHead, reason_phrase};
use crate::net::Network;
use crate::worker::core::Core;
use crate::worker::pair::table::PairKey;

impl Pair {
    /// Saves the head of the response that goes to the client, for `on_log`.
    #[cold]
    pub(crate) fn save_sent_head(&mut self, head: &ResponseHead) {
        self.sent_head.get_or_insert_default().copy_from(head);
    }
}

impl<N: Network> Core<N> {
    /// Lets the script change rsp's own answer, whose head is in `Tools::response`. Where no request was understood, there
    /// is none to tell it about.
    pub(crate) fn ask_on_answer(&mut self, pair_key: PairKey) {
        let Pair { exchange: x, handlers, origin, .. } = &mut self.pairs[pair_key];
        let asks = *origin == Origin::Client;
        let Some(handlers) = handlers.as_ref().filter(|_| asks && !x.head.method_text.is_empty()) else {
            return;
        };
        if let Err(error) = handlers.borrow_mut().on_answer(x, &mut self.tools.response) {
            self.tools.errors.log("on_answer", &error, " (the answer stays as it was)", self.tools.now);
        }
    }

    /// Lets the script of the current site add fields to the line of a request that has ended.
    pub(crate) fn ask_on_log(&mut self, pair: &mut Pair) {
        let Some(access) = &mut self.access else { return };
        access.fields.clear();
        let Pair { exchange: x, site, sent_head, .. } = pair;
        if x.head.method_text.is_empty() {
            return;
        }
        let mut made = ResponseHead::default();
        let response = match sent_head {
            _ if x.status == 0 => None,
            Some(head) if site.routes.config.on_log => Some(&mut **head),
            // A reload brought the function after the response had begun.
            _ => {
                made.status = x.status;
                made.reason = made.fields.store(reason_phrase(x.status).as_bytes());
                Some(&mut made)
            }
        };
        if let Err(error) = self.sites.handlers.borrow_mut().on_log(x, response, &mut access.fields) {
            self.tools.errors.log("on_log", &error, "", self.tools.now);
        }
    }
}
