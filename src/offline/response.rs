//! A server's response on its way to the client, as the worker passes it on.

use super::site::{Asked, OfflineSite, Waits};
use super::{Answered, Outcome, headers};
use crate::exchange::{Failure, ResponseStep, rewrite_response};
use crate::h1::BackendCodec;
use crate::http::{Codec, Fields, HeadLimits, Persistence, ResponseHead, reason_phrase};
use crate::route::{Responded, session_cookie};

/// What a server responds.
#[derive(Clone, Debug, Default)]
pub struct Responding {
    pub status: u16,
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Responding {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {} {}\r\n", self.status, reason_phrase(self.status)).into_bytes();
        for (name, value) in &self.headers {
            for part in [name, &b": "[..], value, b"\r\n"] {
                bytes.extend_from_slice(part);
            }
        }
        let framed = |(name, _): &(Vec<u8>, Vec<u8>)| {
            name.eq_ignore_ascii_case(b"Content-Length") || name.eq_ignore_ascii_case(b"Transfer-Encoding")
        };
        let bodiless = matches!(self.status, 100..=199 | 204 | 304);
        if !bodiless && !self.headers.iter().any(framed) {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}

impl OfflineSite {
    /// What the client gets of the response to a request that went to a server.
    pub fn respond(&self, sent: &Responding, asked: &mut Asked, waits: &mut dyn Waits) -> Outcome {
        let mut head = match self.read(sent, asked) {
            Ok(head) => head,
            Err(failure) => return self.refuse(asked, failure, None),
        };
        let mut error = None;
        match asked.x.response_head(&head) {
            Err(failure) => return self.refuse(asked, failure, None),
            Ok(ResponseStep::Final) => {
                rewrite_response(&mut head, &self.date());
                match self.ask_script(&mut head, asked, waits) {
                    Ok(passed) => error = passed,
                    Err(failed) => return self.refuse(asked, Failure::Script, Some(failed)),
                }
                self.finish(&mut head, asked);
            }
            Ok(ResponseStep::Interim { .. } | ResponseStep::Switch) => {}
        }
        let body = sent.body.clone();
        Outcome::Answered(Answered { status: head.status, headers: headers(&head.fields), body, error })
    }

    fn read(&self, sent: &Responding, asked: &Asked) -> Result<ResponseHead, Failure> {
        let strict = asked.route.as_ref().is_some_and(|route| route.pool.config.strict);
        let (mut codec, mut head) = (BackendCodec::new(strict), ResponseHead::default());
        let persistence = if asked.x.head.upgrade { Persistence::Upgrade } else { Persistence::Keep };
        codec.encode_head(&asked.x.head, persistence, &mut Vec::new());
        let (bytes, limits) = (sent.bytes(), HeadLimits::RESPONSE);
        let decoded = codec.decode(&bytes, false, 0, &limits, &mut head, &mut Fields::default());
        match decoded.map_err(Failure::of_response)? {
            Some(_) => Ok(head),
            None => Err(Failure::ResponseCut),
        }
    }

    /// Runs `on_response`. Returns what went wrong where the response passes all the same.
    fn ask_script(
        &self,
        head: &mut ResponseHead,
        asked: &mut Asked,
        waits: &mut dyn Waits,
    ) -> Result<Option<String>, String> {
        if !self.config.on_response {
            return Ok(None);
        }
        let since = self.now();
        let mut responded = self.handlers.borrow_mut().on_response(&mut asked.x, head, &self.config);
        loop {
            responded = match responded {
                Responded::Ok => return Ok(None),
                Responded::Unchanged(failed) => return Ok(Some(failed.0)),
                Responded::Failed(failed) => return Err(failed.0),
                Responded::Waits(wait, call) => {
                    let waited = self.wait(&wait, since, waits);
                    let (x, config) = (&mut asked.x, &self.config);
                    self.handlers.borrow_mut().resume_response(*call, waited, x, head, config)
                }
            };
        }
    }

    fn finish(&self, head: &mut ResponseHead, asked: &Asked) {
        if let Some(context) = &asked.x.listener_context {
            context.add_hsts(head);
        }
        if let (Some(route), Some(server)) = (&asked.route, &asked.server)
            && let Some(cookie) = session_cookie(&route.pool, server, asked.x.scheme)
        {
            head.fields.append(b"Set-Cookie", cookie.as_bytes());
        }
    }
}
