//! Names with values as one flat run of bytes: what a script adds to a line of the access log, on its way to the thread that
//! writes it.

/// One name with its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NamedValue<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
    /// The value is a text; otherwise a number or boolean as it is written.
    pub is_text: bool,
}

/// Appends one. Names over 255 bytes and values over 65,535 are cut.
pub fn put(named: NamedValue<'_>, out: &mut Vec<u8>) {
    let NamedValue { name, value, is_text } = named;
    let name = &name[..name.len().min(u8::MAX.into())];
    let value = &value[..value.len().min(u16::MAX.into())];
    out.extend_from_slice(&[is_text.into(), name.len() as u8]);
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(value);
}

/// Takes the first one from the bytes; `None` when they are empty or end within it.
pub fn take<'a>(bytes: &mut &'a [u8]) -> Option<NamedValue<'a>> {
    let ([is_text, name, low, high], rest) = bytes.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked((*name).into())?;
    let (value, rest) = rest.split_at_checked(u16::from_le_bytes([*low, *high]).into())?;
    *bytes = rest;
    Some(NamedValue { name, value, is_text: *is_text != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_as_they_were_put_and_cut_bytes_are_none() {
        let all = [
            NamedValue { name: b"tenant", value: b"acme", is_text: true },
            NamedValue { name: b"n", value: b"", is_text: true },
            NamedValue { name: b"cost", value: b"1.5", is_text: false },
        ];
        let mut bytes = Vec::new();
        all.iter().for_each(|named| put(*named, &mut bytes));
        let mut rest = &bytes[..];
        assert_eq!(std::iter::from_fn(|| take(&mut rest)).collect::<Vec<_>>(), all);
        for cut in 0..bytes.len() {
            let mut rest = &bytes[..cut];
            assert!(std::iter::from_fn(|| take(&mut rest)).count() < all.len());
        }
        let long = vec![b'x'; 100_000];
        let mut bytes = Vec::new();
        put(NamedValue { name: &long, value: &long, is_text: true }, &mut bytes);
        let cut = take(&mut &bytes[..]).unwrap();
        assert_eq!((cut.name.len(), cut.value.len()), (255, 65_535));
    }
}
