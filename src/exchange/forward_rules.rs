//! Which requests are forwarded at all. Applied after the script, so that a config may answer what rsp does not
//! forward.
//!
//! CONNECT asks for a tunnel to anywhere, and TRACE echoes a client's own fields (and those that proxies added):
//! neither is forwarded. `Max-Forwards` limits the hops of an OPTIONS request (RFC 9110 section 7.6.2).

use super::failure::Failure;
use crate::http::{Fields, Method, Name, RequestHead};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ForwardRule {
    Forward,
    Refuse(Failure),
    /// The request may not be forwarded further: rsp is its final recipient.
    LastHop,
}

/// Whether a request may be forwarded; decrements Max-Forwards.
pub fn forward_rule(head: &mut RequestHead) -> ForwardRule {
    match head.method {
        Method::Connect | Method::Trace => ForwardRule::Refuse(Failure::Method),
        Method::Options if head.fields.has(Name::MaxForwards) => count_hop(&mut head.fields),
        _ => ForwardRule::Forward,
    }
}

fn count_hop(fields: &mut Fields) -> ForwardRule {
    match hops(fields) {
        None => ForwardRule::Refuse(Failure::MaxForwards),
        Some(0) => ForwardRule::LastHop,
        Some(n) => {
            fields.set(b"Max-Forwards", (n - 1).to_string().as_bytes());
            ForwardRule::Forward
        }
    }
}

/// The value of Max-Forwards. A value that does not fit counts as the largest.
fn hops(fields: &Fields) -> Option<u32> {
    let mut values = fields.iter().filter(|(tag, ..)| *tag == Name::MaxForwards).map(|(.., value)| value);
    let digits = values.next().filter(|v| !v.is_empty() && v.iter().all(u8::is_ascii_digit))?;
    let number = digits.iter().fold(0u32, |n, d| n.saturating_mul(10).saturating_add(u32::from(d - b'0')));
    values.next().is_none().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: Method, values: &[&str]) -> (ForwardRule, Vec<String>) {
        let mut head = RequestHead { method, ..RequestHead::default() };
        for value in values {
            head.fields.append(b"Max-Forwards", value.as_bytes());
        }
        let forward_rule = forward_rule(&mut head);
        let left = head.fields.iter().map(|(.., v)| String::from_utf8_lossy(v).into_owned()).collect();
        (forward_rule, left)
    }

    #[test]
    fn connect_and_trace_are_not_forwarded() {
        for method in [Method::Connect, Method::Trace] {
            assert_eq!(asked(method, &[]).0, ForwardRule::Refuse(Failure::Method));
            assert_eq!(asked(method, &["1"]).0, ForwardRule::Refuse(Failure::Method));
        }
    }

    #[test]
    fn max_forwards_of_options_is_decremented_to_the_last_hop() {
        assert_eq!(asked(Method::Options, &[]), (ForwardRule::Forward, vec![]));
        for (came, goes) in [("1", "0"), ("10", "9"), ("007", "6"), ("99999999999999", "4294967294")] {
            assert_eq!(asked(Method::Options, &[came]), (ForwardRule::Forward, vec![goes.to_string()]));
        }
        assert_eq!(asked(Method::Options, &["0"]).0, ForwardRule::LastHop);
    }

    #[test]
    fn an_ambiguous_max_forwards_is_refused() {
        for values in [&[""][..], &["-1"], &["1, 2"], &["0x1"], &["0", "5"], &["5", "5"]] {
            assert_eq!(
                asked(Method::Options, values).0,
                ForwardRule::Refuse(Failure::MaxForwards),
                "{values:?}"
            );
        }
    }

    #[test]
    fn other_methods_keep_max_forwards() {
        for method in [Method::Get, Method::Post, Method::Other] {
            assert_eq!(asked(method, &["0"]), (ForwardRule::Forward, vec!["0".to_string()]));
        }
    }
}
