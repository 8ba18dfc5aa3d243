//! `log` in `on_log`: fields that a script adds to the request's line in a json access log. Bounded, and never one of those
//! that every line has.

use super::assign::Assigned;
use super::directory::quoted;
use super::request::FieldValue;
use crate::base::named_values::{NamedValue, put};
use crate::config::JSON_KEYS;

const FIELDS_MAX: usize = 32;
const NAME_MAX: usize = 64;
/// Longer texts are cut, as long as those that clients send may be.
const TEXT_MAX: usize = 1024;

/// The fields that were set so far.
#[derive(Default)]
pub struct LogFields(Vec<(Vec<u8>, LogValue)>);

enum LogValue {
    Text(Vec<u8>),
    Number(i64),
    Float(f64),
    Boolean(bool),
}

impl LogFields {
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Reads `log[name]`.
    pub fn get(&self, name: &[u8]) -> FieldValue<'_> {
        match self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value) {
            None => FieldValue::Nil,
            Some(LogValue::Text(text)) => FieldValue::Text(text),
            Some(LogValue::Number(number)) => FieldValue::Number(*number),
            Some(LogValue::Float(number)) => FieldValue::Float(*number),
            Some(LogValue::Boolean(yes)) => FieldValue::Boolean(*yes),
        }
    }

    /// Executes `log[name] = value`; nil removes it.
    pub fn set(&mut self, name: &[u8], value: Assigned<'_>) -> Result<(), String> {
        let wrong = |why: &str| Err(format!("log[{}]: {why}", quoted(name)));
        if JSON_KEYS.iter().any(|key| key.as_bytes() == name) {
            return wrong("every line has this field, expected another name");
        }
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
        if name.is_empty() || name.len() > NAME_MAX || !name.iter().all(is_part) {
            return wrong("expected a name of letters, digits and _-., at most 64 bytes");
        }
        let value = match value {
            Assigned::Nil => {
                self.0.retain(|(known, _)| known != name);
                return Ok(());
            }
            Assigned::Text(text) => LogValue::Text(cut(text).to_vec()),
            Assigned::Number(number) => LogValue::Number(number),
            Assigned::Float(number) if number.is_finite() => LogValue::Float(number),
            Assigned::Boolean(yes) => LogValue::Boolean(yes),
            Assigned::Float(_) => return wrong("got a number that json has no word for"),
            other => return wrong(&format!("got a {}, expected a string, number or boolean", other.kind())),
        };
        let at = self.0.iter().position(|(known, _)| known == name);
        match at {
            Some(at) => self.0[at].1 = value,
            None if self.0.len() >= FIELDS_MAX => return wrong("there would be more than 32 fields"),
            None => self.0.push((name.to_vec(), value)),
        }
        Ok(())
    }

    /// Appends all, for the log's thread.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for (name, value) in &self.0 {
            let written = match value {
                LogValue::Text(text) => {
                    put(NamedValue { name, value: text, is_text: true }, out);
                    continue;
                }
                LogValue::Number(number) => number.to_string(),
                LogValue::Float(number) => number.to_string(),
                LogValue::Boolean(yes) => yes.to_string(),
            };
            put(NamedValue { name, value: written.as_bytes(), is_text: false }, out);
        }
    }
}

/// Not within a character.
fn cut(text: &[u8]) -> &[u8] {
    let is_within = |at: usize| text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let mut end = text.len().min(TEXT_MAX);
    while end > TEXT_MAX - 4 && is_within(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::named_values::take;

    fn shown(fields: &LogFields) -> String {
        let mut bytes = Vec::new();
        fields.encode(&mut bytes);
        let mut rest = &bytes[..];
        let all = std::iter::from_fn(|| take(&mut rest));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        all.map(|f| format!("{}={}{} ", text(f.name), text(f.value), if f.is_text { "!" } else { "" }))
            .collect()
    }

    #[test]
    fn fields_keep_their_order_and_kind_and_can_be_replaced_and_removed() {
        let mut fields = LogFields::default();
        fields.set(b"tenant", Assigned::Text(b"acme")).unwrap();
        fields.set(b"n", Assigned::Number(-5)).unwrap();
        fields.set(b"share", Assigned::Float(0.25)).unwrap();
        fields.set(b"ok", Assigned::Boolean(true)).unwrap();
        fields.set(b"tenant", Assigned::Text(b"other")).unwrap();
        fields.set(b"n", Assigned::Nil).unwrap();
        assert_eq!(shown(&fields), "tenant=other! share=0.25 ok=true ");
        assert_eq!(fields.get(b"share"), FieldValue::Float(0.25));
        assert_eq!(fields.get(b"n"), FieldValue::Nil);
        fields.clear();
        assert_eq!(shown(&fields), "");
    }

    #[test]
    fn fixed_keys_odd_values_and_too_many_are_refused() {
        let mut fields = LogFields::default();
        for key in JSON_KEYS {
            let error = fields.set(key.as_bytes(), Assigned::Number(1)).unwrap_err();
            assert_eq!(error, format!("log[\"{key}\"]: every line has this field, expected another name"));
        }
        for value in [Assigned::Float(f64::NAN), Assigned::Float(f64::INFINITY), Assigned::Other("table")] {
            assert!(fields.set(b"x", value).is_err());
        }
        for name in [&b""[..], b"a b", b"a\"", b"\xff", &[b'x'; 65]] {
            assert!(fields.set(name, Assigned::Number(1)).is_err());
        }
        for n in 0..FIELDS_MAX {
            fields.set(format!("f{n}").as_bytes(), Assigned::Number(1)).unwrap();
        }
        assert!(fields.set(b"more", Assigned::Number(1)).unwrap_err().contains("more than 32"));
        assert!(fields.set(b"f0", Assigned::Number(2)).is_ok());
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let mut fields = LogFields::default();
        let text = format!("{}\u{20ac}\u{20ac}", "x".repeat(TEXT_MAX - 2));
        fields.set(b"t", Assigned::Text(text.as_bytes())).unwrap();
        assert_eq!(fields.get(b"t"), FieldValue::Text("x".repeat(TEXT_MAX - 2).as_bytes()));
        fields.set(b"t", Assigned::Text(&[0x80; 2 * TEXT_MAX])).unwrap();
        assert!(matches!(fields.get(b"t"), FieldValue::Text(text) if text.len() > TEXT_MAX - 5));
    }
}
