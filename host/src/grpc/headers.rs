//! The request headers that mean something here.

use conclave_core::ids::Digest;
use conclave_core::plugin::PluginChoice;
use tonic::metadata::MetadataMap;

use super::status::Refusal;

/// Characters that a key of a client may have.
const KEY_CHARS_MAX: usize = 128;

/// How much of a trace state is passed on: what the specification asks for (section 3.3.1.5).
const TRACESTATE_BYTES_MAX: usize = 512;

/// The headers of a submit.
#[derive(Debug, Default)]
pub(super) struct Headers {
    /// `idempotency-key`.
    pub(super) idempotency_key: Option<String>,
    /// `x-correlation-id`.
    pub(super) correlation_id: Option<String>,
    /// `x-conclave-strategy`.
    pub(super) strategy: Option<PluginChoice>,
    /// `x-conclave-scorer`.
    pub(super) scorer: Option<PluginChoice>,
    /// `traceparent`, when it is one: tracing fails no call.
    pub(super) traceparent: Option<String>,
    /// `tracestate`, when it came with a `traceparent`.
    pub(super) tracestate: Option<String>,
}

impl Headers {
    /// Reads the headers; one that is there and breaks its rule refuses the call.
    pub(super) fn read(metadata: &MetadataMap) -> Result<Self, Refusal> {
        let choice = |name| {
            key(metadata, name)?
                .map(|text| plugin_choice(name, &text))
                .transpose()
        };
        let text = |name| metadata.get(name).and_then(|value| value.to_str().ok());
        let traceparent = text("traceparent").filter(|text| is_traceparent(text));
        let tracestate = text("tracestate").filter(|text| text.len() <= TRACESTATE_BYTES_MAX);
        Ok(Self {
            idempotency_key: key(metadata, "idempotency-key")?,
            correlation_id: key(metadata, "x-correlation-id")?,
            strategy: choice("x-conclave-strategy")?,
            scorer: choice("x-conclave-scorer")?,
            tracestate: traceparent.and(tracestate).map(ToOwned::to_owned),
            traceparent: traceparent.map(ToOwned::to_owned),
        })
    }
}

fn key(metadata: &MetadataMap, name: &'static str) -> Result<Option<String>, Refusal> {
    let Some(value) = metadata.get(name) else {
        return Ok(None);
    };
    // What is not ASCII cannot be printed here.
    check_key(name, value.to_str().unwrap_or("\0")).map(Some)
}

/// Takes a key of 1 to 128 printable characters.
pub(super) fn check_key(field: &str, text: &str) -> Result<String, Refusal> {
    let count = text.chars().count();
    if count == 0 || count > KEY_CHARS_MAX || text.chars().any(char::is_control) {
        let message = format!("{field} must have 1 to {KEY_CHARS_MAX} printable characters");
        return Err(Refusal::field(field, message));
    }
    Ok(text.to_owned())
}

/// Takes `name`, `name@version` or `name@sha256:digest`.
pub(super) fn plugin_choice(field: &str, text: &str) -> Result<PluginChoice, Refusal> {
    text.parse().map_err(|_| no_digest(field))
}

/// Takes 64 hexadecimal digits.
pub(super) fn digest(field: &str, text: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|_| no_digest(field))
}

fn no_digest(field: &str) -> Refusal {
    let message = format!("{field} must be a sha256 digest: 64 hexadecimal digits");
    Refusal::field(field, message)
}

/// Whether a text is a W3C `traceparent` (Trace Context, section 3.2).
fn is_traceparent(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut hex = |digits: usize| {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        parts
            .next()
            .filter(|part| part.len() == digits && part.bytes().all(is_hex))
    };
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let (Some(version), Some(trace), Some(parent), Some(_flags)) =
        (hex(2), hex(32), hex(16), hex(2))
    else {
        return false;
    };
    let known_length = version != "00" || parts.next().is_none();
    known_length && version != "ff" && !is_zero(trace) && !is_zero(parent) && text.len() <= 256
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &'static str, value: &str) -> Result<Headers, Refusal> {
        let mut metadata = MetadataMap::new();
        metadata.insert(name, value.parse().unwrap());
        Headers::read(&metadata)
    }

    #[test]
    fn a_key_has_1_to_128_printable_characters() {
        let key =
            |value: &str| read("idempotency-key", value).map(|headers| headers.idempotency_key);
        assert_eq!(key("k").unwrap().as_deref(), Some("k"));
        assert!(key(&"k".repeat(128)).is_ok());
        for wrong in ["", &"k".repeat(129), "a\tb"] {
            let error = key(wrong).unwrap_err();
            assert!(
                format!("{error:?}").contains("idempotency-key must have"),
                "{error:?}"
            );
        }
        assert!(check_key("request_id", "grüße").is_ok());
    }

    #[test]
    fn a_plugin_is_chosen_by_name_version_or_digest() {
        let chosen = |value: &str| {
            read("x-conclave-strategy", value)
                .unwrap()
                .strategy
                .unwrap()
        };
        assert_eq!(chosen("debate"), PluginChoice::named("debate"));
        assert_eq!(chosen("debate@1.2.3").version.as_deref(), Some("1.2.3"));
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(
            chosen(&format!("debate@{digest}")).digest,
            Some(digest.parse().unwrap())
        );
        assert!(read("x-conclave-scorer", "judge@sha256:12").is_err());
    }

    #[test]
    fn what_is_no_traceparent_is_ignored() {
        let read = |value: &str| read("traceparent", value).unwrap().traceparent;
        let sound = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(read(sound).as_deref(), Some(sound));
        for wrong in [
            "",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
