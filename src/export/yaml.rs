//! YAML of others, read to be written again with a few changes: nothing that it says is lost, and nothing is kept in
//! memory that is not wiped. Knows nothing of what it means.
//!
//! The library's own value type won't do: it keeps other people's tokens and keys in plain strings, unfolds anchors
//! without a bound in bytes, and writes texts bare that kubectl's reader (YAML 1.1) takes for something else.

use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// One value. No `Debug`: it may be a key.
#[derive(PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) enum Node {
    Null,
    Bool(bool),
    /// As YAML writes it.
    Number(String),
    Text(Zeroizing<String>),
    List(Vec<Node>),
    Map(Vec<(Zeroizing<String>, Node)>),
}

/// Why a file can't be read, or could not be written again as it is. The library's own words may quote a value, and
/// the value may be a key: only the place is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    /// It is no YAML, has several documents, or something that would be lost when it is written again.
    #[error("it is no YAML that can be written again as it is: {what}{}", .line.map_or_else(String::new, |line| format!(" (line {line})")))]
    Shape {
        /// What is in the way.
        what: &'static str,
        /// The line at fault, where it is known.
        line: Option<usize>,
    },
}

/// What a value costs beside its bytes, so that a million empty lists behind one anchor are too much as well.
const COST: usize = 16;

impl Node {
    /// Reads the one document of `bytes`. Fails on tags, on keys that are no text or stand twice, and where anchors
    /// unfold to more than `largest` bytes.
    pub(crate) fn read(bytes: &Secret, largest: usize) -> Result<Self, YamlError> {
        // The library takes this one tag for none, and what it marks for plain text.
        if bytes.expose().windows(8).any(|window| window == b"!!binary") {
            return Err(YamlError::Shape { what: "it has a tag", line: None });
        }
        let mut budget = Budget { left: largest.saturating_mul(2), fault: None };
        let read = Seed(&mut budget).deserialize(serde_yaml_ng::Deserializer::from_slice(bytes.expose()));
        read.map_err(|error| YamlError::Shape {
            what: budget.fault.unwrap_or("it does not parse"),
            line: error.location().map(|at| at.line()),
        })
    }

    /// Reads every document of `bytes`, under the same rules.
    pub(crate) fn read_stream(bytes: &Secret, largest: usize) -> Result<Vec<Self>, YamlError> {
        if bytes.expose().windows(8).any(|window| window == b"!!binary") {
            return Err(YamlError::Shape { what: "it has a tag", line: None });
        }
        let mut budget = Budget { left: largest.saturating_mul(2), fault: None };
        let mut documents = Vec::new();
        for document in serde_yaml_ng::Deserializer::from_slice(bytes.expose()) {
            let read = Seed(&mut budget).deserialize(document);
            documents.push(read.map_err(|error| YamlError::Shape {
                what: budget.fault.unwrap_or("it does not parse"),
                line: error.location().map(|at| at.line()),
            })?);
        }
        Ok(documents)
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// The names and values of a map.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Self)> {
        let entries = match self {
            Self::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Writes it as a block. `size` is what to reserve, so that the buffer does not grow and leave copies behind.
    pub(super) fn write(&self, size: usize) -> Secret {
        let mut out = Zeroizing::new(String::with_capacity(size));
        self.block(0, &mut out);
        Secret::new(std::mem::take(&mut *out).into_bytes())
    }

    /// About how long it is when written.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) => COST,
            Self::Number(text) => COST + text.len(),
            Self::Text(text) => COST + quoted_length(text),
            Self::List(items) => COST + items.iter().map(|item| 64 + item.size()).sum::<usize>(),
            Self::Map(entries) => {
                COST + entries.iter().map(|(key, value)| 64 + quoted_length(key) + value.size()).sum::<usize>()
            }
        }
    }

    /// A text of our own.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(Zeroizing::new(text.into()))
    }

    /// A map of our own.
    pub(super) fn map<const N: usize>(entries: [(&str, Self); N]) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (Zeroizing::new(key.to_owned()), value)).collect())
    }

    /// The value of a key, if this is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        entries.iter().find(|(name, _)| **name == key).map(|(_, value)| value)
    }

    /// Sets the value of a key of a map, in its place or at the end.
    pub(super) fn set(&mut self, key: &str, value: Self) {
        let Self::Map(entries) = self else { return };
        match entries.iter_mut().find(|(name, _)| **name == key) {
            Some((_, old)) => *old = value,
            None => entries.push((Zeroizing::new(key.to_owned()), value)),
        }
    }

    /// Takes a key out of a map.
    pub(super) fn remove(&mut self, key: &str) {
        if let Self::Map(entries) = self {
            entries.retain(|(name, _)| **name != key);
        }
    }

    /// What kubectl reads where it wants text: it takes numbers for one too.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(text) => Some(text),
            _ => None,
        }
    }

    fn block(&self, indent: usize, out: &mut String) {
        match self {
            Self::Map(entries) if !entries.is_empty() => {
                for (index, (key, value)) in entries.iter().enumerate() {
                    if index > 0 {
                        pad(indent, out);
                    }
                    write_text(key, out);
                    out.push(':');
                    value.below(key, indent, out);
                }
            }
            Self::List(items) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        pad(indent, out);
                    }
                    out.push_str("- ");
                    item.block(indent + 2, out);
                }
            }
            scalar => {
                scalar.scalar(out);
                out.push('\n');
            }
        }
    }

    /// A value behind its key: in the same line, or as a block below.
    fn below(&self, key: &str, indent: usize, out: &mut String) {
        match self {
            Self::Map(entries) if !entries.is_empty() => {
                out.push('\n');
                pad(indent + 2, out);
                self.block(indent + 2, out);
            }
            Self::List(items) if !items.is_empty() => {
                out.push('\n');
                pad(indent, out);
                self.block(indent, out);
            }
            // Written bare by a person, `yes` means true to kubectl there, and a quoted one would mean an error.
            Self::Text(text) if SWITCHES.contains(&key) && is_switch(text) => {
                out.push(' ');
                out.push_str(text);
                out.push('\n');
            }
            scalar => {
                out.push(' ');
                scalar.scalar(out);
                out.push('\n');
            }
        }
    }

    fn scalar(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(text) => out.push_str(text),
            Self::Text(text) => write_text(text, out),
            Self::List(_) => out.push_str("[]"),
            Self::Map(_) => out.push_str("{}"),
        }
    }
}

/// The fields of a kubeconfig that are yes or no.
const SWITCHES: [&str; 4] = ["insecure-skip-tls-verify", "disable-compression", "provideClusterInfo", "colors"];

/// A word that YAML 1.1 takes for a truth value, and YAML 1.2 for text.
fn is_switch(text: &str) -> bool {
    ["y", "n", "yes", "no", "on", "off"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Bare only where every reader of YAML, old and new, takes it for the same text.
fn is_plain(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+=@:".contains(c);
    let word = |word: &&str| text.eq_ignore_ascii_case(word);
    begins
        && text.chars().all(plain)
        && !text.ends_with(':')
        && !is_switch(text)
        && !["true", "false", "null"].iter().any(word)
}

fn write_text(text: &str, out: &mut String) {
    // The key that merges an anchor into a map is one only as long as it is bare.
    if is_plain(text) || text == "<<" {
        return out.push_str(text);
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if is_raw(c) => out.push(c),
            c => {
                // Two digits, four or eight: YAML knows no surrogates.
                let (letter, digits) = if u32::from(c) > 0xffff { ('U', 8) } else { ('u', 4) };
                out.push('\\');
                out.push(letter);
                for place in (0..digits).rev() {
                    let digit = (u32::from(c) >> (4 * place)) & 0xf;
                    out.push(char::from_digit(digit, 16).unwrap_or('0'));
                }
            }
        }
    }
    out.push('"');
}

/// What may stand between quotes as it is: printable (YAML 1.2, 5.1), no line end of any Unicode kind, no mark.
fn is_raw(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// At most what `write_text` writes.
fn quoted_length(text: &str) -> usize {
    2 + text.chars().map(|c| if is_raw(c) { 1 + c.len_utf8() } else { 10 }).sum::<usize>()
}

/// What may still be read, and why it may not.
struct Budget {
    left: usize,
    fault: Option<&'static str>,
}

impl Budget {
    fn take<E: serde::de::Error>(&mut self, bytes: usize) -> Result<(), E> {
        match self.left.checked_sub(bytes + COST) {
            Some(left) => self.left = left,
            None => return Err(self.refuse("its anchors unfold to more than such a file may have")),
        }
        Ok(())
    }

    fn refuse<E: serde::de::Error>(&mut self, what: &'static str) -> E {
        self.fault.get_or_insert(what);
        E::custom(what)
    }
}

struct Seed<'a>(&'a mut Budget);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Seed<'_> {
    fn number<E: serde::de::Error>(self, text: String) -> Result<Node, E> {
        self.0.take(text.len())?;
        Ok(Node::Number(text))
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value without a tag")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Node, E> {
        self.0.take(0)?;
        Ok(Node::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Node, E> {
        self.visit_unit()
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Node, E> {
        self.0.take(0)?;
        Ok(Node::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Node, E> {
        self.number(value.to_string())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Node, E> {
        self.number(value.to_string())
    }

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<Node, E> {
        self.number(value.to_string())
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Node, E> {
        self.number(value.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        let text = match value {
            value if value.is_nan() => ".nan".to_owned(),
            value if value.is_infinite() => if value > 0.0 { ".inf" } else { "-.inf" }.to_owned(),
            value => format!("{value:?}"),
        };
        self.number(text)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Node, E> {
        self.0.take(value.len())?;
        Ok(Node::text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        self.0.take(0)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Seed(self.0))? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        self.0.take(0)?;
        let mut map: Vec<(Zeroizing<String>, Node)> = Vec::new();
        let mut names = std::collections::HashSet::new();
        while let Some(key) = entries.next_key_seed(Seed(self.0))? {
            let Node::Text(key) = key else { return Err(self.0.refuse("it has a key that is no text")) };
            if !names.insert(key.to_string()) {
                return Err(self.0.refuse("it has a key twice"));
            }
            map.push((key, entries.next_value_seed(Seed(self.0))?));
        }
        Ok(Node::Map(map))
    }

    fn visit_enum<A: serde::de::EnumAccess<'de>>(self, _tagged: A) -> Result<Node, A::Error> {
        Err(self.0.refuse("it has a tag"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Node, YamlError> {
        Node::read(&Secret::new(text.as_bytes().to_vec()), 4096)
    }

    fn rewritten(text: &str) -> String {
        let node = read(text).ok().unwrap();
        String::from_utf8(node.write(node.size()).expose().to_vec()).unwrap()
    }

    fn any_node() -> impl Strategy<Value = Node> {
        let text =
            prop_oneof![".{0,12}", "[a-z0-9:.@/+=_ #-]{0,12}", "(yes|no|~|null|0x1f|1_000|<<|-|\\?|1e3|\n|\\.inf)"];
        let text = text.prop_map(Node::text);
        let leaf = prop_oneof![
            text,
            any::<bool>().prop_map(Node::Bool),
            any::<i64>().prop_map(|number| Node::Number(number.to_string())),
            any::<()>().prop_map(|()| Node::Null),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let entry = (".{0,6}", inner.clone());
            let map = prop::collection::btree_map(entry.0, entry.1, 0..4);
            let map = map.prop_map(|map| Node::Map(map.into_iter().map(|(k, v)| (Zeroizing::new(k), v)).collect()));
            prop_oneof![prop::collection::vec(inner, 0..4).prop_map(Node::List), map]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(node in any_node()) {
            let written = node.write(node.size());
            prop_assert!(written.len() <= node.size());
            let again = Node::read(&written, 1 << 20);
            let is_same = again.is_ok_and(|again| again == node);
            prop_assert!(is_same, "{}", String::from_utf8_lossy(written.expose()));
        }
    }

    #[test]
    fn a_file_of_kubectl_stays_as_it_is() {
        let text = "apiVersion: v1
clusters:
- cluster:
    insecure-skip-tls-verify: true
    server: https://10.0.0.1:6443
  name: a
contexts: []
current-context: \"\"
kind: Config
preferences: {}
users:
- name: \"123\"
  user:
    exec:
      args:
      - -C
      - /home/a b
      env: null
";
        let expected = text.replace("- -C", "- \"-C\"").replace("/home/a b", "\"/home/a b\"");
        assert_eq!(rewritten(text), expected);
    }

    #[test]
    fn words_of_yaml_1_1_keep_their_meaning_for_kubectl() {
        assert_eq!(rewritten("insecure-skip-tls-verify: yes"), "insecure-skip-tls-verify: yes\n");
        assert_eq!(rewritten("name: 'yes'"), "name: \"yes\"\n");
        assert_eq!(rewritten("name: '1_000'"), "name: \"1_000\"\n");
    }

    #[test]
    fn what_could_not_be_written_again_is_refused_and_never_quoted() {
        let bomb = format!("a: &a {}\nb: [{}]", "x".repeat(1000), "*a, ".repeat(90));
        for (text, what) in [
            ("a: !!binary c2VjcmV0", "a tag"),
            ("a: !secret c2VjcmV0", "a tag"),
            ("1: c2VjcmV0", "no text"),
            ("a: c2VjcmV0\na: c2VjcmV0", "twice"),
            ("a: c2VjcmV0\n---\nb: c2VjcmV0", "does not parse"),
            ("a: [c2VjcmV0", "does not parse"),
            (bomb.as_str(), "unfold"),
        ] {
            let error = read(text).err().unwrap_or_else(|| panic!("{text}")).to_string();
            assert!(error.contains(what) && !error.contains("c2VjcmV0"), "{error}");
        }
        assert!(Node::read(&Secret::new(vec![0xff, 0xfe, 0]), 4096).is_err());
        assert!(read(&"[".repeat(5000)).is_err());
    }
}
