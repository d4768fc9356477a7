//! What the bytes of a certificate say of each key, as values to show and to compare. Decides nothing: which keys may
//! be listed is `certificate`'s, which are used now is `usable`'s.

use super::certificate::Certificate;
use crate::model::{Fingerprint, Time};

/// One key as its certificate describes it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct KeyView {
    /// The fingerprint.
    pub fingerprint: Fingerprint,
    /// The algorithm in words.
    pub algorithm: String,
    /// Whether it is the primary key.
    pub primary: bool,
    /// Whether a SHA-2 or SHA-3 signature of the primary binds it.
    pub bound: bool,
    /// Whether it is for signing.
    pub signs: bool,
    /// Whether it is for encryption.
    pub encrypts: bool,
    /// Whether its owner revoked it.
    pub revoked: bool,
    /// When it was made, as it says.
    pub created: Time,
    /// When it expires, by its newest binding; none for never.
    pub expires: Option<Time>,
}

impl Certificate {
    /// Every key in the bytes, bound or not, in their order.
    pub fn view(&self) -> Vec<KeyView> {
        let view = |(at, record): (usize, &super::certificate::KeyRecord)| KeyView {
            fingerprint: record.facts.fingerprint.clone(),
            algorithm: record.facts.algorithm.clone(),
            primary: at == 0,
            bound: record.bound,
            signs: record.signs,
            encrypts: record.encrypts,
            revoked: record.revoked,
            created: record.created,
            expires: record.expires,
        };
        self.records().iter().enumerate().map(view).collect()
    }
}

impl KeyView {
    /// What it is for and what became of it, in words: `signs, until 2028-03-01T00:00:00Z`.
    pub fn words(&self) -> String {
        let uses = [(self.signs, "signs"), (self.encrypts, "encrypts")];
        let mut words: Vec<String> = uses.iter().filter(|(has, _)| *has).map(|(_, word)| (*word).to_owned()).collect();
        if words.is_empty() {
            words.push(if self.primary { "certifies".to_owned() } else { "no use here".to_owned() });
        }
        if !self.bound && !self.primary {
            words.push("NOT bound to the certificate".to_owned());
        }
        if self.revoked {
            words.push("REVOKED".to_owned());
        }
        words.push(self.expires.map_or("never expires".to_owned(), |end| format!("until {end}")));
        words.join(", ")
    }
}
