//! The classes of bytes in Lua's patterns, `%a` and the like, as in C's own locale.

/// A set of kinds of bytes, or all bytes but those.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Class {
    kinds: u16,
    negated: bool,
}

const LOWER: u16 = 1;
const UPPER: u16 = 1 << 1;
const DIGIT: u16 = 1 << 2;
const HEX_LETTER: u16 = 1 << 3;
const PUNCTUATION: u16 = 1 << 4;
const SPACE: u16 = 1 << 5;
const CONTROL: u16 = 1 << 6;
const ZERO: u16 = 1 << 7;

static KINDS: [u16; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < kinds.len() {
        kinds[byte] = kinds_of(byte as u8);
        byte += 1;
    }
    kinds
};

const fn kinds_of(byte: u8) -> u16 {
    let mut kinds = match byte {
        b'a'..=b'z' => LOWER,
        b'A'..=b'Z' => UPPER,
        b'0'..=b'9' => DIGIT,
        0 => CONTROL | ZERO,
        b'\t'..=b'\r' => CONTROL | SPACE,
        1..=31 | 127 => CONTROL,
        b' ' => SPACE,
        128.. => 0,
        _ => PUNCTUATION,
    };
    if matches!(byte, b'a'..=b'f' | b'A'..=b'F') {
        kinds |= HEX_LETTER;
    }
    kinds
}

/// The class that a letter after `%` means. `None`: the letter itself.
pub fn class_of(letter: u8) -> Option<Class> {
    let kinds = match letter | 0x20 {
        b'a' => LOWER | UPPER,
        b'c' => CONTROL,
        b'd' => DIGIT,
        b'g' => LOWER | UPPER | DIGIT | PUNCTUATION,
        b'l' => LOWER,
        b'p' => PUNCTUATION,
        b's' => SPACE,
        b'u' => UPPER,
        b'w' => LOWER | UPPER | DIGIT,
        b'x' => DIGIT | HEX_LETTER,
        b'z' => ZERO,
        _ => return None,
    };
    letter.is_ascii_alphabetic().then_some(Class { kinds, negated: letter.is_ascii_uppercase() })
}

impl Class {
    pub fn has(self, byte: u8) -> bool {
        (KINDS[byte as usize] & self.kinds != 0) != self.negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Test = fn(&u8) -> bool;

    #[test]
    fn classes_are_those_of_c() {
        let expected: [(u8, Test); 11] = [
            (b'a', u8::is_ascii_alphabetic),
            (b'c', u8::is_ascii_control),
            (b'd', u8::is_ascii_digit),
            (b'g', u8::is_ascii_graphic),
            (b'l', u8::is_ascii_lowercase),
            (b'p', u8::is_ascii_punctuation),
            (b's', |byte| byte.is_ascii_whitespace() || *byte == 0x0b),
            (b'u', u8::is_ascii_uppercase),
            (b'w', u8::is_ascii_alphanumeric),
            (b'x', u8::is_ascii_hexdigit),
            (b'z', |byte| *byte == 0),
        ];
        for (letter, test) in expected {
            for byte in 0..=255 {
                let [class, rest] = [letter, letter.to_ascii_uppercase()].map(|l| class_of(l).unwrap());
                assert_eq!((class.has(byte), rest.has(byte)), (test(&byte), !test(&byte)), "{letter} {byte}");
            }
        }
        for letter in (0..=255).filter(|letter| !b"acdglpsuwxzACDGLPSUWXZ".contains(letter)) {
            assert_eq!(class_of(letter), None);
        }
    }
}
