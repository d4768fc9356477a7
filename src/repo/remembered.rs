//! What was seen of each commit of a repository's history, kept in the state folder, so that a search of history has to
//! look at new commits alone.
//!
//! Attack: whoever can write to this file can make a message disappear, or come. Options: sign it (with which key? the
//! command that reads it needs none); keep it in the repository (then whoever proposes a change writes it); keep nothing
//! (minutes in a large repository, so that people stop asking). Choice: the state folder, beside the pins, mode 0600: who
//! can write there can take the pins away, and with them every protection against another repository. So it is left aside
//! where the pins are: with `--pin` and `KLUIS_PIN`, whose word comes from elsewhere, and with `--full`.
//!
//! What it says is about objects by their hash, so it is true of every clone, whatever branches are there. Its own hash is
//! its first line: it proves nothing, but a file that was cut short or damaged is one that is not there.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use git2::Oid;
use serde::{Deserialize, Serialize};

use crate::disk::{self, DiskError};
use crate::model::{Digest, HexId, KeyId};

/// The largest file that is kept, in bytes: some hundred thousand sealed files. The oldest commits have the first right to
/// it; of those that find no room nothing is remembered.
const LARGEST: usize = 32 << 20;

/// Another version may see more in the same objects, so what an earlier one saw is left aside.
const FORMAT: &str = concat!("kluis/history/1 ", env!("CARGO_PKG_VERSION"));

/// A message that came with a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Came {
    pub path: String,
    pub sha256: Digest,
    pub readers: Vec<KeyId>,
}

/// What is known of one commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// When it was committed, in seconds since 1970, as it says itself.
    pub time: i64,
    pub parents: Vec<Oid>,
    pub came: Vec<Came>,
    /// Whether it was there.
    pub is_there: bool,
    /// Whether all of it, and its parents, were there.
    pub whole: bool,
    /// Whether it comes from the file.
    pub is_old: bool,
}

/// What was seen of a repository's history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    commits: HashMap<Oid, Known>,
    changed: bool,
}

impl Remembered {
    /// Reads what the state folder has of a repository; nothing if there is no such file, or one that is not whole.
    pub fn load(state_dir: &Path, repo: &HexId<32>) -> Self {
        let bytes = disk::read_capped(&file(state_dir, repo), LARGEST as u64 + 128).ok().flatten();
        let raw = bytes.as_deref().and_then(whole).and_then(|json| serde_json::from_slice::<Raw>(json).ok());
        let commits = raw.and_then(Raw::parse);
        Self { changed: commits.is_none(), commits: commits.unwrap_or_default() }
    }

    /// Keeps it, if it is news.
    pub fn keep(&self, state_dir: &Path, repo: &HexId<32>) -> Result<(), DiskError> {
        if !self.changed {
            return Ok(());
        }
        let json = serde_json::to_vec(&Raw::of(&self.commits, LARGEST)).expect("strings and numbers are JSON");
        let mut text = format!("{}\n", Digest::of(&json)).into_bytes();
        text.extend(json);
        disk::write_private(&file(state_dir, repo), &text)
    }

    pub(super) fn take(&mut self, id: &Oid) -> Option<Known> {
        self.commits.remove(id)
    }

    /// Knows these from now on, and nothing else: what no ref reaches any more is forgotten.
    pub(super) fn replace(&mut self, mut seen: HashMap<Oid, Known>) {
        seen.retain(|_, known| known.whole);
        // What was taken was known already; what is left over is forgotten.
        self.changed |= !self.commits.is_empty() || seen.values().any(|known| !known.is_old);
        self.commits = seen;
    }
}

fn file(state_dir: &Path, repo: &HexId<32>) -> PathBuf {
    state_dir.join("history").join(format!("{repo}.json"))
}

/// What follows the first line, if that is its hash.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let at = bytes.iter().position(|&c| c == b'\n')?;
    let (hash, json) = (std::str::from_utf8(&bytes[..at]).ok()?, &bytes[at + 1..]);
    (Digest::parse(hash)? == Digest::of(json)).then_some(json)
}

/// The file as JSON knows it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    format: String,
    /// Every path once.
    paths: Vec<String>,
    /// Every set of readers once, key ids in hex.
    readers: Vec<String>,
    commits: Vec<RawCommit>,
}

/// Id, time, parents, and what came: path, hash, readers.
#[derive(Serialize, Deserialize)]
struct RawCommit(String, i64, Vec<String>, Vec<(usize, String, usize)>);

impl Raw {
    fn of(commits: &HashMap<Oid, Known>, largest: usize) -> Self {
        let mut raw = Self { format: FORMAT.to_owned(), paths: Vec::new(), readers: Vec::new(), commits: Vec::new() };
        let (mut paths, mut readers) = (BTreeMap::new(), BTreeMap::new());
        let mut oldest: Vec<(&Oid, &Known)> = commits.iter().collect();
        oldest.sort_by_key(|(id, known)| (known.time, **id));
        let mut size = 0;
        for (id, known) in oldest {
            let ids: Vec<String> = known.came.iter().map(|came| hex(&came.readers)).collect();
            // At most: what was said before is not said again.
            let came =
                known.came.iter().zip(&ids).map(|(came, ids)| came.path.len() * 6 + ids.len() + 128).sum::<usize>();
            size += came + 43 * (known.parents.len() + 2);
            if size > largest {
                break;
            }
            let came = known.came.iter().zip(ids).map(|(came, ids)| {
                let path = index(&mut paths, &mut raw.paths, came.path.clone());
                (path, came.sha256.to_string(), index(&mut readers, &mut raw.readers, ids))
            });
            let came = came.collect();
            let parents = known.parents.iter().map(Oid::to_string).collect();
            raw.commits.push(RawCommit(id.to_string(), known.time, parents, came));
        }
        raw
    }

    fn parse(self) -> Option<HashMap<Oid, Known>> {
        if self.format != FORMAT {
            return None;
        }
        let readers: Vec<Vec<KeyId>> = self.readers.iter().map(|ids| parse_hex(ids)).collect::<Option<_>>()?;
        let came = |(path, sha256, ids): (usize, String, usize)| {
            let sha256 = Digest::parse(&sha256)?;
            Some(Came { path: self.paths.get(path)?.clone(), sha256, readers: readers.get(ids)?.clone() })
        };
        let known = |RawCommit(id, time, parents, all): RawCommit| {
            let parents = parents.iter().map(|id| Oid::from_str(id).ok()).collect::<Option<_>>()?;
            let came = all.into_iter().map(came).collect::<Option<_>>()?;
            Some((Oid::from_str(&id).ok()?, Known { time, parents, came, is_there: true, whole: true, is_old: true }))
        };
        self.commits.into_iter().map(known).collect()
    }
}

/// The number of a text, which is said once.
fn index(known: &mut BTreeMap<String, usize>, list: &mut Vec<String>, text: String) -> usize {
    *known.entry(text).or_insert_with_key(|text| {
        list.push(text.clone());
        list.len() - 1
    })
}

fn hex(ids: &[KeyId]) -> String {
    ids.iter().map(ToString::to_string).collect()
}

fn parse_hex(ids: &str) -> Option<Vec<KeyId>> {
    if !ids.len().is_multiple_of(16) || !ids.bytes().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    (0..ids.len()).step_by(16).map(|at| u64::from_str_radix(&ids[at..at + 16], 16).ok().map(KeyId)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(n: u8) -> Oid {
        Oid::from_bytes(&[n; 20]).unwrap()
    }

    fn known(n: u8) -> Known {
        let readers = vec![KeyId(u64::from(n)), KeyId(0xfedc_ba98_7654_3210)];
        let came = Came { path: format!("a \"path\" \u{e9}/{}", n % 2), sha256: Digest::of(&[n]), readers };
        Known {
            time: i64::from(n),
            parents: vec![oid(n + 1)],
            came: vec![came],
            is_there: true,
            whole: true,
            is_old: false,
        }
    }

    fn filled() -> Remembered {
        let mut remembered = Remembered::default();
        remembered.replace((0..9).map(|n| (oid(n), known(n))).collect());
        remembered
    }

    #[test]
    fn what_is_kept_comes_back_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let scratch = tempfile::tempdir().unwrap();
        let repo = HexId([7; 32]);
        assert!(Remembered::load(scratch.path(), &repo).commits.is_empty());
        filled().keep(scratch.path(), &repo).unwrap();
        let mut again = Remembered::load(scratch.path(), &repo);
        assert!(!again.changed);
        assert!(again.commits.values().all(|known| known.is_old));
        for n in 0..9 {
            assert_eq!(again.take(&oid(n)), Some(Known { is_old: true, ..known(n) }));
        }
        let mode = std::fs::metadata(file(scratch.path(), &repo)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(Remembered::load(scratch.path(), &HexId([8; 32])).commits.is_empty());
    }

    #[test]
    fn a_damaged_file_is_none_wherever_it_is_damaged() {
        let scratch = tempfile::tempdir().unwrap();
        let repo = HexId([7; 32]);
        filled().keep(scratch.path(), &repo).unwrap();
        let path = file(scratch.path(), &repo);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(Remembered::load(scratch.path(), &repo).commits.is_empty(), "{at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(Remembered::load(scratch.path(), &repo).changed, "{at}");
        }
    }

    #[test]
    fn a_file_of_another_version_is_none() {
        let scratch = tempfile::tempdir().unwrap();
        let repo = HexId([7; 32]);
        let mut raw = Raw::of(&filled().commits, LARGEST);
        raw.format = "kluis/history/1 0.0.0".to_owned();
        let json = serde_json::to_vec(&raw).unwrap();
        let text = [format!("{}\n", Digest::of(&json)).into_bytes(), json].concat();
        disk::write_private(&file(scratch.path(), &repo), &text).unwrap();
        assert!(Remembered::load(scratch.path(), &repo).commits.is_empty());
    }

    #[test]
    fn what_finds_no_room_is_forgotten_the_newest_first() {
        let commits: HashMap<Oid, Known> = (0..9).map(|n| (oid(n), known(n))).collect();
        let raw = Raw::of(&commits, 1000);
        assert!((1..9).contains(&raw.commits.len()), "{}", raw.commits.len());
        assert!(serde_json::to_vec(&raw).unwrap().len() < 1200);
        assert_eq!(raw.commits[0].0, oid(0).to_string());
        assert!(raw.parse().is_some());
    }
}
