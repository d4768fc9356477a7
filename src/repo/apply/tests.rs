use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;
use crate::repo::sandbox::{CA, CONFIG, EPOCH, SEALED, Sandbox, changes, message, now, one_of_each};

/// A hook that dies at the `n`th step, and counts.
fn dies_at(n: usize, seen: &mut usize) -> impl FnMut(Step) -> Result<(), Cut> + '_ {
    move |_| {
        *seen += 1;
        if *seen == n { Err(Cut::Killed) } else { Ok(()) }
    }
}

/// A hook that fails at the `n`th step, as a full disk does.
fn fails_at(n: usize, seen: &mut usize) -> impl FnMut(Step) -> Result<(), Cut> + '_ {
    move |_| {
        *seen += 1;
        if *seen == n { Err(no_room().into()) } else { Ok(()) }
    }
}

fn no_room() -> DiskError {
    DiskError::Io {
        action: crate::disk::Action::Write,
        path: "x".into(),
        source: std::io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()),
    }
}

fn is_killed<T>(result: &Result<T, Cut>) -> bool {
    matches!(result, Err(Cut::Killed))
}

#[test]
fn a_change_set_is_one_commit_and_leaves_git_clean() {
    let sandbox = Sandbox::new();
    let applied = sandbox.apply(&one_of_each()).unwrap();
    assert_eq!(applied.commit.unwrap(), sandbox.git(&["rev-parse", "HEAD"]).trim());
    assert_eq!(applied.written, [".gitattributes", CA, CONFIG, SEALED]);
    assert_eq!(applied.removed, [EPOCH]);
    assert_eq!(sandbox.git(&["status", "--porcelain", "-uall"]), "");
    assert_eq!(sandbox.git(&["diff-index", "HEAD", "--"]), "");
    assert_eq!(sandbox.git(&["log", "-1", "--format=%s|%an|%ae|%at|%P"]).trim(), {
        let parent = sandbox.git(&["rev-parse", "HEAD~1"]);
        format!("cluster new prod|Alice|alice@example.org|1795197600|{}", parent.trim())
    });
    // Raw bytes, though `.gitattributes` of the same commit asks for conversion.
    assert_eq!(sandbox.git(&["cat-file", "blob", &format!("HEAD:{SEALED}")]), "sealed\r\n$Id$\n");
    assert!(!sandbox.root.join("trust").exists());
    assert_eq!(sandbox.git(&["ls-tree", "--name-only", "HEAD"]), ".gitattributes\nREADME.md\nclusters\n");
    sandbox.assert_sound();
}

#[test]
fn the_first_commit_of_an_unborn_branch_can_be_made() {
    let sandbox = Sandbox::unborn();
    sandbox.apply(&changes(&[(EPOCH, b"one")], &[])).unwrap();
    assert_eq!(sandbox.git(&["status", "--porcelain", "-uall"]), "");
    assert_eq!(sandbox.git(&["rev-list", "--count", "main"]).trim(), "1");
    sandbox.assert_sound();
}

#[test]
fn without_a_commit_all_is_written_and_staged() {
    let sandbox = Sandbox::new();
    let before = sandbox.git(&["rev-parse", "HEAD"]);
    let applied = sandbox.open().apply(&one_of_each(), &Commit::IndexOnly, now()).unwrap();
    assert_eq!(applied.commit, None);
    assert_eq!(sandbox.git(&["rev-parse", "HEAD"]), before);
    assert_eq!(sandbox.git(&["diff", "--name-only"]), "");
    assert_eq!(sandbox.git(&["diff", "--cached", "--name-only"]).lines().count(), 5);
    sandbox.assert_sound();
}

#[test]
fn what_else_the_user_staged_stays_staged_and_out_of_the_commit() {
    let sandbox = Sandbox::new();
    sandbox.put("README.md", b"half a thought\n");
    sandbox.put("notes", b"x");
    sandbox.git(&["add", "README.md"]);
    sandbox.apply(&one_of_each()).unwrap();
    assert_eq!(sandbox.git(&["status", "--porcelain", "-uall"]), "M  README.md\n?? notes\n");
    assert_eq!(sandbox.git(&["show", "HEAD:README.md"]), "read me\n");
}

#[test]
fn hooks_do_not_run_and_commits_are_not_signed() {
    let sandbox = Sandbox::new();
    for hook in ["pre-commit", "commit-msg", "post-commit", "reference-transaction", "post-index-change"] {
        let path = sandbox.root.join(".git/hooks").join(hook);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, b"#!/bin/sh\ntouch hook-ran\nexit 1\n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    sandbox.git(&["config", "commit.gpgsign", "true"]);
    sandbox.apply(&one_of_each()).unwrap();
    assert!(!sandbox.root.join("hook-ran").exists());
    assert!(!sandbox.git(&["cat-file", "commit", "HEAD"]).contains("gpgsig"));
}

#[test]
fn a_change_set_that_changes_nothing_makes_no_commit() {
    let sandbox = Sandbox::new();
    let before = sandbox.picture();
    assert_eq!(sandbox.apply(&ChangeSet::default()).unwrap(), Applied::default());
    assert_eq!(sandbox.apply(&changes(&[(CONFIG, b"config one\n")], &[CA])).unwrap().commit, None);
    assert_eq!(sandbox.picture(), before);
}

#[test]
fn a_linked_work_tree_on_another_file_system_is_written_too() {
    let sandbox = Sandbox::new();
    let elsewhere = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let root = elsewhere.path().canonicalize().unwrap().join("linked");
    sandbox.git(&["worktree", "add", "-q", "-b", "other", root.to_str().unwrap()]);
    let total = {
        let mut seen = 0;
        let tree = WorkTree::open(&root).unwrap();
        assert!(!is_killed(&tree.apply_until(&one_of_each(), &message(), now(), &mut dies_at(usize::MAX, &mut seen))));
        seen
    };
    let status = |expected: &str| assert_eq!(Sandbox::git_at(&root, &["status", "--porcelain", "-uall"]).1, expected);
    status("");
    assert_eq!(std::fs::read(root.join(CA)).unwrap(), b"ca\n");
    for n in 1..=total {
        assert!(Sandbox::git_at(&root, &["reset", "-q", "--hard", "main"]).0);
        let mut seen = 0;
        let tree = WorkTree::open(&root).unwrap();
        assert!(is_killed(&tree.apply_until(&one_of_each(), &message(), now(), &mut dies_at(n, &mut seen))));
        drop(tree);
        WorkTree::open(&root).unwrap().recover().unwrap();
        status("");
    }
}

#[test]
fn paths_that_are_no_place_or_leave_the_tree_are_refused() {
    for path in [
        "trust/../../escape",
        "/etc/passwd",
        ".git/hooks/post-checkout",
        "x/.git/config",
        "trust/epoch/1.toml",
        "clusters/Prod/cluster.toml",
        "trust",
        "a\\b",
        "",
    ] {
        let sandbox = Sandbox::new();
        let before = sandbox.picture();
        assert!(sandbox.apply(&changes(&[(path, b"x"), (CA, b"x")], &[])).is_err(), "{path}");
        assert_eq!(sandbox.picture(), before, "{path}");
    }
    let sandbox = Sandbox::new();
    let both = changes(&[(CA, b"x")], &[CA]);
    assert!(matches!(sandbox.apply(&both), Err(RepoError::BadPath { .. })));
    let nested = changes(&[("a", b"x"), ("a/b", b"x")], &[]);
    assert!(matches!(sandbox.apply(&nested), Err(RepoError::BadPath { .. })));
}

#[test]
fn links_on_the_way_and_in_the_place_are_refused() {
    for (link, write) in [("templates", "templates/x"), ("note", "note")] {
        let sandbox = Sandbox::new();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), sandbox.root.join(link)).unwrap();
        let before = sandbox.picture();
        let error = sandbox.apply(&changes(&[(write, b"x"), (CA, b"x")], &[])).unwrap_err();
        assert!(matches!(&error, RepoError::NotRegular { path, what: "a symbolic link" } if path == link), "{error:?}");
        assert_eq!(sandbox.picture(), before);
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
    let sandbox = Sandbox::new();
    let tree = sandbox.open();
    tree.check_writable(&[].into()).unwrap();
    // Planted after the check.
    std::fs::rename(sandbox.root.join("clusters"), sandbox.root.join("elsewhere")).unwrap();
    symlink("elsewhere", sandbox.root.join("clusters")).unwrap();
    let refused = tree.apply(&changes(&[(CA, b"x")], &[]), &message(), now());
    assert!(matches!(refused, Err(RepoError::NotRegular { .. })));
    assert!(!sandbox.root.join("elsewhere/prod/ca").exists());
}

#[test]
fn an_edit_after_the_check_is_not_overwritten() {
    let sandbox = Sandbox::new();
    let tree = sandbox.open();
    tree.check_writable(&[].into()).unwrap();
    sandbox.put(CONFIG, b"mine\n");
    let refused = tree.apply(&one_of_each(), &message(), now());
    assert!(matches!(refused, Err(RepoError::Dirty { .. })));
    assert_eq!(sandbox.read(CONFIG).unwrap(), b"mine\n");
    drop(tree);
    let tree = sandbox.open();
    tree.check_writable(&[CONFIG.to_owned()].into()).unwrap();
    tree.apply(&one_of_each(), &message(), now()).unwrap();
    assert_eq!(sandbox.read(CONFIG).unwrap(), b"config two\n");
}

#[test]
fn a_commit_made_meanwhile_is_not_lost() {
    let sandbox = Sandbox::new();
    let tree = sandbox.open();
    tree.check_writable(&[].into()).unwrap();
    sandbox.git(&["commit", "-q", "--allow-empty", "-m", "meanwhile"]);
    let before = sandbox.picture();
    assert!(matches!(tree.apply(&one_of_each(), &message(), now()), Err(RepoError::HeadMoved { .. })));
    assert_eq!(sandbox.picture(), before);
    drop(tree);
    // Even between the last look and the move of the branch.
    let mut race = |step| {
        if step == Step::Indexed {
            sandbox.git(&["commit-tree", "-m", "x", "HEAD^{tree}", "-p", "HEAD"]);
            let id = sandbox.git(&["commit-tree", "-m", "race", "HEAD^{tree}", "-p", "HEAD"]);
            sandbox.git(&["update-ref", "refs/heads/main", id.trim()]);
        }
        Ok(())
    };
    let raced = sandbox.open().apply_until(&one_of_each(), &message(), now(), &mut race);
    assert!(matches!(raced, Err(Cut::Error(RepoError::HeadMoved { .. }))));
    assert_eq!(sandbox.git(&["log", "-1", "--format=%s"]).trim(), "race");
    assert_eq!(sandbox.git(&["status", "--porcelain", "-uall"]), "");
    sandbox.assert_sound();
}

#[test]
fn killed_at_any_step_the_next_command_leaves_before_or_after() {
    let after = {
        let sandbox = Sandbox::new();
        sandbox.apply(&one_of_each()).unwrap();
        without_ids(sandbox.picture())
    };
    let (mut as_before, mut as_after) = (0, 0);
    for n in 1.. {
        let sandbox = Sandbox::new();
        let before = without_ids(sandbox.picture());
        let mut seen = 0;
        let cut = sandbox.open().apply_until(&one_of_each(), &message(), now(), &mut dies_at(n, &mut seen));
        if !is_killed(&cut) {
            assert_eq!(n, seen + 1);
            break;
        }
        let said = sandbox.open().recover().unwrap();
        let found = without_ids(sandbox.picture());
        if found == after {
            assert!(said.unwrap().ends_with("cluster new prod"));
            as_after += 1;
        } else {
            assert_eq!(found, before, "step {n}");
            assert_eq!(said, None);
            as_before += 1;
        }
        sandbox.assert_sound();
        assert_eq!(sandbox.open().recover().unwrap(), None);
        sandbox.apply(&changes(&[(SEALED, b"next")], &[])).unwrap();
    }
    assert!(as_before >= 7 && as_after >= 8, "{as_before} {as_after}");
}

/// A picture without what differs between two repositories made alike: commits, whose time is the machine's.
fn without_ids(mut picture: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    picture.retain(|name, _| !name.contains("rev-parse"));
    if let Some(status) = picture.get_mut("git [\"status\", \"--porcelain=v2\", \"-uall\", \"--branch\"]") {
        let text = String::from_utf8_lossy(status).into_owned();
        *status = text.lines().filter(|line| !line.contains("branch.oid")).collect::<Vec<_>>().join("\n").into();
    }
    picture
}

#[test]
fn a_failure_before_the_branch_moves_leaves_all_as_it_was() {
    for n in 1.. {
        let sandbox = Sandbox::new();
        sandbox.put("README.md", b"staged by the user\n");
        sandbox.git(&["add", "README.md"]);
        let before = sandbox.picture();
        let mut seen = 0;
        let cut = sandbox.open().apply_until(&one_of_each(), &message(), now(), &mut fails_at(n, &mut seen));
        match cut {
            Err(Cut::Error(RepoError::DiskFull { .. })) => {}
            // Once the branch has moved, nothing may be taken back.
            Ok(applied) => {
                assert_eq!(n, seen);
                assert_eq!(applied.commit.unwrap(), sandbox.git(&["rev-parse", "HEAD"]).trim());
                assert_eq!(sandbox.git(&["status", "--porcelain", "-uall"]), "M  README.md\n");
                break;
            }
            _ => panic!("step {n}"),
        }
        assert_eq!(sandbox.picture(), before, "step {n}");
        sandbox.assert_sound();
    }
}

#[test]
fn a_failure_that_is_killed_while_it_is_undone_is_undone_by_the_next_command() {
    for n in 1.. {
        let sandbox = Sandbox::new();
        let before = sandbox.picture();
        let mut undone = 0;
        let mut hook = |step| match step {
            Step::Indexed => Err(Cut::from(no_room())),
            Step::Unplaced | Step::Unindexed => {
                undone += 1;
                if undone == n { Err(Cut::Killed) } else { Ok(()) }
            }
            _ => Ok(()),
        };
        let cut = sandbox.open().apply_until(&one_of_each(), &message(), now(), &mut hook);
        let killed = is_killed(&cut);
        if killed {
            let refused = sandbox.open().check_writable(&[].into());
            assert!(matches!(refused, Err(RepoError::Unfinished { .. })));
            assert!(sandbox.open().recover().unwrap().unwrap().starts_with("rolled back"));
        }
        assert_eq!(sandbox.picture(), before, "step {n}");
        sandbox.assert_sound();
        if !killed {
            break;
        }
    }
}

/// The locks of git, with their marks, as a kill within libgit2 leaves them.
const LOCKS: [(&str, &str); 2] = [("index.lock", "locks.index"), ("refs/heads/main.lock", "locks.branch")];

/// A change set that was killed when its files were in place.
fn killed_in_place() -> Sandbox {
    let sandbox = Sandbox::new();
    let mut late = |step| if step == Step::AllPlaced { Err(Cut::Killed) } else { Ok(()) };
    assert!(is_killed(&sandbox.open().apply_until(&one_of_each(), &message(), now(), &mut late)));
    sandbox
}

#[test]
fn a_lock_of_git_that_a_kill_left_behind_stops_nobody() {
    for (lock, mark) in LOCKS {
        let sandbox = killed_in_place();
        sandbox.put(&format!(".git/kluis/stage/{mark}"), b"");
        sandbox.put(&format!(".git/{lock}"), b"half an index");
        assert!(sandbox.open().recover().unwrap().unwrap().starts_with("finished"), "{lock}");
        assert_eq!(sandbox.git(&["status", "--porcelain", "-uall"]), "", "{lock}");
        sandbox.assert_sound();
        sandbox.apply(&changes(&[(SEALED, b"next")], &[])).unwrap();
    }
}

#[test]
fn a_lock_that_a_git_program_holds_is_left_alone_after_a_kill() {
    for (lock, mark) in LOCKS {
        for marked in [false, true] {
            let sandbox = killed_in_place();
            sandbox.put(&format!(".git/{lock}"), b"");
            if marked {
                // It was there before the mark: the kill came before libgit2 could have made its own.
                let earlier = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
                let held = std::fs::File::options().write(true).open(sandbox.root.join(".git").join(lock)).unwrap();
                held.set_modified(earlier).unwrap();
                sandbox.put(&format!(".git/kluis/stage/{mark}"), b"");
            }
            let error = sandbox.open().recover().unwrap_err();
            let path = sandbox.root.join(".git").join(lock);
            assert!(matches!(&error, RepoError::GitBusy { path: named } if *named == path), "{lock}: {error:?}");
            assert!(path.exists(), "{lock}");
            // Once git is done, nothing is lost.
            std::fs::remove_file(path).unwrap();
            assert!(sandbox.open().recover().unwrap().unwrap().starts_with("finished"), "{lock}");
            sandbox.assert_sound();
        }
    }
}

#[test]
fn an_edit_between_kill_and_recovery_is_never_lost() {
    let sandbox = Sandbox::new();
    let mut at_first = |step| if step == Step::Placed { Err(Cut::Killed) } else { Ok(()) };
    assert!(is_killed(&sandbox.open().apply_until(&one_of_each(), &message(), now(), &mut at_first)));
    sandbox.put(CONFIG, b"mine\n");
    let error = sandbox.open().recover().unwrap_err();
    assert!(matches!(&error, RepoError::Interfered { path, committed: true } if path == CONFIG));
    assert_eq!(sandbox.read(CONFIG).unwrap(), b"mine\n");
    // The remedy works.
    sandbox.git(&["restore", "--", CONFIG]);
    assert!(sandbox.open().recover().unwrap().unwrap().starts_with("finished"));
    assert_eq!(sandbox.git(&["status", "--porcelain", "-uall"]), "");
}

#[test]
fn a_commit_between_kill_and_recovery_prevails() {
    let sandbox = Sandbox::new();
    let mut late = |step| if step == Step::AllPlaced { Err(Cut::Killed) } else { Ok(()) };
    assert!(is_killed(&sandbox.open().apply_until(&one_of_each(), &message(), now(), &mut late)));
    sandbox.git(&["add", CA]);
    sandbox.git(&["commit", "-q", "-m", "mine"]);
    assert!(sandbox.open().recover().unwrap().unwrap().starts_with("rolled back"));
    assert_eq!(sandbox.git(&["log", "-1", "--format=%s"]).trim(), "mine");
    assert_eq!(sandbox.git(&["status", "--porcelain", "-uall"]), "");
    assert_eq!(sandbox.read(CA).unwrap(), b"ca\n");
    assert_eq!(sandbox.read(EPOCH).unwrap(), b"epoch one\n");
    sandbox.assert_sound();
}

#[test]
fn a_journal_that_is_no_journal_is_an_error_and_touches_nothing() {
    for text in ["", "{}", "{\"format\": \"kluis/journal/2\"}"] {
        let sandbox = Sandbox::new();
        sandbox.put(".git/kluis/journal", text.as_bytes());
        let before = sandbox.picture();
        assert!(matches!(sandbox.open().recover(), Err(RepoError::Journal { .. })));
        assert_eq!(sandbox.picture(), before);
    }
}

#[test]
fn a_thousand_files_are_one_change_set() {
    let sandbox = Sandbox::new();
    let set = ChangeSet {
        writes: (0..1000)
            .map(|n| (format!("clusters/c{}/sealed/node.n{n}.asc", n % 50), format!("{n}").into_bytes()))
            .collect(),
        removes: [].into(),
    };
    sandbox.apply(&set).unwrap();
    assert_eq!(sandbox.git(&["status", "--porcelain", "-uall"]), "");
    assert!(sandbox.open().dirty().unwrap().is_empty());
    sandbox.assert_sound();
}

/// Runs `test` in a folder on a file system of its own, `options` as of mount(8); in a mount namespace of its own, so
/// that nothing is left. Where the system forbids that (no root), the test can't be made.
#[cfg(target_os = "linux")]
fn on_own_file_system(options: &str, test: impl FnOnce(&std::path::Path) + Send) {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    let scratch = tempfile::tempdir().unwrap();
    let options = std::ffi::CString::new(options).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            #[expect(
                unsafe_code,
                reason = "only this thread's view of mounts changes, no file descriptor is shared anew"
            )]
            // SAFETY: NEWNS alone; the thread ends with the test.
            if unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.is_err() {
                return;
            }
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            if mount("tmpfs", scratch.path(), "tmpfs", MountFlags::empty(), options.as_c_str()).is_ok() {
                test(scratch.path());
            }
        });
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_changes_nothing() {
    on_own_file_system("size=1m", |path| {
        let sandbox = Sandbox::unborn_in(tempfile::tempdir_in(path).unwrap());
        sandbox.put(EPOCH, b"epoch one\n");
        sandbox.put(CONFIG, b"config one\n");
        sandbox.git(&["add", "-A"]);
        sandbox.git(&["commit", "-q", "-m", "begin"]);
        let noise: Vec<u8> = (0..180_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let before = sandbox.picture();
        let mut full = 0;
        // Fuller and fuller, so that room ends at every kind of step.
        for filler in (0..1000).step_by(20) {
            let path = path.join("filler");
            let _ = std::fs::write(&path, vec![1; filler << 10]);
            let result = sandbox.apply(&changes(&[(SEALED, &noise), (CONFIG, b"two\n")], &[EPOCH]));
            std::fs::remove_file(&path).unwrap();
            sandbox.open().recover().unwrap();
            match result {
                Ok(_) => {
                    sandbox.git(&["reset", "-q", "--hard", "HEAD~1"]);
                    sandbox.git(&["reflog", "expire", "--expire=now", "--all"]);
                    sandbox.git(&["prune"]);
                }
                Err(error) => {
                    assert!(matches!(error, RepoError::DiskFull { .. } | RepoError::Git { .. }), "{error:?}");
                    full += 1;
                }
            }
            assert_eq!(sandbox.picture(), before, "{filler} KiB");
        }
        assert!(full > 0);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_read_only_disk_changes_nothing_and_says_so() {
    use rustix::mount::{MountFlags, mount_remount};
    on_own_file_system("size=8m", |path| {
        let sandbox = Sandbox::unborn_in(tempfile::tempdir_in(path).unwrap());
        sandbox.put(CONFIG, b"config one\n");
        let before = sandbox.picture();
        mount_remount(path, MountFlags::RDONLY, c"").unwrap();
        let tree = sandbox.open();
        assert_eq!(tree.recover().unwrap(), None);
        let error = tree.apply(&one_of_each(), &message(), now()).unwrap_err();
        assert!(matches!(error, RepoError::ReadOnly { .. }), "{error:?}");
        assert!(error.remedy().is_some());
        mount_remount(path, MountFlags::empty(), c"").unwrap();
        assert_eq!(sandbox.picture(), before);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn change_sets_cut_short_anywhere_are_whole_or_undone(
        files in prop::collection::btree_map(0_u8..12, (any::<bool>(), prop::option::of(0_u8..3)), 1..12),
        cut in 1_usize..40,
        again in 1_usize..40,
        fail in any::<bool>(),
    ) {
        let path = |n: u8| format!("clusters/c{}/certs/node/n{}/apiserver.crt", n % 3, n / 3);
        let sandbox = Sandbox::new();
        let mut set = ChangeSet::default();
        for (n, (exists, becomes)) in &files {
            if *exists {
                sandbox.put(&path(*n), b"0");
            }
            match becomes {
                Some(content) => drop(set.writes.insert(path(*n), vec![b'0' + content])),
                None => drop(set.removes.insert(path(*n))),
            }
        }
        sandbox.git(&["add", "-A"]);
        sandbox.git(&["commit", "-q", "--allow-empty", "-m", "files"]);
        let before = sandbox.picture();
        let mut seen = 0;
        let result = if fail {
            sandbox.open().apply_until(&set, &message(), now(), &mut fails_at(cut, &mut seen))
        } else {
            sandbox.open().apply_until(&set, &message(), now(), &mut dies_at(cut, &mut seen))
        };
        // The recovery is cut short too, once.
        let mut seen = 0;
        let _ = sandbox.open().recover_until(&mut dies_at(again, &mut seen));
        sandbox.open().recover().map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
        let found = sandbox.picture();
        sandbox.assert_sound();
        if found == before {
            return Ok(());
        }
        prop_assert!(result.is_ok() || is_killed(&result) || fail);
        for (path, bytes) in set.paths() {
            prop_assert_eq!(sandbox.read(path), bytes.map(<[u8]>::to_vec));
        }
        prop_assert_eq!(sandbox.git(&["status", "--porcelain", "-uall"]), "");
        let subject = sandbox.git(&["log", "-1", "--format=%s"]);
        prop_assert_eq!(subject.trim(), "cluster new prod");
    }
}
