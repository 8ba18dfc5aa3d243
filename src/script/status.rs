//! `res.status = …`: which status a script may put in the place of a server's. What decides whether there is a body stays
//! as it is: the server has sent one, or has not.

use crate::http::{ResponseHead, reason_phrase};

/// Without a body, or not known by all to be so: neither may become another, nor another one of these.
const BODILESS: [u16; 3] = [204, 205, 304];

/// Gives the response this status and its usual phrase.
pub fn set(response: &mut ResponseHead, status: Option<i64>) -> Result<(), String> {
    const EXPECTED: &str = "expected a whole number from 200 to 599, but not 204, 205 or 304";
    let status = match status {
        Some(status @ 200..=599) if !BODILESS.contains(&(status as u16)) => status as u16,
        Some(status) if status == i64::from(response.status) => return Ok(()),
        Some(status) => return Err(format!("res.status: got {status}, {EXPECTED}")),
        None => return Err(format!("res.status: {EXPECTED}")),
    };
    let came = response.status;
    if came < 200 || BODILESS.contains(&came) {
        return Err(format!("res.status: a {came} stays one, since it has no body"));
    }
    if came != status {
        response.status = status;
        response.reason = response.fields.store(reason_phrase(status).as_bytes());
    }
    Ok(())
}
