use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::model::Remedy;
use crate::repo::sandbox::{CA, CONFIG, EPOCH, Sandbox};

fn refused(sandbox: &Sandbox) -> RepoError {
    sandbox.open().check_writable(&BTreeSet::new()).unwrap_err()
}

fn not_opened(path: &Path) -> RepoError {
    WorkTree::open(path).err().unwrap()
}

#[test]
fn the_work_tree_is_found_from_any_folder_in_it() {
    let sandbox = Sandbox::new();
    let tree = WorkTree::open(&sandbox.root.join("clusters/prod")).unwrap();
    assert_eq!(tree.root(), sandbox.root);
    assert_eq!(tree.head().unwrap(), sandbox.git(&["rev-parse", "HEAD"]).trim());
    tree.check_writable(&BTreeSet::new()).unwrap();
    assert!(!tree.wants_signed_commits());
    sandbox.git(&["config", "commit.gpgsign", "true"]);
    assert!(sandbox.open().wants_signed_commits());
}

#[test]
fn an_unborn_branch_and_a_linked_work_tree_will_do() {
    let sandbox = Sandbox::unborn();
    assert_eq!(sandbox.open().head(), None);
    sandbox.open().check_writable(&BTreeSet::new()).unwrap();
    let sandbox = Sandbox::new();
    sandbox.git(&["worktree", "add", "-q", "../linked", "-b", "other"]);
    let linked = WorkTree::open(&sandbox.scratch.path().join("linked")).unwrap();
    linked.check_writable(&BTreeSet::new()).unwrap();
    assert_eq!(linked.branch().unwrap(), "refs/heads/other");
}

#[test]
fn no_repository_a_bare_one_and_unknown_formats_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let none = not_opened(scratch.path());
    assert!(matches!(none, RepoError::NoRepository { .. }));
    assert_eq!(none.remedy(), Some(Remedy::GitInit));

    let bare = scratch.path().join("bare.git");
    git2::Repository::init_bare(&bare).unwrap();
    assert!(matches!(not_opened(&bare), RepoError::Bare { .. }));

    let sha256 = scratch.path().join("sha256");
    std::fs::create_dir(&sha256).unwrap();
    assert!(Sandbox::git_at(&sha256, &["init", "-q", "--object-format=sha256"]).0);
    assert!(matches!(not_opened(&sha256), RepoError::Unsupported { .. }));

    let sandbox = Sandbox::new();
    sandbox.git(&["config", "core.repositoryformatversion", "1"]);
    sandbox.git(&["config", "extensions.refStorage", "reftable"]);
    assert!(matches!(not_opened(&sandbox.root), RepoError::Unsupported { .. }));

    let sandbox = Sandbox::new();
    sandbox.git(&["update-index", "--split-index"]);
    assert!(matches!(not_opened(&sandbox.root), RepoError::Unsupported { .. }));
}

#[test]
fn a_repository_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    for path in [sandbox.root.clone(), sandbox.root.join(".git")] {
        std::os::unix::fs::chown(path, Some(12345), Some(12345)).unwrap();
    }
    let error = not_opened(&sandbox.root);
    assert!(matches!(error, RepoError::ForeignOwner { .. }), "{error:?}");
    assert!(error.remedy().unwrap().to_string().contains("safe.directory"));
}

#[test]
fn a_detached_head_a_merge_and_a_rebase_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.git(&["checkout", "-q", "--detach"]);
    assert!(matches!(refused(&sandbox), RepoError::Detached { .. }));

    let sandbox = Sandbox::new();
    for (branch, text) in [("one", "1"), ("two", "2")] {
        sandbox.git(&["checkout", "-q", "-b", branch, "main"]);
        sandbox.put("README.md", text.as_bytes());
        sandbox.git(&["commit", "-q", "-am", branch]);
    }
    assert!(!Sandbox::git_at(&sandbox.root, &["merge", "one"]).0);
    assert!(matches!(refused(&sandbox), RepoError::InProgress { what: "a merge", .. }));
    sandbox.git(&["merge", "--abort"]);
    assert!(!Sandbox::git_at(&sandbox.root, &["rebase", "one"]).0);
    assert!(matches!(refused(&sandbox), RepoError::InProgress { what: "a rebase", .. }));
}

#[test]
fn a_missing_identity_is_refused_with_the_command_that_sets_it() {
    let sandbox = Sandbox::new();
    // Set to nothing, so that a configuration of the machine's own user doesn't fill it in.
    sandbox.git(&["config", "user.email", ""]);
    let error = refused(&sandbox);
    assert!(matches!(error, RepoError::NoIdentity { .. }));
    assert_eq!(error.remedy(), Some(Remedy::GitIdentity));
}

#[test]
fn a_managed_path_that_differs_is_refused_unless_allowed() {
    let dirty = |change: &dyn Fn(&Sandbox)| {
        let sandbox = Sandbox::new();
        change(&sandbox);
        (sandbox.open().dirty().unwrap(), sandbox)
    };
    let (paths, sandbox) = dirty(&|sandbox| sandbox.put(CONFIG, b"config two\n"));
    assert_eq!(paths, [CONFIG]);
    let error = refused(&sandbox);
    assert_eq!(error.remedy(), Some(Remedy::GitRestore(CONFIG.to_owned())));
    sandbox.open().check_writable(&[CONFIG.to_owned()].into()).unwrap();

    // Same size and, as near as can be, same time: only the bytes tell.
    assert_eq!(dirty(&|sandbox| sandbox.put(CONFIG, b"config 1!!\n")).0, [CONFIG]);
    assert_eq!(dirty(&|sandbox| sandbox.put(CA, b"new")).0, [CA]);
    assert_eq!(dirty(&|sandbox| std::fs::remove_file(sandbox.root.join(EPOCH)).unwrap()).0, [EPOCH]);
    let staged = |sandbox: &Sandbox| {
        sandbox.put(CONFIG, b"config two\n");
        sandbox.git(&["add", CONFIG]);
        sandbox.put(CONFIG, b"config one\n");
    };
    assert_eq!(dirty(&staged).0, [CONFIG]);
    assert_eq!(dirty(&|sandbox| drop(sandbox.git(&["rm", "-q", "--cached", EPOCH]))).0, [EPOCH]);
    let linked = |sandbox: &Sandbox| {
        std::fs::remove_file(sandbox.root.join(CONFIG)).unwrap();
        symlink("../../README.md", sandbox.root.join(CONFIG)).unwrap();
    };
    assert_eq!(dirty(&linked).0, [CONFIG]);
    let executable = |sandbox: &Sandbox| {
        std::fs::set_permissions(sandbox.root.join(CONFIG), std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    assert_eq!(dirty(&executable).0, [CONFIG]);
    let hidden = |sandbox: &Sandbox| {
        sandbox.git(&["update-index", "--assume-unchanged", CONFIG]);
        sandbox.put(CONFIG, b"config 2\n");
    };
    assert_eq!(dirty(&hidden).0, [CONFIG]);
    let ignored = |sandbox: &Sandbox| {
        sandbox.put(".gitignore", b"*.crt\n");
        sandbox.put(CA, b"ignored by git");
    };
    assert_eq!(dirty(&ignored).0, [CA]);
}

#[test]
fn what_differs_outside_the_managed_trees_is_nobodys_business() {
    let sandbox = Sandbox::new();
    sandbox.put("README.md", b"other\n");
    sandbox.put("notes", b"x");
    sandbox.open().check_writable(&BTreeSet::new()).unwrap();
    assert!(sandbox.open().dirty().unwrap().is_empty());
}

#[test]
fn one_kluis_writes_at_a_time_and_waits_for_no_git() {
    let sandbox = Sandbox::new();
    let first = sandbox.open();
    first.check_writable(&BTreeSet::new()).unwrap();
    assert!(matches!(refused(&sandbox), RepoError::Busy { .. }));
    drop(first);
    std::fs::write(sandbox.root.join(".git/index.lock"), b"").unwrap();
    assert!(matches!(refused(&sandbox), RepoError::GitBusy { .. }));
}

#[test]
fn remotes_are_named_without_passwords() {
    let sandbox = Sandbox::new();
    sandbox.git(&["remote", "add", "a", "https://alice:t0ken@example.org/pki.git"]);
    sandbox.git(&["remote", "add", "b", "git@example.org:pki.git"]);
    sandbox.git(&["remote", "add", "c", "ssh://git:pw@example.org:22/pki.git"]);
    assert_eq!(
        sandbox.open().remotes(),
        ["git@example.org:pki.git", "https://example.org/pki.git", "ssh://git@example.org:22/pki.git"]
    );
}
