//! The text of a system error without std's "(os error 13)", which means nothing to an operator.

use std::io;

/// `No such file or directory` for what std shows as `No such file or directory (os error 2)`.
pub fn os_error(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(at) => text[..at].to_string(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_removed_and_the_text_stays() {
        assert_eq!(os_error(&io::Error::from_raw_os_error(2)), "No such file or directory");
        assert_eq!(os_error(&io::Error::other("made up (as it is)")), "made up (as it is)");
    }
}
