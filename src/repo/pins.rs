//! The pins: what this person has seen and signed, kept outside every repository (FORMAT 11), so that a repository
//! that was rolled back, forked or swapped is noticed.
//!
//! Owns the file `pins.toml` and its lock. What may be pinned, and when, is decided by trust and ops; what a
//! `kluis-pin:` line looks like is trust's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disk::{self, DiskError, Wait};
use crate::model::{Digest, HexId};

/// The id of a repository.
type RepoId = HexId<32>;

/// The largest pins file that is read, in bytes: thousands of repositories.
const LARGEST: u64 = 16 << 20;

const FORMAT: &str = "kluis/pins/1";

/// Why the pins could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// The file is not one that kluis wrote. It is never replaced: a lost pin is a lost protection.
    #[error("{} is malformed: {why}", crate::model::displayed(&path.to_string_lossy()))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, in one line.
        why: String,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What is pinned of one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoPin {
    /// The hash of epoch 1.
    pub genesis: Digest,
    /// The highest epoch that was seen valid.
    pub epoch: u32,
    /// Its hash.
    pub epoch_sha256: Digest,
    /// Log heads that were seen: each must be in the log ever after.
    pub heads: BTreeSet<Digest>,
    /// The hashes of each number that this person signed, valid or still a draft.
    pub signed: BTreeMap<u32, BTreeSet<Digest>>,
    /// All hashes of each number that were seen valid here.
    pub seen: BTreeMap<u32, BTreeSet<Digest>>,
}

/// What a verify that ended 0 or 5 found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The hash of epoch 1.
    pub genesis: Digest,
    /// The number of the latest valid epoch.
    pub epoch: u32,
    /// Its hash.
    pub epoch_sha256: Digest,
    /// The heads of the log.
    pub heads: BTreeSet<Digest>,
}

/// All pins of this person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    /// By repository id.
    pub repos: BTreeMap<RepoId, RepoPin>,
    /// The id last seen at each work tree path.
    pub worktrees: BTreeMap<String, RepoId>,
    /// The id last seen behind each git remote.
    pub remotes: BTreeMap<String, RepoId>,
}

impl Pins {
    /// Reads `pins.toml` in the state folder; no pins if there is none. `Malformed` if it is not what kluis writes.
    pub fn load(state_dir: &Path) -> Result<Self, PinsError> {
        let path = file(state_dir);
        let Some(bytes) = disk::read_capped(&path, LARGEST)? else { return Ok(Self::default()) };
        let malformed = |why: String| PinsError::Malformed { path: path.clone(), why };
        let text = String::from_utf8(bytes).map_err(|_| malformed("not UTF-8".to_owned()))?;
        let raw: RawPins = toml::from_str(&text).map_err(|error| malformed(error.message().to_owned()))?;
        raw.parse().map_err(malformed)
    }

    /// Changes the pins: reads them under a lock, lets `change` have them, and replaces the file as one if they differ.
    /// Concurrent callers wait for each other, so none loses what another wrote. Returns what `change` returned.
    pub fn update<T>(state_dir: &Path, change: impl FnOnce(&mut Self) -> T) -> Result<T, PinsError> {
        let folder = disk::private_folder(state_dir)?;
        let _lock = disk::lock(&folder, "pins.lock", Wait::Yes)?;
        // Half a file of a writer that was killed: under the lock nobody else has one.
        for (name, _) in folder.names()? {
            if name.to_str().is_some_and(|name| name.starts_with(".pins.toml.") && name.ends_with(".tmp")) {
                folder.remove(&name)?;
            }
        }
        let mut pins = Self::load(state_dir)?;
        let before = pins.clone();
        let result = change(&mut pins);
        if pins != before {
            disk::write_private(&file(state_dir), pins.to_text().as_bytes())?;
        }
        Ok(result)
    }

    /// Moves the pin of `repo` to what was verified; `base` is the pin that the verify was held against, `None`
    /// at the first use. Never moves back.
    ///
    /// Another process may have moved the pin in between. Then the higher epoch stays and the heads are united:
    /// all were seen, so all must be there, and an older view can't take a newer head out.
    pub fn advance(&mut self, repo: RepoId, verified: &Verified, base: Option<&RepoPin>) {
        let seen = (verified.epoch, verified.epoch_sha256);
        let pin = self.repos.entry(repo).or_insert_with(|| RepoPin {
            genesis: verified.genesis,
            epoch: verified.epoch,
            epoch_sha256: verified.epoch_sha256,
            heads: verified.heads.clone(),
            signed: BTreeMap::new(),
            seen: BTreeMap::new(),
        });
        pin.seen.entry(seen.0).or_default().insert(seen.1);
        let moved = base.is_some_and(|base| (base.epoch, &base.heads) != (pin.epoch, &pin.heads));
        if base.is_none() || moved {
            pin.heads.extend(&verified.heads);
        } else {
            pin.heads.clone_from(&verified.heads);
        }
        if verified.epoch > pin.epoch {
            (pin.epoch, pin.epoch_sha256) = seen;
        }
    }

    /// Replaces the pin of `repo` by what a person compared over another channel; what they signed and saw stays.
    pub fn replace(&mut self, repo: RepoId, verified: &Verified) {
        let (signed, seen) = self.repos.remove(&repo).map(|pin| (pin.signed, pin.seen)).unwrap_or_default();
        self.advance(repo, verified, None);
        if let Some(pin) = self.repos.get_mut(&repo) {
            pin.signed = signed;
            for (number, hashes) in seen {
                pin.seen.entry(number).or_default().extend(hashes);
            }
        }
    }

    /// Notes that this person signs `hash` as epoch `number`; `false`, and nothing noted, if `repo` is not pinned.
    pub fn sign(&mut self, repo: RepoId, number: u32, hash: Digest) -> bool {
        self.repos.get_mut(&repo).is_some_and(|pin| {
            pin.signed.entry(number).or_default().insert(hash);
            true
        })
    }

    /// The ids last seen at this work tree and behind these remotes, without repetition.
    pub fn last_seen(&self, worktree: &str, remotes: &[String]) -> BTreeSet<RepoId> {
        let remotes = remotes.iter().filter_map(|remote| self.remotes.get(remote));
        self.worktrees.get(worktree).into_iter().chain(remotes).copied().collect()
    }

    /// Notes that `repo` was seen at this work tree and behind these remotes.
    pub fn place(&mut self, repo: RepoId, worktree: &str, remotes: &[String]) {
        self.worktrees.insert(worktree.to_owned(), repo);
        self.remotes.extend(remotes.iter().map(|remote| (remote.clone(), repo)));
    }

    fn to_text(&self) -> String {
        let text = toml::to_string(&RawPins::of(self)).expect("strings, numbers and tables of them are TOML");
        format!("# What kluis pinned on this machine. Losing a line loses its protection.\n{text}")
    }
}

fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("pins.toml")
}

/// The file as TOML knows it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPins {
    format: String,
    #[serde(default)]
    repo: BTreeMap<String, RawPin>,
    #[serde(default)]
    worktree: BTreeMap<String, String>,
    #[serde(default)]
    remote: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPin {
    genesis: String,
    epoch: u32,
    epoch_sha256: String,
    heads: Vec<String>,
    #[serde(default)]
    signed: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    seen: BTreeMap<String, Vec<String>>,
}

impl RawPins {
    fn of(pins: &Pins) -> Self {
        let ids = |places: &BTreeMap<String, RepoId>| {
            places.iter().map(|(place, id)| (place.clone(), id.to_string())).collect()
        };
        let texts = |hashes: &BTreeSet<Digest>| hashes.iter().map(Digest::to_string).collect::<Vec<_>>();
        let numbers = |numbers: &BTreeMap<u32, BTreeSet<Digest>>| {
            numbers.iter().map(|(number, hashes)| (number.to_string(), texts(hashes))).collect()
        };
        let pin = |pin: &RepoPin| RawPin {
            genesis: pin.genesis.to_string(),
            epoch: pin.epoch,
            epoch_sha256: pin.epoch_sha256.to_string(),
            heads: texts(&pin.heads),
            signed: numbers(&pin.signed),
            seen: numbers(&pin.seen),
        };
        Self {
            format: FORMAT.to_owned(),
            repo: pins.repos.iter().map(|(id, repo)| (id.to_string(), pin(repo))).collect(),
            worktree: ids(&pins.worktrees),
            remote: ids(&pins.remotes),
        }
    }

    fn parse(self) -> Result<Pins, String> {
        if self.format != FORMAT {
            return Err(format!("the format is {:?}, not {FORMAT:?}", self.format));
        }
        let places = |places: BTreeMap<String, String>| {
            places.into_iter().map(|(place, id)| Ok((place, repo_id(&id)?))).collect::<Result<_, String>>()
        };
        Ok(Pins {
            repos: self
                .repo
                .into_iter()
                .map(|(id, pin)| Ok((repo_id(&id)?, pin.parse()?)))
                .collect::<Result<_, String>>()?,
            worktrees: places(self.worktree)?,
            remotes: places(self.remote)?,
        })
    }
}

impl RawPin {
    fn parse(self) -> Result<RepoPin, String> {
        if self.epoch == 0 {
            return Err("there is no epoch 0".to_owned());
        }
        Ok(RepoPin {
            genesis: digest(&self.genesis)?,
            epoch: self.epoch,
            epoch_sha256: digest(&self.epoch_sha256)?,
            heads: digests(&self.heads)?,
            signed: numbers(&self.signed)?,
            seen: numbers(&self.seen)?,
        })
    }
}

fn repo_id(text: &str) -> Result<RepoId, String> {
    HexId::parse(text).ok_or_else(|| format!("{text:?} is no repository id"))
}

fn digest(text: &str) -> Result<Digest, String> {
    Digest::parse(text).ok_or_else(|| format!("{text:?} is no SHA-256 hash"))
}

fn digests(texts: &[String]) -> Result<BTreeSet<Digest>, String> {
    texts.iter().map(|text| digest(text)).collect()
}

fn numbers(raw: &BTreeMap<String, Vec<String>>) -> Result<BTreeMap<u32, BTreeSet<Digest>>, String> {
    raw.iter()
        .map(|(number, hashes)| {
            let parsed = number.parse().map_err(|_| format!("{number:?} is no epoch number"))?;
            Ok((parsed, digests(hashes)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn id(n: u8) -> RepoId {
        HexId([n; 32])
    }

    fn verified(epoch: u32, heads: &[&str]) -> Verified {
        Verified {
            genesis: Digest::of(b"1"),
            epoch,
            epoch_sha256: Digest::of(epoch.to_string().as_bytes()),
            heads: heads.iter().map(|head| Digest::of(head.as_bytes())).collect(),
        }
    }

    #[test]
    fn pins_come_back_as_they_were_kept_and_are_private() {
        let scratch = tempfile::tempdir().unwrap();
        let state = scratch.path().join("state/kluis");
        assert_eq!(Pins::load(&state).unwrap(), Pins::default());
        Pins::update(&state, |pins| {
            pins.advance(id(1), &verified(3, &["a", "b"]), None);
            assert!(pins.sign(id(1), 4, Digest::of(b"draft")));
            assert!(!pins.sign(id(2), 1, Digest::of(b"x")));
            pins.place(id(1), "/home/a \"quoted\" path", &["git@example.org:pki".to_owned()]);
        })
        .unwrap();
        let pins = Pins::load(&state).unwrap();
        assert_eq!(pins.repos[&id(1)].epoch, 3);
        assert_eq!(pins.repos[&id(1)].heads.len(), 2);
        assert_eq!(pins.repos[&id(1)].signed[&4].len(), 1);
        assert_eq!(pins.last_seen("/elsewhere", &["git@example.org:pki".to_owned()]), [id(1)].into());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&state.join("pins.toml")), 0o600);
        assert_eq!(mode(&state), 0o700);
    }

    #[test]
    fn a_pin_never_moves_back() {
        let mut pins = Pins::default();
        pins.advance(id(1), &verified(5, &["new"]), None);
        let newer = pins.repos[&id(1)].clone();
        let mut older = newer.clone();
        older.epoch = 4;
        pins.advance(id(1), &verified(4, &["old"]), Some(&older));
        assert_eq!(pins.repos[&id(1)].epoch, 5);
        assert!(newer.heads.is_subset(&pins.repos[&id(1)].heads));
        assert_eq!(pins.repos[&id(1)].seen.len(), 2);
        let base = pins.repos[&id(1)].clone();
        pins.advance(id(1), &verified(6, &["newest"]), Some(&base));
        assert_eq!(pins.repos[&id(1)].heads, verified(6, &["newest"]).heads);
    }

    #[test]
    fn a_replaced_pin_keeps_what_was_signed_and_seen() {
        let mut pins = Pins::default();
        pins.advance(id(1), &verified(5, &["x"]), None);
        pins.sign(id(1), 6, Digest::of(b"mine"));
        pins.replace(id(1), &verified(2, &["y"]));
        let pin = &pins.repos[&id(1)];
        assert_eq!((pin.epoch, pin.signed.len(), pin.seen.len()), (2, 1, 2));
        assert_eq!(pin.heads, verified(2, &["y"]).heads);
    }

    #[test]
    fn a_malformed_file_is_an_error_that_names_it_and_is_left_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("pins.toml");
        let hash = Digest::of(b"x");
        let pin = |genesis: &str, rest: &str| {
            format!(
                "format = \"{FORMAT}\"\n[repo.{}]\ngenesis = \"{genesis}\"\nepoch = 1\nepoch_sha256 = \"{hash}\"\nheads = []\n{rest}",
                id(1)
            )
        };
        std::fs::write(&path, pin(&hash.to_string(), "")).unwrap();
        assert!(Pins::load(scratch.path()).is_ok());
        for text in [
            "".to_owned(),
            "format = \"kluis/pins/2\"".to_owned(),
            "no toml".to_owned(),
            pin("abc", ""),
            pin(&hash.to_string(), "unknown = 1"),
            pin(&hash.to_string(), "[repo.abc.seen]"),
            pin(&hash.to_string(), "epoch = 2"),
        ] {
            std::fs::write(&path, &text).unwrap();
            let error = Pins::update(scratch.path(), |pins| pins.place(id(2), "/x", &[])).unwrap_err();
            assert!(matches!(&error, PinsError::Malformed { path: named, .. } if *named == path), "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn what_a_killed_writer_left_is_swept_by_the_next() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join(".pins.toml.4711.tmp"), "half").unwrap();
        std::fs::write(scratch.path().join(".other.4711.tmp"), "somebody else's").unwrap();
        Pins::update(scratch.path(), |pins| pins.advance(id(1), &verified(1, &[]), None)).unwrap();
        let names = std::fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, [".other.4711.tmp", "pins.lock", "pins.toml"]);
    }

    #[test]
    fn concurrent_writers_lose_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let state = scratch.path();
        std::thread::scope(|scope| {
            for n in 0..8 {
                scope.spawn(move || {
                    for epoch in 1..=5 {
                        let seen = verified(epoch, &[]);
                        Pins::update(state, |pins| pins.advance(id(n), &seen, None)).unwrap();
                    }
                });
            }
        });
        let pins = Pins::load(state).unwrap();
        assert_eq!(pins.repos.len(), 8);
        assert!(pins.repos.values().all(|pin| pin.epoch == 5 && pin.seen.len() == 5));
    }
}
