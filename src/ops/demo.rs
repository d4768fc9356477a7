//! What the demo needs before the first command: an empty directory, people with keys made on the spot, a
//! git repository with an identity of its own.

use std::path::{Path, PathBuf};

use super::failure::Failure;
use crate::model::{Digest, Place, Remedy, Span, Time};
use crate::openpgp;
use crate::trust::Epoch;
use crate::trust::anchor::PinLine;

/// The people of the story.
pub struct People {
    /// A stranger's certificate, with bob's name in it.
    pub mallory: Vec<u8>,
}

/// The directory to work in: `dir`, which must be new or empty, or a fresh one in the temporary directory.
pub fn scratch(dir: Option<&Path>) -> Result<PathBuf, Failure> {
    let dir = match dir {
        Some(dir) => dir.to_owned(),
        None => crate::env::temporary(&format!(
            "kluis-demo-{}",
            crate::env::Rng::system().bytes::<4>().map(|b| format!("{b:02x}")).concat()
        )),
    };
    // The last step exports a node's files, which never lie in a git work tree.
    if let Some(git) = crate::disk::surrounding_git(&dir)? {
        let what = format!(
            "{} is inside the git repository {}: give the demo a folder elsewhere",
            dir.display(),
            git.display()
        );
        return Err(Failure::usage(what).help(Remedy::Kluis("demo".to_owned())));
    }
    let folder = crate::disk::private_folder(&dir)?;
    if !folder.names()?.is_empty() {
        return Err(Failure::usage(format!("{} is not empty: the demo wants a directory of its own", dir.display())));
    }
    Ok(std::path::absolute(&dir).unwrap_or(dir))
}

/// Makes keys for alice, bob, carol and mallory under `keys/`, and a git repository under `repo/`.
pub fn prepare(dir: &Path, now: Time) -> Result<People, Failure> {
    crate::disk::private_folder(&dir.join("keys"))?;
    crate::disk::private_folder(&dir.join("repo"))?;
    let born = now.minus(Span::hours(1));
    for name in ["alice", "bob", "carol"] {
        let (certificate, secret) =
            openpgp::generate(&format!("{name} (DEMO ONLY) <{name}@example.org>"), born, Some(Span::days(730)))?;
        crate::disk::write_private(&dir.join(format!("keys/{name}.key")), secret.expose())?;
        crate::disk::write_private(&dir.join(format!("keys/{name}.asc")), &certificate.to_stored())?;
    }
    let (mallory, _) = openpgp::generate("bob (DEMO ONLY) <bob@example.org>", born, Some(Span::days(730)))?;
    crate::repo::WorkTree::create(&dir.join("repo"), "kluis demo", "demo@example.org")?;
    Ok(People { mallory: mallory.to_stored() })
}

/// The line that alice would read to bob over the telephone: the first epoch, which both can compare.
pub fn pin_line(repo: &Path) -> Result<PinLine, Failure> {
    let path = repo.join(Place::Epoch(1).to_string());
    let bytes = crate::disk::read_capped(&path, 256 << 10)?.unwrap_or_default();
    let epoch = Epoch::parse(&bytes).map_err(|fault| Failure::refused(fault.to_string()))?;
    Ok(PinLine { repo: epoch.repo, epoch: 1, sha256: Digest::of(&bytes), heads: Vec::new() })
}
