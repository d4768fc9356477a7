//! What git, or whoever runs the git host, does to a repository: rewritten history, merges, odd checkouts and objects. What is
//! harmless stays valid, and what is not is answered with its code (docs/SECURITY.md: T7, T8, T9, T45, T68, T70).

mod stock;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use stock::*;

const BOTH: &[&str] = &["alice", "bob"];
const CA: &str = "clusters/prod/sealed/ca.kubernetes.g1.asc";

/// A repository whose managed files git does not convert, as `init` makes it, and on each of two branches that began at one
/// commit a record that knows nothing of the other.
fn two_branches() -> (Stock, [String; 2]) {
    let stock = Stock::valid();
    let attributes =
        "trust/** -text -filter -ident\npubkeys/** -text -filter -ident\nclusters/** -text -filter -ident\n";
    stock.write(".gitattributes", attributes);
    stock.commit();
    stock.git("switch -qc work");
    let theirs = stock.add_record("bob", "");
    stock.commit();
    stock.git("switch -q main");
    let ours = stock.add_record("alice", "");
    stock.commit();
    stock.verify().is_fine();
    (stock, [ours, theirs])
}

fn clone(stock: &Stock, options: &str) -> PathBuf {
    let clone = stock.work("clone");
    git_at(Path::new("/"), &format!("{options} {} {}", stock.repo().display(), clone.display()));
    clone
}

/// The host's own people have the same names, and their repository the same id; in itself all is well.
#[test]
fn t7_a_repository_of_the_host_s_own_is_not_the_pinned_one() {
    let mut theirs = write();
    theirs.verify().is_fine();
    theirs.pin = Stock::valid().pin;
    theirs.verify().is(4, "genesis-mismatch");
    let (exit, said) = theirs.kluis("alice", &["trust", "set", "policy.max_quiet", "80d", "--yes"]);
    assert!(exit == 4 && said.contains("genesis-mismatch"), "{exit} {said}");
}

#[test]
fn t8_a_squashed_merge_stays_valid() {
    let (stock, _) = two_branches();
    stock.git("merge -q --squash work");
    stock.git("commit -qm squashed");
    assert_eq!(stock.git("rev-list --count --min-parents=2 HEAD"), "0");
    assert_eq!(stock.records().len(), 4);
    stock.verify().is_fine();
}

#[test]
fn t8_a_rebased_branch_stays_valid() {
    let (stock, _) = two_branches();
    let before = stock.git("rev-parse work");
    stock.git("rebase -q main work");
    assert_ne!(stock.git("rev-parse work"), before);
    assert_eq!(stock.records().len(), 4);
    stock.verify().is_fine();
}

#[test]
fn t8_a_merge_that_the_host_makes_and_rewrites_stays_valid() {
    let (stock, heads) = two_branches();
    stock.git("merge -q --no-ff -m web work");
    stock.git("commit -q --amend --no-edit --reset-author --date=2001-01-01T00:00:00Z");
    assert_eq!(stock.git("rev-list --count --min-parents=2 HEAD"), "1");
    assert_eq!(stock.records().len(), 4);
    stock.verify().is_fine();
    // A record on top names both heads; nothing else has to be done.
    stock.record("bob", &record_head(&stock, "bob", 1, &heads, &stock.now("now")));
    stock.verify().is_fine();
}

#[test]
fn t8_an_archive_a_shallow_clone_and_a_linked_work_tree_are_as_good() {
    let (stock, _) = two_branches();
    stock.git("merge -q --no-ff -m web work");
    let tree = stock.work("tree");
    fs::create_dir(&tree).unwrap();
    stock.git(&format!("archive --format=tar -o {} HEAD", stock.work("archive.tar").display()));
    run(Command::new("tar").arg("xf").arg(stock.work("archive.tar")).arg("-C").arg(&tree));
    stock.verify_at(&tree, &[]).is_fine();
    let linked = stock.work("linked");
    stock.git(&format!("worktree add -q --detach {}", linked.display()));
    assert!(linked.join(".git").is_file());
    stock.verify_at(&linked, &[]).is_fine();
    let clone = stock.work("clone");
    git_at(Path::new("/"), &format!("clone -q --depth 1 file://{} {}", stock.repo().display(), clone.display()));
    stock.verify_at(&clone, &[]).is_fine();
}

#[test]
fn t70_a_checkout_that_converts_line_endings_leaves_managed_files_alone() {
    let (stock, _) = two_branches();
    stock.write("README.md", "one\ntwo\n");
    stock.commit();
    let clone = clone(&stock, "clone -q -c core.autocrlf=true -c core.eol=crlf");
    assert_eq!(fs::read_to_string(clone.join("README.md")).unwrap(), "one\r\ntwo\r\n");
    stock.verify_at(&clone, &[]).is_fine();
}

#[test]
fn t70_a_forced_conversion_is_refused_and_explained() {
    let stock = Stock::valid();
    stock.write(".gitattributes", "clusters/** text eol=crlf\n");
    stock.commit();
    let clone = clone(&stock, "clone -q");
    let verdict = stock.verify_at(&clone, &[]);
    verdict.is(3, "config-hash");
    assert!(verdict.text.contains("\"code\": \"line-endings\""), "{}", verdict.text);
}

#[test]
fn t9_a_shallow_clone_is_judged_like_a_full_one() {
    let (stock, _) = two_branches();
    stock.write("clusters/prod/.kluis", "x");
    stock.remove("clusters/stage/cluster.toml");
    stock.commit();
    let clone = stock.work("clone");
    git_at(Path::new("/"), &format!("clone -q --depth 1 file://{} {}", stock.repo().display(), clone.display()));
    let (full, shallow) = (stock.verify(), stock.verify_at(&clone, &[]));
    full.is(3, "unexpected-path");
    full.is(3, "missing-file");
    assert_eq!(full.text, shallow.text);
}

#[test]
fn t9_replaced_and_grafted_objects_and_hidden_refs_change_nothing() {
    let (stock, _) = two_branches();
    let before = stock.verify();
    let (head, first) = (stock.git("rev-parse HEAD"), stock.git("rev-list --max-parents=0 HEAD"));
    let empty = stock.git("hash-object -t tree -w /dev/null");
    let other = stock.git(&format!("commit-tree {empty} -m replaced"));
    stock.git(&format!("replace {head} {other}"));
    stock.git(&format!("replace --graft {first} {other}"));
    stock.git(&format!("update-ref refs/hidden/x {other}"));
    assert_eq!(stock.git("ls-tree HEAD"), "");
    assert_eq!(stock.verify().text, before.text);
    before.is_fine();
}

#[test]
fn t9_a_commit_of_kluis_goes_on_from_what_is_there_and_not_from_its_replacement() {
    let (stock, _) = two_branches();
    stock.write("README.md", "mine\n");
    stock.commit();
    let head = stock.git("rev-parse HEAD");
    stock.git("switch -qc evil");
    stock.write("README.md", "theirs\n");
    stock.commit();
    let other = stock.git("rev-parse HEAD");
    stock.git("switch -q main");
    stock.git(&format!("replace {head} {other}"));
    stock.git(&format!("replace {head}^{{tree}} {other}^{{tree}}"));
    let (exit, said) = stock.kluis("alice", &["trust", "set", "policy.max_quiet", "80d"]);
    assert_eq!(exit, 0, "{said}");
    assert_ne!(stock.git("--no-replace-objects rev-parse HEAD"), head);
    assert_eq!(stock.git("--no-replace-objects show HEAD:README.md"), "mine");
}

#[test]
fn t45_what_two_branches_decide_apart_is_a_conflict_until_one_record_decides() {
    let stock = Stock::valid();
    let plain = stock.plaintext(PROD, "ca.kubernetes", "ca.kubernetes", "prod-ca");
    let spki = stock.spki("prod-ca");
    let again = |revision| seal(&stock, CA, &plain, ("ca.kubernetes", &spki), BOTH, revision);
    stock.git("switch -qc work");
    let theirs = stock.add_record("bob", &again(2));
    stock.commit();
    stock.git("switch -q main");
    let ours = stock.add_record("alice", &again(2));
    stock.commit();
    stock.verify().is_fine();
    stock.git("merge -q -X ours --no-edit work");
    stock.verify().is(3, "conflicting-generations");
    let decision = record_head(&stock, "alice", 1, &[ours, theirs], &stock.now("now")) + &again(3);
    stock.record("alice", &decision);
    stock.verify().is_fine();
}

#[test]
fn t68_a_submodule_or_a_repository_in_the_tree_is_refused() {
    let stock = Stock::valid();
    let inner = stock.path("clusters/prod/ca/inner");
    run(Command::new("git").args(["init", "-q"]).arg(&inner));
    let verdict = stock.verify();
    assert_eq!(verdict.exit, 3, "{verdict:?}");
    fs::remove_dir_all(inner.join(".git")).unwrap();
    fs::write(inner.join(".git"), "gitdir: /etc\n").unwrap();
    let verdict = stock.verify();
    assert_eq!(verdict.exit, 3, "{verdict:?}");
}

/// git itself checks no such tree out; so nothing lies where kluis would have to notice it.
#[test]
fn t68_a_tree_object_with_dots_lands_nowhere() {
    let stock = Stock::valid();
    stock.write("README.md", "x");
    let blob = stock.git("hash-object -w README.md");
    let script = format!(
        "t=$(printf '100644 blob {blob}\\tescaped' | git mktree) && printf '040000 tree %s\\t..' $t | git mktree"
    );
    let tree = run(Command::new("sh").current_dir(stock.repo()).args(["-c", &script])).stdout;
    let tree = String::from_utf8(tree).unwrap();
    let commit = stock.git(&format!("commit-tree {} -m dots", tree.trim()));
    let linked = stock.work("linked");
    let mut git = Command::new("git");
    git.current_dir(stock.repo()).args(["worktree", "add", "-q", "--detach"]).arg(&linked).arg(commit);
    assert!(!git.output().unwrap().status.success());
    assert!(!stock.work("escaped").exists() && !linked.join("escaped").exists());
}
