//! A YAML document, written line by line into one buffer that is wiped. Knows the form that Go's writers give it, and which
//! scalars stand as they are; not what a document is about.
//!
//! By hand, unlike other YAML here: what talosctl writes is to come out byte for byte, and a tree of values would hold every
//! key a second and a third time before it is text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// What is reserved at the start: documents with a dozen keys stay below it, so that none is copied while it grows.
const ROOM: usize = 64 * 1024;

/// A document in the making.
pub(super) struct Document {
    bytes: Zeroizing<Vec<u8>>,
    step: usize,
}

impl Document {
    /// An empty document whose levels are indented by `step` blanks.
    pub(super) fn new(step: usize) -> Self {
        Self { bytes: Zeroizing::new(Vec::with_capacity(ROOM)), step }
    }

    /// A line of text that is YAML already, such as a comment, a key or the mark between two documents.
    pub(super) fn line(&mut self, level: usize, text: &str) -> &mut Self {
        self.start(level);
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(b'\n');
        self
    }

    /// A key with a value of text.
    pub(super) fn text(&mut self, level: usize, key: &str, value: &[u8]) -> &mut Self {
        self.key(level, key);
        match is_plain(value) {
            true => self.bytes.extend_from_slice(value),
            false => self.quoted(value),
        }
        self.bytes.push(b'\n');
        self
    }

    /// A key with octets in standard base64, which is always plain.
    pub(super) fn base64(&mut self, level: usize, key: &str, value: &[u8]) -> &mut Self {
        self.key(level, key);
        let from = self.bytes.len();
        self.bytes.resize(from + value.len().div_ceil(3) * 4, 0);
        STANDARD.encode_slice(value, &mut self.bytes[from..]).expect("base64 needs four octets for three");
        self.bytes.push(b'\n');
        self
    }

    /// The document's bytes.
    pub(super) fn finish(self) -> Secret {
        Secret::from(self.bytes)
    }

    fn start(&mut self, level: usize) {
        self.bytes.extend(std::iter::repeat_n(b' ', level * self.step));
    }

    fn key(&mut self, level: usize, key: &str) {
        self.start(level);
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.extend_from_slice(b": ");
    }

    /// In double quotes, which YAML reads as JSON does.
    fn quoted(&mut self, value: &[u8]) {
        self.bytes.push(b'"');
        for octet in value {
            match octet {
                b'"' | b'\\' => self.bytes.extend_from_slice(&[b'\\', *octet]),
                0..0x20 | 0x7f => self.bytes.extend_from_slice(format!("\\x{octet:02x}").as_bytes()),
                _ => self.bytes.push(*octet),
            }
        }
        self.bytes.push(b'"');
    }
}

/// Whether a scalar is text without quotes: letters, digits and a few marks that begin nothing in YAML, and no number. A join
/// token of digits alone, `123456.1234567890123456`, would be one.
fn is_plain(value: &[u8]) -> bool {
    let letters = |octet: &u8| octet.is_ascii_alphanumeric() || b"+/=_.-".contains(octet);
    let first = value.first().is_some_and(u8::is_ascii_alphanumeric);
    first && value.iter().all(letters) && !is_number(value) && !is_word(value)
}

/// YAML's numbers with a digit first: decimal ones with point and exponent, and `0x…`, `0o…`, `0b…`.
fn is_number(value: &[u8]) -> bool {
    let digits = |part: &[u8]| part.iter().all(|octet| octet.is_ascii_digit() || *octet == b'_');
    let based = |octets: &[u8]| octets.len() > 1 && octets[0] == b'0' && b"xXoObB".contains(&octets[1]);
    let exponent = value.iter().position(|octet| matches!(octet, b'e' | b'E'));
    let (mantissa, power) = value.split_at(exponent.unwrap_or(value.len()));
    let power = power.get(1..).unwrap_or_default();
    let power = power.strip_prefix(b"+").or_else(|| power.strip_prefix(b"-")).unwrap_or(power);
    let mut parts = mantissa.splitn(2, |octet| *octet == b'.');
    let decimal = parts.all(digits) && digits(power) && (exponent.is_none() || !power.is_empty());
    based(value) || (decimal && value.first().is_some_and(u8::is_ascii_digit))
}

/// The words that YAML 1.1 or 1.2 takes for something else than text.
fn is_word(value: &[u8]) -> bool {
    const WORDS: &[&str] = &["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    WORDS.iter().any(|word| word.as_bytes().eq_ignore_ascii_case(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_yaml_would_take_for_something_else_is_quoted() {
        for text in
            ["123456.1234567890123456", "123456.12345678901234e6", "12", "0x1f", "yes", "Null", "", "-a", "a: b", "1e5"]
        {
            assert!(!is_plain(text.as_bytes()), "{text}");
        }
        for text in [
            "abcdef.0123456789abcdef",
            "12345a.0123456789012345",
            "LS0t/+=",
            "1e5e.1",
            "a_b",
            "123456.1e3e567890123456",
        ] {
            assert!(is_plain(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_document_reads_back_as_what_was_put_in() {
        let mut document = Document::new(4);
        document
            .line(0, "a:")
            .text(1, "token", b"123456.1")
            .text(1, "odd", "x: \"\\\u{1}é".as_bytes())
            .base64(1, "b", &[0xff; 4]);
        let bytes = document.finish();
        let value: serde_yaml_ng::Value = serde_yaml_ng::from_slice(bytes.expose()).unwrap();
        assert_eq!(value["a"]["token"], "123456.1");
        assert_eq!(value["a"]["odd"], "x: \"\\\u{1}é");
        assert_eq!(value["a"]["b"], "/////w==");
    }
}
