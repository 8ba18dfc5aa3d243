//! The dashboard at `/` of the admin address: one page without outside resources, which asks for `/api/state`. It is the
//! same for everybody and says nothing of this rsp; what it may do in a browser its Content-Security-Policy says.

use std::sync::LazyLock;

use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
/// One module: the order is only for readers.
const SCRIPT: &[&str] = &[
    include_str!("format.js"),
    include_str!("nodes.js"),
    include_str!("servers.js"),
    include_str!("overview.js"),
    include_str!("change.js"),
    include_str!("main.js"),
];

pub struct Dashboard {
    pub page: String,
    /// Fields of the answer, each with its line end.
    pub fields: String,
}

/// Put together when it is first asked for.
pub fn dashboard() -> &'static Dashboard {
    static DASHBOARD: LazyLock<Dashboard> = LazyLock::new(Dashboard::new);
    &DASHBOARD
}

impl Dashboard {
    fn new() -> Dashboard {
        let script = SCRIPT.concat();
        let page = PAGE.replacen("/*style*/", STYLE, 1).replacen("/*script*/", &script, 1);
        Dashboard { page, fields: fields(&hash(STYLE), &hash(&script)) }
    }
}

/// The page runs what is in it and nothing else, asks nobody but rsp, and is in no frame. Text cannot become markup,
/// whatever servers are called: `trusted-types 'none'` refuses all that would make it so.
fn fields(style: &str, script: &str) -> String {
    format!(
        "Content-Security-Policy: default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'\r\n\
         X-Frame-Options: DENY\r\n\
         Referrer-Policy: no-referrer\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\n"
    )
}

/// As a source in a policy names a text between tags.
fn hash(text: &str) -> String {
    format!("sha256-{}", Base64::encode_string(&Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is between these, in the page as it is sent.
    fn between<'a>(start: &str, end: &str) -> &'a str {
        let page = &dashboard().page;
        let (_, rest) = page.split_once(start).unwrap();
        rest.split_once(end).unwrap().0
    }

    #[test]
    fn the_policy_allows_the_style_and_the_script_that_are_in_the_page() {
        assert_eq!(hash(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        let policy = &dashboard().fields;
        let (style, script) =
            (between("<style>", "</style>"), between("<script type=\"module\">", "</script>"));
        assert!(style.len() > 1000 && script.len() > 10_000);
        assert!(policy.contains(&format!("style-src '{}'; ", hash(style))), "{policy}");
        assert!(policy.contains(&format!("script-src '{}'; ", hash(script))), "{policy}");
    }

    #[test]
    fn the_page_is_one_and_makes_no_markup_of_text() {
        let page = &dashboard().page;
        for end in ["</style", "</script"] {
            assert_eq!(page.matches(end).count(), 1, "{end}");
        }
        let outside = ["src=", "@import", "url(", " style=", "\r", "<!--"];
        let markup = ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser"];
        for word in outside.iter().chain(&markup) {
            assert!(!page.contains(word), "{word}");
        }
        let links: Vec<&str> =
            page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert!(links.iter().all(|link| link.starts_with('#') || link.starts_with("data:")), "{links:?}");
    }
}
