//! How a client came in, where its listener does more than accept it: TLS, a redirect to it, passing it through, or
//! challenges of those who issue certificates.

use std::rc::Rc;
use std::sync::Arc;

use crate::config::ListenerConfig;
use crate::http::{Fields, RequestHead, ResponseHead, Scheme, is_same};
use crate::net::TlsInfo;

#[derive(Clone, Debug)]
pub struct ListenerContext {
    pub listener: Arc<ListenerConfig>,
    /// What was agreed on in the handshake; `None` before, and without TLS.
    pub tls: Option<Rc<TlsInfo>>,
}

impl ListenerContext {
    /// `None` for a listener that only accepts.
    pub fn of(listener: &Arc<ListenerConfig>) -> Option<Rc<ListenerContext>> {
        let special = listener.tls.is_some()
            || listener.redirect.is_some()
            || listener.sni.is_some()
            || listener.challenges.is_some();
        special.then(|| Rc::new(ListenerContext { listener: listener.clone(), tls: None }))
    }

    /// Clients speak TLS with the server, not with rsp.
    pub fn passes_through(&self) -> bool {
        self.listener.sni.is_some()
    }

    pub fn scheme(&self) -> Scheme {
        if self.listener.tls.is_some() { Scheme::Https } else { Scheme::Http }
    }

    /// Tells the server who the client is, by the certificate that was verified.
    pub fn name_client(&self, fields: &mut Fields) {
        let header = self.listener.tls.as_ref().and_then(|tls| tls.client_header.as_ref());
        if let Some(header) = header {
            // The config may have another name for it meanwhile.
            remove_client_headers(fields, std::slice::from_ref(header));
        }
        let subject = self.tls.as_ref().and_then(|tls| tls.client_subject.as_ref());
        if let (Some(header), Some(subject)) = (header, subject) {
            fields.append(header.as_bytes(), subject.as_bytes());
        }
    }

    /// Strict-Transport-Security (RFC 6797), unless the response has it.
    pub fn add_hsts(&self, response: &mut ResponseHead) {
        const NAME: &[u8] = b"Strict-Transport-Security";
        let age = self.listener.tls.as_ref().and_then(|tls| tls.hsts);
        if let Some(age) = age
            && response.fields.get_by_name(NAME).is_none()
        {
            response.fields.append(NAME, format!("max-age={age}").as_bytes());
        }
    }

    /// Where this request is to go instead; `None` if it is served. An error: it names no host.
    pub fn redirect(&self, head: &RequestHead) -> Option<Result<Vec<u8>, ()>> {
        let port = self.listener.redirect?;
        let host = head.host();
        if host.is_empty() {
            return Some(Err(()));
        }
        let port = if port == 443 { String::new() } else { format!(":{port}") };
        // The target of OPTIONS is `*`.
        let target = if head.target().starts_with(b"/") { head.target() } else { head.path() };
        Some(Ok([b"https://", host, port.as_bytes(), target].concat()))
    }
}

/// Removes the fields that only rsp may set, in every spelling that a server may take for them.
pub fn remove_client_headers(fields: &mut Fields, headers: &[String]) {
    fields.remove_where(|_, name| headers.iter().any(|header| is_same(name, header.as_bytes())));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Address;

    fn listener_context(redirect: Option<u16>) -> ListenerContext {
        let address = Address::Ip("127.0.0.1:80".parse().unwrap());
        let listener = ListenerConfig { redirect, ..ListenerConfig::at(address) };
        ListenerContext { listener: Arc::new(listener), tls: None }
    }

    fn head(host: &str, target: &str) -> RequestHead {
        let mut head = RequestHead::default();
        head.target = head.fields.store(target.as_bytes());
        head.fields.append(b"Host", host.as_bytes());
        head
    }

    #[test]
    fn a_redirect_keeps_host_and_target_and_names_an_unusual_port() {
        let to = |port, host, target| {
            let to = listener_context(Some(port)).redirect(&head(host, target)).unwrap();
            to.map(|url| String::from_utf8(url).unwrap())
        };
        assert_eq!(to(443, "a.example", "/b?c=d"), Ok("https://a.example/b?c=d".into()));
        assert_eq!(to(8443, "a.example:80", "/"), Ok("https://a.example:8443/".into()));
        assert_eq!(to(443, "[::1]:8080", "/"), Ok("https://[::1]/".into()));
        assert_eq!(to(443, "", "/"), Err(()));
        assert!(listener_context(None).redirect(&head("a", "/")).is_none());
    }

    #[test]
    fn a_listener_that_only_accepts_has_no_context() {
        let plain = listener_context(None).listener;
        assert!(ListenerContext::of(&plain).is_none());
        assert!(ListenerContext::of(&listener_context(Some(443)).listener).is_some());
    }

    #[test]
    fn fields_that_only_rsp_sets_are_removed_in_every_spelling() {
        let mut fields = Fields::default();
        for name in ["X-Client-Subject", "x_client-SUBJECT", "X-Client-Subjects", "Host"] {
            fields.append(name.as_bytes(), b"x");
        }
        remove_client_headers(&mut fields, &["X-Client-Subject".into()]);
        let left: Vec<&[u8]> = fields.iter().map(|(_, name, _)| name).collect();
        assert_eq!(left, [&b"X-Client-Subjects"[..], b"Host"]);
    }
}
