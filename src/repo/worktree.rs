//! The work tree: found, opened and judged fit to write in. Git's environment variables are not obeyed
//! (T63): `git2` is never asked to look at them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use git2::{ErrorCode, Oid, RepositoryOpenFlags, RepositoryState};

use super::RepoError;
use crate::disk::{self, Folder, Lock, Wait};

/// A git work tree on this machine.
pub struct WorkTree {
    pub(super) repo: git2::Repository,
    root: PathBuf,
    held: RefCell<Option<Held>>,
}

/// What a writer holds from its first look until the `WorkTree` is dropped.
struct Held {
    _lock: Lock,
    head: Option<Oid>,
    allowed: BTreeSet<String>,
}

impl WorkTree {
    /// Opens the work tree that `dir` is in. Linked work trees and unborn branches will do. Refuses no repository,
    /// a bare one, one of another user, and formats that libgit2 can't write.
    pub fn open(dir: &Path) -> Result<Self, RepoError> {
        let (repo, dir) = open(dir)?;
        let unsupported =
            |error: git2::Error| RepoError::Unsupported { path: dir.clone(), why: error.message().to_owned() };
        let root = match repo.workdir() {
            Some(root) if !repo.is_bare() => root.components().collect(),
            _ => return Err(RepoError::Bare { path: repo.path().to_owned() }),
        };
        if repo.object_format() != git2::ObjectFormat::Sha1 {
            return Err(RepoError::Unsupported { path: root, why: "its objects are not named by SHA-1".to_owned() });
        }
        repo.odb().map_err(unsupported)?;
        repo.index().and_then(|mut index| index.read(true)).map_err(unsupported)?;
        Ok(Self { repo, root, held: RefCell::new(None) })
    }

    /// Makes a new repository in `dir`, which is there and empty, with an identity of its own for its commits.
    pub fn create(dir: &Path, name: &str, email: &str) -> Result<Self, RepoError> {
        let mut options = git2::RepositoryInitOptions::new();
        options.no_reinit(true).mkdir(false).external_template(false).initial_head("main");
        let git = || RepoError::git("make a repository", dir);
        let repo = git2::Repository::init_opts(dir, &options).map_err(git())?;
        let mut config = repo.config().and_then(|config| config.open_level(git2::ConfigLevel::Local)).map_err(git())?;
        for (key, value) in [("user.name", name), ("user.email", email)] {
            config.set_str(key, value).map_err(git())?;
        }
        Self::open(dir)
    }

    /// The root of the work tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The full name of the branch that is checked out; it may have no commit yet.
    pub(super) fn branch(&self) -> Result<String, RepoError> {
        let head = self.repo.find_reference("HEAD").map_err(self.git("read HEAD"))?;
        match head.symbolic_target() {
            Ok(Some(branch)) => Ok(branch.to_owned()),
            _ => Err(RepoError::Detached { path: self.root.clone() }),
        }
    }

    /// The commit that HEAD names; `None` while the branch is unborn.
    pub(super) fn head_id(&self) -> Result<Option<Oid>, RepoError> {
        match self.repo.refname_to_id("HEAD") {
            Ok(id) => Ok(Some(id)),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(self.git("read HEAD")(error)),
        }
    }

    /// The commit that HEAD names, in hex; `None` while there is none.
    pub fn head(&self) -> Option<String> {
        self.head_id().ok().flatten().map(|id| id.to_string())
    }

    /// The addresses of the remotes, in byte order, without passwords and tokens: they are kept in pins.toml.
    pub fn remotes(&self) -> Vec<String> {
        let names = self.repo.remotes().ok();
        let names: Vec<String> =
            names.iter().flat_map(|names| names.iter().flatten().flatten().map(str::to_owned)).collect();
        let urls: BTreeSet<String> = names
            .iter()
            .filter_map(|name| self.repo.find_remote(name).ok()?.url().ok().map(without_credentials))
            .collect();
        urls.into_iter().collect()
    }

    /// Where git looks for hooks: `core.hooksPath`, or the folder of the repository.
    pub fn hooks(&self) -> PathBuf {
        let configured = self.repo.config().and_then(|config| config.get_path("core.hooksPath")).ok();
        configured.map_or_else(|| self.repo.commondir().join("hooks"), |path| self.root.join(path))
    }

    /// Whether the user's git signs commits, which commits of kluis are not.
    pub fn wants_signed_commits(&self) -> bool {
        self.repo.config().and_then(|config| config.get_bool("commit.gpgsign")).unwrap_or(false)
    }

    /// Who commits, by git's variables or configuration: name and email. Fails where either is missing.
    pub fn committer(&self) -> Result<(String, String), RepoError> {
        self.identity()
    }

    /// Who commits, by git's configuration.
    pub(super) fn identity(&self) -> Result<(String, String), RepoError> {
        let nobody = || RepoError::NoIdentity { path: self.root.clone() };
        let config =
            self.repo.config().and_then(|mut config| config.snapshot()).map_err(self.git("read its config"))?;
        let text = |given: Option<String>, name: &str| {
            given.or_else(|| config.get_str(name).ok().map(str::to_owned)).ok_or_else(nobody)
        };
        let (name, email) = crate::env::git_identity();
        let (name, email) = (text(name, "user.name")?, text(email, "user.email")?);
        git2::Signature::new(&name, &email, &git2::Time::new(0, 0)).map_err(|_| nobody())?;
        Ok((name, email))
    }

    /// Whether a change can be written and committed: takes the lock on this work tree until it is dropped, and refuses
    /// another kluis at work, a merge or rebase under way, a detached HEAD, a missing identity, git's index lock, an
    /// unfinished change set (`recover` first), and any managed path that differs from the last commit
    /// in the work tree or the index, unless it is in `allowed`.
    pub fn check_writable(&self, allowed: &BTreeSet<String>) -> Result<(), RepoError> {
        self.check_state()?;
        self.identity()?;
        self.hold()?;
        self.check_unlocked_index()?;
        if self.has_journal()? {
            return Err(RepoError::Unfinished { path: self.root.clone() });
        }
        let dirty = self.differences()?;
        if let Some((path, committed)) = dirty.into_iter().find(|(path, _)| !allowed.contains(path)) {
            return Err(RepoError::Dirty { path, committed });
        }
        if let Some(held) = self.held.borrow_mut().as_mut() {
            held.allowed.clone_from(allowed);
        }
        Ok(())
    }

    /// No merge or the like under way, and a branch checked out.
    pub(super) fn check_state(&self) -> Result<(), RepoError> {
        let what = match self.repo.state() {
            RepositoryState::Clean => None,
            RepositoryState::Merge => Some("a merge"),
            RepositoryState::Revert | RepositoryState::RevertSequence => Some("a revert"),
            RepositoryState::CherryPick | RepositoryState::CherryPickSequence => Some("a cherry-pick"),
            RepositoryState::Bisect => Some("a bisection"),
            RepositoryState::Rebase | RepositoryState::RebaseInteractive | RepositoryState::RebaseMerge => {
                Some("a rebase")
            }
            RepositoryState::ApplyMailbox | RepositoryState::ApplyMailboxOrRebase => Some("git am or a rebase"),
        };
        match what {
            Some(what) => Err(RepoError::InProgress { path: self.root.clone(), what }),
            None => self.branch().map(drop),
        }
    }

    pub(super) fn check_unlocked_index(&self) -> Result<(), RepoError> {
        let path = self.index_lock();
        if path.symlink_metadata().is_ok() {
            return Err(RepoError::GitBusy { path });
        }
        Ok(())
    }

    /// Takes the lock, once, and remembers where HEAD was.
    pub(super) fn hold(&self) -> Result<(), RepoError> {
        if self.held.borrow().is_some() {
            return Ok(());
        }
        let folder = Folder::open(self.repo.path())?.make_sub("kluis", 0o700)?;
        let lock = disk::lock(&folder, "lock", Wait::No)?;
        let lock = lock.ok_or_else(|| RepoError::Busy { path: self.root.clone() })?;
        *self.held.borrow_mut() = Some(Held { _lock: lock, head: self.head_id()?, allowed: BTreeSet::new() });
        Ok(())
    }

    /// Whether HEAD is where it was when the lock was taken.
    pub(super) fn check_head(&self) -> Result<(), RepoError> {
        let now = self.head_id()?;
        match self.held.borrow().as_ref() {
            Some(held) if held.head != now => Err(RepoError::HeadMoved { path: self.root.clone() }),
            _ => Ok(()),
        }
    }

    /// Remembers where HEAD is now: this process moved it.
    pub(super) fn note_head(&self) -> Result<(), RepoError> {
        let now = self.head_id()?;
        if let Some(held) = self.held.borrow_mut().as_mut() {
            held.head = now;
        }
        Ok(())
    }

    pub(super) fn is_allowed(&self, path: &str) -> bool {
        self.held.borrow().as_ref().is_some_and(|held| held.allowed.contains(path))
    }

    /// Sorts an error of libgit2.
    pub(super) fn git(&self, doing: &'static str) -> impl Fn(git2::Error) -> RepoError {
        RepoError::git(doing, self.repo.path())
    }

    /// The folder `.git/kluis` of this work tree, if it is there.
    pub(super) fn own_folder(&self) -> Result<Option<Folder>, RepoError> {
        match Folder::open(self.repo.path())?.sub("kluis") {
            Ok(folder) => Ok(Some(folder)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens the repository that `dir` is in, bare or not; returns `dir` too, made absolute.
pub(super) fn open(dir: &Path) -> Result<(git2::Repository, PathBuf), RepoError> {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let no_ceiling: [&Path; 0] = [];
    // No FROM_ENV: GIT_DIR, GIT_WORK_TREE, GIT_INDEX_FILE and their like would swap the repository (T63).
    let opened = git2::Repository::open_ext(&dir, RepositoryOpenFlags::empty(), no_ceiling);
    let repo = opened.map_err(|error| match error.code() {
        ErrorCode::NotFound => RepoError::NoRepository { path: dir.clone() },
        ErrorCode::Owner => RepoError::ForeignOwner { path: dir.clone() },
        _ => RepoError::Unsupported { path: dir.clone(), why: error.message().to_owned() },
    })?;
    Ok((repo, dir))
}

/// `https://user:token@host/x` without `user:token@`; everything else as it is.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = match authority.rsplit_once('@') {
        // The user of an SSH address is part of where it leads, and no secret.
        Some((user, host)) if scheme == "ssh" => {
            let user = user.split(':').next().unwrap_or(user);
            return format!("{scheme}://{user}@{host}{path}");
        }
        Some((_, host)) => host,
        None => authority,
    };
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests;
