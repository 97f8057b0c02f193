//! What the answer of a server means for a download: its status and its headers, before the body.

use std::time::{Duration, SystemTime};

use super::error::Why;
use super::part::Part;
use super::{Known, Request, Version};

/// A meaning.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// What is there already is what the server has.
    Kept,
    /// It is elsewhere.
    Moved(String),
    /// Bytes follow.
    Body {
        /// Of this version.
        version: Version,
        /// From this byte on.
        from: u64,
        /// So many, if the server knows.
        len: Option<u64>,
    },
}

/// The value of a header.
pub(crate) type Headers<'a> = &'a dyn Fn(&'static str) -> Option<String>;

/// Judges an answer to a request that may have asked for the rest of a part.
pub(crate) fn meaning(
    status: u16,
    headers: Headers<'_>,
    request: &Request<'_>,
    part: &mut Part,
) -> Result<Meaning, Why> {
    let resuming = !part.is_empty();
    match status {
        200 if request
            .unless
            .as_ref()
            .is_some_and(|known| is_no_newer(headers, known)) =>
        {
            Ok(Meaning::Kept)
        }
        200 => body(headers, 0),
        206 if resuming => match range(headers) {
            Some((from, total)) if from == part.len() => {
                let len = length(headers).or(total.map(|total| total.saturating_sub(from)));
                body(headers, from).map(|meaning| match meaning {
                    Meaning::Body { version, from, .. } => Meaning::Body { version, from, len },
                    other => other,
                })
            }
            other => {
                restart(part)?;
                Err(Why::Connection(format!(
                    "it went on from byte {}, not where it was asked to",
                    other.map_or("nowhere".into(), |(from, _)| from.to_string())
                )))
            }
        },
        // 213 is the answer of FTP servers behind some proxies.
        304 | 213 if request.unless.is_some() && !resuming => Ok(Meaning::Kept),
        301 | 302 | 303 | 307 | 308 => match headers("location") {
            Some(location) => Ok(Meaning::Moved(location)),
            None => Err(Why::Redirect("without saying where to".into())),
        },
        416 if resuming => {
            restart(part)?;
            Err(Why::Connection("it cannot go on from where it stopped".into()))
        }
        status => Err(Why::Status {
            status,
            retry_after: headers("retry-after").and_then(|text| pause(&text)),
            challenge: headers("www-authenticate"),
        }),
    }
}

fn restart(part: &mut Part) -> Result<(), Why> {
    part.restart().map_err(Why::local("cannot empty the file"))
}

#[allow(clippy::unnecessary_wraps, reason = "an arm of a match that fails elsewhere")]
fn body(headers: Headers<'_>, from: u64) -> Result<Meaning, Why> {
    let version = Version {
        etag: headers("etag"),
        last_modified: headers("last-modified"),
    };
    let len = length(headers);
    Ok(Meaning::Body { version, from, len })
}

/// The bytes that follow. A body in chunks says by itself where it ends.
fn length(headers: Headers<'_>) -> Option<u64> {
    match headers("transfer-encoding") {
        Some(_) => None,
        None => headers("content-length")?.trim().parse().ok(),
    }
}

/// Whether a whole answer to a condition is of a version that was there before: the server knew no conditions.
fn is_no_newer(headers: Headers<'_>, known: &Known) -> bool {
    let same = |etag: &String| known.etag.as_ref().is_none_or(|known| known == etag);
    let dated = headers("last-modified").and_then(|text| httpdate::parse_http_date(&text).ok());
    dated.is_some_and(|made| made <= known.time) && headers("etag").as_ref().is_none_or(same)
}

/// The first byte of a range and the length of the whole, if that is known: RFC 9110, 14.4.
fn range(headers: Headers<'_>) -> Option<(u64, Option<u64>)> {
    let text = headers("content-range")?;
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (from, to) = range.split_once('-')?;
    let (from, to): (u64, u64) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
    let total = total.parse().ok();
    let fits = from <= to && total.is_none_or(|total: u64| to < total);
    fits.then_some((from, total))
}

/// What `If-Range` may name: RFC 9110, 8.8.2.2 and 13.1.5. A weak tag and a time that may still change serve not.
pub(crate) fn strong_validator(headers: Headers<'_>) -> Option<String> {
    if let Some(etag) = headers("etag") {
        return Some(etag).filter(|etag| etag.starts_with('"') && etag.len() > 2);
    }
    let modified = headers("last-modified")?;
    let time = |text: &str| httpdate::parse_http_date(text).ok();
    let (made, sent) = (time(&modified)?, time(&headers("date")?)?);
    (made + Duration::from_secs(1) <= sent).then_some(modified)
}

/// The pause that `Retry-After` asks for, in seconds or as the time of its end.
fn pause(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let end = httpdate::parse_http_date(text).ok()?;
    end.duration_since(SystemTime::now()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::url::Url;

    const OLD: &str = "Thu, 01 Jan 1970 00:16:40 GMT"; // 1000 s
    const NEW: &str = "Thu, 01 Jan 1970 00:33:20 GMT"; // 2000 s

    fn pairs<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&'static str) -> Option<String> + 'a {
        move |name| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        }
    }

    /// A part of three bytes, or of none.
    fn part(bytes: &[u8]) -> Part {
        let mut part = Part::new(tempfile::tempfile().unwrap());
        part.begin(Some("\"v\"".into())).unwrap();
        part.append(bytes).unwrap();
        part
    }

    fn judged(status: u16, headers: &[(&str, &str)], known: bool, bytes: &[u8]) -> Result<Meaning, Why> {
        let url = Url::parse("http://h/").unwrap();
        let unless = known.then(|| Known {
            time: SystemTime::UNIX_EPOCH + Duration::from_mins(25),
            len: 3,
            etag: Some("\"v\"".into()),
        });
        let request = Request {
            url: &url,
            unless,
            reload: false,
            sha256: None,
            len_max: None,
        };
        meaning(status, &pairs(headers), &request, &mut part(bytes))
    }

    #[test]
    fn answers_to_conditions() {
        assert_eq!(judged(304, &[], true, b"").unwrap(), Meaning::Kept);
        assert_eq!(judged(213, &[], true, b"").unwrap(), Meaning::Kept);
        assert!(judged(304, &[], false, b"").is_err());
        let kept = |headers: &[(&str, &str)]| judged(200, headers, true, b"").unwrap() == Meaning::Kept;
        assert!(kept(&[("last-modified", OLD)]));
        assert!(kept(&[("last-modified", OLD), ("etag", "\"v\"")]));
        assert!(!kept(&[("last-modified", OLD), ("etag", "\"w\"")]));
        assert!(!kept(&[("last-modified", NEW)]));
        assert!(!kept(&[]));
    }

    #[test]
    fn answers_to_ranges() {
        let from = |headers: &[(&str, &str)]| match judged(206, headers, false, b"abc") {
            Ok(Meaning::Body { from, len, .. }) => Some((from, len)),
            _ => None,
        };
        assert_eq!(from(&[("content-range", "bytes 3-9/10")]), Some((3, Some(7))));
        assert_eq!(
            from(&[("content-range", "bytes 3-9/*"), ("content-length", "7")]),
            Some((3, Some(7)))
        );
        for wrong in [
            "bytes 0-9/10",
            "bytes 3-2/10",
            "bytes 3-10/10",
            "3-9/10",
            "bytes */10",
            "",
        ] {
            assert_eq!(from(&[("content-range", wrong)]), None, "{wrong}");
        }
        assert!(judged(206, &[("content-range", "bytes 0-9/10")], false, b"").is_err());
        assert!(judged(416, &[], false, b"abc").unwrap_err().passes());
        assert!(!judged(416, &[], false, b"").unwrap_err().passes());
    }

    #[test]
    fn other_statuses_fail_with_their_reason() {
        let told = |status, headers: &[(&str, &str)]| {
            let why = judged(status, headers, false, b"").unwrap_err();
            (why.to_string(), why.passes(), why.is_not_found())
        };
        assert_eq!(
            told(404, &[]),
            ("the server answered 404 Not Found".into(), false, true)
        );
        assert_eq!(
            told(503, &[("retry-after", "7")]),
            ("the server answered 503 Service Unavailable".into(), true, false)
        );
        assert_eq!(told(301, &[]).0, "redirected without saying where to");
        assert_eq!(pause("7"), Some(Duration::from_secs(7)));
        assert_eq!(pause(OLD), None);
    }

    #[test]
    fn only_strong_validators_vouch_for_the_rest() {
        let strong = |headers: &[(&str, &str)]| strong_validator(&pairs(headers));
        assert_eq!(
            strong(&[("etag", "\"x\""), ("last-modified", OLD)]).as_deref(),
            Some("\"x\"")
        );
        assert_eq!(strong(&[("etag", "W/\"x\"")]), None);
        assert_eq!(strong(&[("last-modified", OLD)]), None);
        assert_eq!(strong(&[("last-modified", OLD), ("date", OLD)]), None);
        assert_eq!(
            strong(&[("last-modified", OLD), ("date", NEW)]).as_deref(),
            Some(OLD)
        );
    }
}
