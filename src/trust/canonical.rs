//! Canonical TOML (FORMAT 2): the one writer of signed statements, and the reader that refuses whatever
//! the writer would write in another way. Knows nothing of epochs or records.

use std::collections::BTreeSet;
use std::fmt::{Display, Write as _};

use toml::{Table, Value};

use crate::model::{self, Code, Digest, Fingerprint, HexId, Span, Time};

/// Why a statement is refused before its content is judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct StatementFault {
    /// The finding code.
    pub code: Code,
    /// The reason, as a clause.
    pub why: String,
}

impl StatementFault {
    /// A fault.
    pub fn new(code: Code, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }
}

fn not_canonical<T>(why: impl Into<String>) -> Result<T, StatementFault> {
    Err(StatementFault::new(Code::NotCanonical, why))
}

/// Writes statements. Strings must have passed `model::check_text`.
#[derive(Default)]
pub struct Writer {
    text: String,
}

/// `"` and `\` are escaped with a backslash, nothing else.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A part of a dotted key: bare, or quoted where it has a dot.
fn key_part(part: &str) -> String {
    if part.contains('.') { quoted(part) } else { part.to_owned() }
}

impl Writer {
    /// `key = value`, the value as it stands: a number or a time.
    pub fn plain(&mut self, key: &str, value: impl Display) {
        let _ = writeln!(self.text, "{key} = {value}");
    }

    /// `key = "value"`.
    pub fn string(&mut self, key: &str, value: impl Display) {
        let _ = writeln!(self.text, "{} = {}", key_part(key), quoted(&value.to_string()));
    }

    /// `key = true`, or nothing: flags are written only where they hold.
    pub fn flag(&mut self, key: &str, value: bool) {
        if value {
            self.plain(key, true);
        }
    }

    /// A list of strings, one a line.
    pub fn list<T: Display>(&mut self, key: &str, values: impl IntoIterator<Item = T>) {
        self.lines(key, values.into_iter().map(|value| quoted(&value.to_string())));
    }

    /// A list of inline tables, one a line: `{ a = "x", b = "y" }`.
    pub fn inline(&mut self, key: &str, rows: impl IntoIterator<Item = [(&'static str, String); 2]>) {
        let row =
            |[(a, x), (b, y)]: [(&'static str, String); 2]| format!("{{ {a} = {}, {b} = {} }}", quoted(&x), quoted(&y));
        self.lines(key, rows.into_iter().map(row));
    }

    fn lines(&mut self, key: &str, values: impl IntoIterator<Item = String>) {
        let before = self.text.len();
        let _ = writeln!(self.text, "{} = [", key_part(key));
        let opened = self.text.len();
        for value in values {
            let _ = writeln!(self.text, "    {value},");
        }
        if self.text.len() == opened {
            self.text.truncate(before);
            let _ = writeln!(self.text, "{} = []", key_part(key));
        } else {
            self.text.push_str("]\n");
        }
    }

    /// `[a.b]`, after a blank line.
    pub fn table(&mut self, parts: &[&str]) {
        let name = parts.iter().map(|part| key_part(part)).collect::<Vec<_>>().join(".");
        let _ = write!(self.text, "\n[{name}]\n");
    }

    /// `[[name]]`, after a blank line.
    pub fn element(&mut self, name: &str) {
        let _ = write!(self.text, "\n[[{name}]]\n");
    }

    /// The statement.
    pub fn finish(self) -> String {
        self.text
    }
}

/// Reads one table, key by key; what is left at the end is unknown.
pub struct Reader {
    table: Table,
    name: String,
}

/// Parses a statement of `kind` (`epoch`, `record`, `request`) and checks its `format` line.
pub fn parse(bytes: &[u8], kind: &str) -> Result<Reader, StatementFault> {
    let Ok(text) = std::str::from_utf8(bytes) else { return not_canonical("it is not UTF-8") };
    let table: Table = match toml::from_str(text) {
        Ok(table) => table,
        Err(error) => return not_canonical(format!("it is not TOML: {}", error.message().replace('\n', " "))),
    };
    let mut reader = Reader { table, name: kind.to_owned() };
    let format = reader.string("format")?;
    let expected = format!("kluis/{kind}/");
    match format.strip_prefix(&expected).map(str::parse::<u32>) {
        _ if format == format!("{expected}1") => Ok(reader),
        Some(Ok(version)) if version > 1 && format == format!("{expected}{version}") => {
            Err(StatementFault::new(Code::NewerFormat, format!("its format is {format}; this kluis knows {expected}1")))
        }
        _ => not_canonical(format!("its format is {}, not {expected}1", model::displayed(&format))),
    }
}

/// Compares what was read with what the writer makes of it.
pub fn check_bytes(bytes: &[u8], written: &str) -> Result<(), StatementFault> {
    if bytes == written.as_bytes() {
        return Ok(());
    }
    let line = bytes.split(|b| *b == b'\n').zip(written.as_bytes().split(|b| *b == b'\n')).position(|(a, b)| a != b);
    not_canonical(match line {
        Some(line) => format!("line {} is not written in the canonical way", line + 1),
        None => "it does not end in the canonical way".to_owned(),
    })
}

impl Reader {
    fn missing<T>(&self, key: &str, what: &str) -> Result<T, StatementFault> {
        not_canonical(format!("{}: {} is not {what}", self.name, model::displayed(key)))
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.table.remove(key)
    }

    /// Refuses keys that nobody asked for.
    pub fn end(self) -> Result<(), StatementFault> {
        match self.table.keys().next() {
            None => Ok(()),
            Some(key) => not_canonical(format!("{}: unknown key {}", self.name, model::displayed(key))),
        }
    }

    /// A string without hostile characters.
    pub fn string(&mut self, key: &str) -> Result<String, StatementFault> {
        match self.take(key) {
            Some(Value::String(text)) => checked(&self.name, key, text),
            _ => self.missing(key, "a string"),
        }
    }

    /// Free text: a string of at most 500 bytes.
    pub fn free_text(&mut self, key: &str) -> Result<String, StatementFault> {
        let text = self.string(key)?;
        if text.len() > 500 {
            return Err(StatementFault::new(Code::BadText, format!("{}: {key} has more than 500 bytes", self.name)));
        }
        Ok(text)
    }

    /// An integer of 0 to 2³²−1.
    pub fn number(&mut self, key: &str) -> Result<u32, StatementFault> {
        match self.take(key) {
            Some(Value::Integer(number)) if u32::try_from(number).is_ok() => Ok(u32::try_from(number).unwrap_or(0)),
            _ => self.missing(key, "an integer of 0 to 2^32-1"),
        }
    }

    /// `true`, or absent.
    pub fn flag(&mut self, key: &str) -> Result<bool, StatementFault> {
        match self.take(key) {
            None => Ok(false),
            Some(Value::Boolean(true)) => Ok(true),
            _ => self.missing(key, "true"),
        }
    }

    /// A time in UTC.
    pub fn time(&mut self, key: &str) -> Result<Time, StatementFault> {
        let time = match self.take(key) {
            Some(Value::Datetime(time)) => Time::parse(&time.to_string()),
            _ => None,
        };
        time.map_or_else(|| self.missing(key, "a time like 2026-11-20T18:00:00Z"), Ok)
    }

    /// A string that `parse` understands.
    pub fn parsed<T>(
        &mut self,
        key: &str,
        what: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, StatementFault> {
        let text = self.string(key)?;
        parse(&text).map_or_else(|| self.missing(key, what), Ok)
    }

    /// A SHA-256 hash.
    pub fn digest(&mut self, key: &str) -> Result<Digest, StatementFault> {
        self.parsed(key, "a SHA-256 hash", Digest::parse)
    }

    /// A SHA-256 hash, or absent.
    pub fn optional_digest(&mut self, key: &str) -> Result<Option<Digest>, StatementFault> {
        if self.table.contains_key(key) { self.digest(key).map(Some) } else { Ok(None) }
    }

    /// An id of `N` octets.
    pub fn id<const N: usize>(&mut self, key: &str) -> Result<HexId<N>, StatementFault> {
        self.parsed(key, "an id in lower-case hex", HexId::parse)
    }

    /// A duration.
    pub fn span(&mut self, key: &str) -> Result<Span, StatementFault> {
        self.parsed(key, "a duration like 90d", Span::parse)
    }

    /// An OpenPGP fingerprint.
    pub fn fingerprint(&mut self, key: &str) -> Result<Fingerprint, StatementFault> {
        self.parsed(key, "a fingerprint in upper-case hex", Fingerprint::parse)
    }

    /// A name; refused with `bad-name`.
    pub fn name<T: std::str::FromStr<Err = model::NameError>>(&mut self, key: &str) -> Result<T, StatementFault> {
        let text = self.string(key)?;
        text.parse().map_err(|error: model::NameError| StatementFault::new(Code::BadName, error.to_string()))
    }

    /// A list of strings without hostile characters, none twice, in the order written.
    pub fn list(&mut self, key: &str) -> Result<Vec<String>, StatementFault> {
        let Some(Value::Array(values)) = self.take(key) else { return self.missing(key, "a list") };
        let mut seen = BTreeSet::new();
        let mut texts = Vec::with_capacity(values.len());
        for value in values {
            let Value::String(text) = value else { return self.missing(key, "a list of strings") };
            let text = checked(&self.name, key, text)?;
            if !seen.insert(text.clone()) {
                return not_canonical(format!("{}: {key} holds {text} twice", self.name));
            }
            texts.push(text);
        }
        Ok(texts)
    }

    /// A list that may be absent, but is not empty.
    pub fn optional_list(&mut self, key: &str) -> Result<Vec<String>, StatementFault> {
        if !self.table.contains_key(key) {
            return Ok(Vec::new());
        }
        let values = self.list(key)?;
        if values.is_empty() { self.missing(key, "left out where it is empty") } else { Ok(values) }
    }

    /// A list in byte order.
    pub fn sorted_list(&mut self, key: &str) -> Result<Vec<String>, StatementFault> {
        let values = self.list(key)?;
        if values.is_sorted() { Ok(values) } else { self.missing(key, "in byte order") }
    }

    /// A list whose elements `parse` understands, in the order written.
    pub fn parsed_list<T>(
        &mut self,
        key: &str,
        what: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, StatementFault> {
        let texts = self.list(key)?;
        texts.iter().map(|text| parse(text).map_or_else(|| self.missing(key, what), Ok)).collect()
    }

    /// A list of names in byte order; refused with `bad-name`.
    pub fn names<T: std::str::FromStr<Err = model::NameError>>(&mut self, key: &str) -> Result<Vec<T>, StatementFault> {
        let bad = |error: model::NameError| StatementFault::new(Code::BadName, error.to_string());
        self.sorted_list(key)?.iter().map(|text| text.parse().map_err(bad)).collect()
    }

    /// A table.
    pub fn table(&mut self, key: &str) -> Result<Reader, StatementFault> {
        match self.take(key) {
            Some(Value::Table(table)) => {
                Ok(Reader { table, name: format!("{} [{}]", self.name, model::displayed(key)) })
            }
            _ => self.missing(key, "a table"),
        }
    }

    /// A table that may be absent.
    pub fn optional_table(&mut self, key: &str) -> Result<Option<Reader>, StatementFault> {
        if self.table.contains_key(key) { self.table(key).map(Some) } else { Ok(None) }
    }

    /// The tables of an array of tables, or of an array of inline tables; none where it is absent.
    pub fn elements(&mut self, key: &str) -> Result<Vec<Reader>, StatementFault> {
        let Some(value) = self.take(key) else { return Ok(Vec::new()) };
        let Value::Array(values) = value else { return self.missing(key, "an array of tables") };
        let mut readers = Vec::with_capacity(values.len());
        for (index, value) in values.into_iter().enumerate() {
            let Value::Table(table) = value else { return self.missing(key, "an array of tables") };
            readers.push(Reader { table, name: format!("{} {key}[{index}]", self.name) });
        }
        Ok(readers)
    }

    /// The tables in this one, by name; for `[person]` and `[cluster]`, which have no keys of their own.
    pub fn into_tables(self) -> Result<Vec<(String, Reader)>, StatementFault> {
        let mut tables = Vec::with_capacity(self.table.len());
        for (key, value) in self.table {
            let Value::Table(table) = value else {
                return not_canonical(format!("{}: {} is no table", self.name, model::displayed(&key)));
            };
            let name = format!("{} {}", self.name, model::displayed(&key));
            tables.push((key, Reader { table, name }));
        }
        Ok(tables)
    }

    /// The keys that are left, in byte order.
    pub fn keys(&self) -> Vec<String> {
        self.table.keys().cloned().collect()
    }
}

fn checked(table: &str, key: &str, text: String) -> Result<String, StatementFault> {
    if model::check_text(&text) {
        return Ok(text);
    }
    let why = format!("{table}: {} has a control or direction character", model::displayed(key));
    Err(StatementFault::new(Code::BadText, why))
}
