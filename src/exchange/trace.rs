//! Trace Context (W3C): a request belongs to a trace whose number it carries in `traceparent`. A valid one passes
//! unchanged: rsp reports no spans, so a span of its own in the place of the caller's would be a parent that no
//! collector knows (section 3.2 of the recommendation: unmodified propagation). With `trace = true`, a request without
//! a valid one begins a trace.
//!
//! ```text
//! 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
//! version, trace-id, parent-id, flags: 2, 32, 16 and 2 lower-case hexadecimal digits
//! ```

use super::id::Ids;
use crate::http::Fields;

const PARENT: &[u8] = b"traceparent";
/// Vendors' own data about a trace, which means nothing without `traceparent`.
const STATE: &[u8] = b"tracestate";

/// The length of version 00. Later versions may append more, behind another `-`.
const LENGTH: usize = 55;
/// Of version 00, and sampled: the trace is meant to be recorded, and most servers do as they are told.
const NEW: &[u8; LENGTH] = b"00-00000000000000000000000000000000-0000000000000000-01";

/// The trace of a request: the one that it belongs to, or a new one that the fields then name.
pub fn take(fields: &mut Fields, ids: &mut Ids) -> [u8; 32] {
    if let Some(id) = given(fields) {
        return id;
    }
    let (id, mut value) = (ids.make(), *NEW);
    value[3..35].copy_from_slice(&id);
    value[36..52].copy_from_slice(&ids.span());
    fields.remove(STATE);
    fields.set(PARENT, &value);
    id
}

/// The trace-id of a valid `traceparent`. Two of them are none: nobody knows which to believe.
fn given(fields: &Fields) -> Option<[u8; 32]> {
    let mut values = fields.values_by_name(PARENT);
    let value = values.next()?;
    if values.next().is_some() { None } else { trace_id(value) }
}

fn trace_id(value: &[u8]) -> Option<[u8; 32]> {
    let (start, rest) = value.split_at_checked(LENGTH)?;
    let (version, id, parent, flags) = (&start[..2], &start[3..35], &start[36..52], &start[53..]);
    let dashes = [start[2], start[35], start[52]] == *b"---";
    let known = [version, id, parent, flags].iter().all(|part| part.iter().all(is_hex));
    let ends = match version {
        b"ff" => false,
        b"00" => rest.is_empty(),
        _ => rest.is_empty() || rest[0] == b'-',
    };
    let named = [id, parent].iter().all(|part| part.iter().any(|digit| *digit != b'0'));
    (dashes && known && ends && named).then(|| id.try_into().ok())?
}

fn is_hex(digit: &u8) -> bool {
    matches!(digit, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn parent(version: &str, rest: &str) -> String {
        format!("{version}-{ID}-00f067aa0ba902b7-{rest}")
    }

    fn taken(pairs: &[(&str, &str)]) -> (String, Vec<(String, String)>) {
        let mut fields = Fields::default();
        for (name, value) in pairs {
            fields.append(name.as_bytes(), value.as_bytes());
        }
        let id = take(&mut fields, &mut Ids::new());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (text(&id), fields.iter().map(|(_, name, value)| (text(name), text(value))).collect())
    }

    fn is_valid(value: &str) -> bool {
        trace_id(value.as_bytes()).is_some()
    }

    #[test]
    fn a_valid_traceparent_and_its_state_pass_unchanged() {
        let longer = parent("01", "01-what-the-future-will-be");
        for value in [parent("00", "01"), parent("00", "00"), parent("00", "ff"), parent("cc", "01"), longer]
        {
            let sent = [("TraceParent", value.as_str()), ("tracestate", "a=1")];
            let (id, fields) = taken(&sent);
            assert_eq!(id, ID);
            let sent = sent.map(|(name, value)| (name.to_string(), value.to_string()));
            assert_eq!(fields, sent, "{value}");
        }
    }

    #[test]
    fn an_invalid_traceparent_is_replaced_and_its_state_removed() {
        let upper = parent("00", "01").to_uppercase();
        for value in ["", "00", &upper, &parent("ff", "01"), &parent("00", "01-more")] {
            let (id, fields) = taken(&[("traceparent", value), ("tracestate", "a=1"), ("tracestate", "b=2")]);
            assert_ne!(id, ID);
            let [(name, made)] = &fields[..] else { panic!("{fields:?}") };
            assert_eq!(name, "traceparent");
            assert!(
                is_valid(made) && made.starts_with(&format!("00-{id}-")) && made.ends_with("-01"),
                "{made}"
            );
        }
    }

    #[test]
    fn a_request_without_one_or_with_two_begins_a_trace_of_its_own() {
        let (one, two) = (parent("00", "01"), parent("00", "00"));
        let mut seen = std::collections::HashSet::new();
        for sent in [vec![], vec![("traceparent", one.as_str()), ("traceparent", two.as_str())]] {
            let (id, fields) = taken(&sent);
            assert_eq!(fields.len(), 1, "{fields:?}");
            assert!(id != ID && seen.insert(id));
        }
    }

    #[test]
    fn a_traceparent_is_read_as_the_recommendation_says() {
        let zeros = |count| "0".repeat(count);
        for (value, valid) in [
            (parent("00", "01"), true),
            (parent("00", "0g"), false),
            (parent("00", "1"), false),
            (parent("00", "01 "), false),
            (parent("0g", "01"), false),
            (parent("FE", "01"), false),
            (parent("fe", "01"), true),
            (parent("fe", "01-"), true),
            (parent("fe", "01.x"), false),
            (parent("fe", "0100"), false),
            (format!("00-{}-00f067aa0ba902b7-01", zeros(32)), false),
            (format!("00-{ID}-{}-01", zeros(16)), false),
            (format!("00_{ID}-00f067aa0ba902b7-01"), false),
            (format!("00-{ID}_00f067aa0ba902b7-01"), false),
            (format!("00-{ID}-00f067aa0ba902b7_01"), false),
            (format!("00-{}x-00f067aa0ba902b7-01", &ID[1..]), false),
        ] {
            assert_eq!(is_valid(&value), valid, "{value}");
        }
    }
}
