//! An error of the system in the system's words. std adds "(os error 13)", which says nothing to an operator.

use std::io;

/// `No such file or directory` for what std shows as `No such file or directory (os error 2)`.
pub fn reason(error: &io::Error) -> String {
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
    fn the_number_goes_and_the_words_stay() {
        assert_eq!(reason(&io::Error::from_raw_os_error(2)), "No such file or directory");
        assert_eq!(reason(&io::Error::other("made up (as it is)")), "made up (as it is)");
    }
}
