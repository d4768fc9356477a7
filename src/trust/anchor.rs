//! The anchor outside the repository: what is pinned, as a line and as a check (FORMAT 11). Reading and
//! writing the pins of this machine belongs to `repo`.

use std::collections::BTreeSet;
use std::fmt;

use super::chain::Chain;
use super::tree::{Entry, Tree};
use crate::model::{Code, Digest, Finding, HexId, PersonName, Place, Remedy};

/// What a repository must still be: its id, hashes of some of its epochs, and records that must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// The repository's id.
    pub repo: HexId<32>,
    /// Numbers of epochs and their hashes.
    pub epochs: Vec<(u32, Digest)>,
    /// Heads of the log that were seen.
    pub heads: Vec<Digest>,
}

/// A pin line: `kluis-pin:<repo>:<epoch number>:<epoch sha256>[:<sha256>,…]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinLine {
    /// The repository's id.
    pub repo: HexId<32>,
    /// The number of an epoch.
    pub epoch: u32,
    /// Its hash.
    pub sha256: Digest,
    /// Heads of the log, sorted.
    pub heads: Vec<Digest>,
}

impl PinLine {
    /// Parses a line. `None` for anything that `Display` would write in another way.
    pub fn parse(line: &str) -> Option<Self> {
        let mut parts = line.split(':');
        if parts.next() != Some("kluis-pin") {
            return None;
        }
        let repo = HexId::parse(parts.next()?)?;
        let number = parts.next()?;
        let sha256 = Digest::parse(parts.next()?)?;
        let heads = parts.next().map(|heads| heads.split(',').map(Digest::parse).collect::<Option<Vec<_>>>());
        let pin = Self { repo, epoch: number.parse().ok()?, sha256, heads: heads.unwrap_or(Some(Vec::new()))? };
        (pin.epoch >= 1 && pin.to_string() == line).then_some(pin)
    }

    /// The anchor that it is.
    pub fn anchor(&self) -> Anchor {
        Anchor { repo: self.repo, epochs: vec![(self.epoch, self.sha256)], heads: self.heads.clone() }
    }
}

impl fmt::Display for PinLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kluis-pin:{}:{}:{}", self.repo, self.epoch, self.sha256)?;
        for (index, head) in self.heads.iter().enumerate() {
            write!(f, "{}{head}", if index == 0 { ':' } else { ',' })?;
        }
        Ok(())
    }
}

/// Compares the tree with what is pinned. `None` is `unpinned`.
pub fn check(tree: &Tree, chain: &Chain, anchor: Option<&Anchor>) -> Vec<Finding> {
    let Some(anchor) = anchor else {
        let why = "nothing outside the repository says that it is the right one";
        return vec![Finding::new(Code::Unpinned, why).fix(Remedy::TrustPin)];
    };
    let mut findings = Vec::new();
    let mut fault = |code, why: String| findings.push(Finding::new(code, why).fix(Remedy::TrustCompare));
    let Some(first) = chain.all().first() else { return findings };
    if first.epoch.repo != anchor.repo {
        fault(Code::GenesisMismatch, format!("this is repository {}, and {} is pinned", first.epoch.repo, anchor.repo));
        return findings;
    }
    for (number, sha256) in &anchor.epochs {
        match chain.get(*number) {
            Some(epoch) if epoch.sha256 == *sha256 => {}
            Some(epoch) if *number == 1 => {
                fault(Code::GenesisMismatch, format!("the first epoch is {}, and {sha256} is pinned", epoch.sha256));
            }
            Some(epoch) => {
                let signers = epoch.signers.iter().map(PersonName::as_str).collect::<Vec<_>>().join(", ");
                let why = format!(
                    "epoch {number} is {} here (signed by {signers}), and {sha256} was seen before",
                    epoch.sha256
                );
                fault(Code::Fork, why);
            }
            // It is there and can't be read, which is said where it lies.
            None if tree.entries.contains_key(&Place::Epoch(*number).to_string()) => {}
            None => fault(
                Code::Rollback,
                format!("epoch {number} was seen before, and the latest here is {}", chain.all().len()),
            ),
        }
    }
    let there = records(tree);
    for head in anchor.heads.iter().filter(|head| !there.contains(head)) {
        fault(Code::HeadMissing, format!("the record {head} was seen before, and is not there"));
    }
    findings
}

fn records(tree: &Tree) -> BTreeSet<Digest> {
    let record = |(path, entry): (&String, &Entry)| match (Place::parse(path), entry) {
        (Ok(Place::Record { .. }), Entry::File { bytes, .. }) => Some(Digest::of(bytes)),
        _ => None,
    };
    tree.below("trust/log/").filter_map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_line_has_one_form() {
        let hash = Digest::of(b"x");
        let pin = PinLine { repo: HexId([7; 32]), epoch: 4, sha256: hash, heads: vec![hash, Digest::of(b"y")] };
        assert_eq!(PinLine::parse(&pin.to_string()), Some(pin.clone()));
        let bare = PinLine { heads: Vec::new(), ..pin };
        assert_eq!(PinLine::parse(&bare.to_string()), Some(bare.clone()));
        for bad in [
            "",
            "kluis-pin:",
            &format!("{bare}:"),
            &format!("{bare}\n"),
            &bare.to_string().replace(":4:", ":04:"),
            &bare.to_string().replace(":4:", ":0:"),
        ] {
            assert_eq!(PinLine::parse(bad), None, "{bad}");
        }
    }
}
