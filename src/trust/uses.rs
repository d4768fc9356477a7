//! What the log did with requests and keys, found by hash: so that judging a log of many grants costs their number and
//! not its square. Says nothing of whether a record counts.

use std::collections::HashMap;

use super::log::Log;
use crate::model::Digest;

/// The records, by index and in the log's order, that granted or denied a request, or certified a key.
#[derive(Default)]
pub struct Uses {
    granted: HashMap<Digest, Vec<usize>>,
    denied: HashMap<Digest, Vec<usize>>,
    certified: HashMap<Digest, Vec<usize>>,
}

impl Uses {
    /// Of all records of `log`.
    pub fn of(log: &Log) -> Self {
        let mut uses = Self::default();
        for (index, logged) in log.records.iter().enumerate() {
            for entry in &logged.record.issued {
                uses.certified.entry(entry.spki).or_default().push(index);
                if let Some(request) = entry.request {
                    uses.granted.entry(request).or_default().push(index);
                }
            }
            for deny in &logged.record.deny {
                uses.denied.entry(deny.request).or_default().push(index);
            }
        }
        uses
    }

    /// The records that issued for a request.
    pub fn granted(&self, request: &Digest) -> &[usize] {
        self.granted.get(request).map_or(&[], Vec::as_slice)
    }

    /// The records that denied a request.
    pub fn denied(&self, request: &Digest) -> &[usize] {
        self.denied.get(request).map_or(&[], Vec::as_slice)
    }

    /// The records that issued a certificate for the key with this hash (SPKI DER).
    pub fn certified(&self, key: &Digest) -> &[usize] {
        self.certified.get(key).map_or(&[], Vec::as_slice)
    }
}
