//! The strict walk: everything in the managed trees as bytes, links never followed, sizes and numbers bounded
//! (T67, T68, T71). Needs no git: an unpacked tarball will do.

use std::ffi::OsStr;
use std::path::Path;

use crate::disk::folder::name_text;
use crate::disk::{DiskError, Folder, Kind, Reading};
use crate::model::Place;
use crate::trust::{Entry, Tree};

/// The managed trees, in byte order.
pub const MANAGED: [&str; 3] = ["clusters", "pubkeys", "trust"];

/// Files, and folders too, that are looked at before the rest is given up as too much (FORMAT 1: 200,000 files).
pub(super) const MOST_FILES: usize = 200_000;

/// Folders below folders that are looked into. Places are at most six deep; each level holds a file descriptor, of
/// which a process has few.
pub(super) const DEEPEST: usize = 32;

/// The largest file that is read where nothing lies according to FORMAT 1.
pub(super) const LARGEST_ELSEWHERE: u64 = 256 << 10;

/// Whether `path`, relative to the root, is in a managed tree or the name of one.
pub(super) fn is_managed(path: &str) -> bool {
    MANAGED.contains(&path.split('/').next().unwrap_or(path))
}

/// Reads `trust/`, `pubkeys/` and `clusters/` below `root`, each file at most to the size that its place allows.
/// Links, pipes and the like stand as `Entry::NotRegular`, also in place of a whole tree; empty folders leave no
/// trace. Stops after 200,000 files and says so in `overflow`.
///
/// Fails where the system refuses to list or read, and when a file changes while it is read. What is returned
/// is what a command judges and uses: nothing is read twice (T80).
pub fn read_tree(root: &Path) -> Result<Tree, DiskError> {
    read_up_to(root, MOST_FILES)
}

/// As `read_tree`, of these files and folders alone (paths relative to `root`): for a command that can't afford to read
/// everything. What is there is told apart from what was not looked at by nobody but the caller.
pub fn read_part(root: &Path, parts: &[&str]) -> Result<Tree, DiskError> {
    let below = |path: &str, folder: &str| {
        path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let is_wanted = |path: &str| parts.iter().any(|part| below(path, part));
    let is_on_the_way = |path: &str| parts.iter().any(|part| below(part, path));
    read_where(root, MOST_FILES, &|path, kind| is_wanted(path) || (kind == Kind::Folder && is_on_the_way(path)))
}

/// As `read_tree`, of the folders and files alone that `wants` says yes to; it is asked of each by its path, folders
/// before what is in them.
pub fn read_chosen(root: &Path, wants: &dyn Fn(&str) -> bool) -> Result<Tree, DiskError> {
    read_where(root, MOST_FILES, &|path, _| wants(path))
}

fn read_up_to(root: &Path, most: usize) -> Result<Tree, DiskError> {
    read_where(root, most, &|_, _| true)
}

fn read_where(root: &Path, most: usize, wanted: &Wanted<'_>) -> Result<Tree, DiskError> {
    let mut tree = Tree::default();
    let overflow = walk_where(&Folder::open(root)?, most, wanted, &mut |path, folder, name, kind| {
        let entry = match kind {
            Kind::File => read(path, folder, name)?,
            other => Entry::NotRegular(other.words().to_owned()),
        };
        tree.entries.insert(path.to_owned(), entry);
        Ok(())
    })?;
    tree.overflow = overflow;
    Ok(tree)
}

fn read(path: &str, folder: &Folder, name: &OsStr) -> Result<Entry, DiskError> {
    let largest = Place::parse(path).map_or(LARGEST_ELSEWHERE, |place| place.largest());
    match folder.read(name, largest) {
        Ok(Reading::File { bytes, executable }) => Ok(Entry::File { bytes, executable }),
        Ok(Reading::TooLarge(size)) => Ok(Entry::TooLarge(size)),
        Ok(Reading::NotRegular(what)) => Ok(Entry::NotRegular(what.to_owned())),
        Err(error) if error.is_absent() => Err(DiskError::Changed { path: folder.at(name) }),
        Err(error) => Err(error),
    }
}

/// What is done with each entry that is no folder: its path relative to the root, the folder that it is in, its
/// name there, its kind.
pub(super) type Visit<'a> = dyn FnMut(&str, &Folder, &OsStr, Kind) -> Result<(), DiskError> + 'a;

/// Whether an entry is looked at: its path relative to the root, and its kind.
type Wanted<'a> = dyn Fn(&str, Kind) -> bool + 'a;

/// Visits everything in the managed trees of `root`; says whether there was too much to see it all.
pub(super) fn walk(root: &Folder, most: usize, visit: &mut Visit<'_>) -> Result<bool, DiskError> {
    walk_where(root, most, &|_, _| true, visit)
}

fn walk_where(root: &Folder, most: usize, wanted: &Wanted<'_>, visit: &mut Visit<'_>) -> Result<bool, DiskError> {
    let mut left = most;
    // The root is listed, not asked for `trust`: a file system that folds case would answer with `Trust`, and the
    // same repository would be judged differently elsewhere (T69).
    for (name, kind) in root.names()? {
        let Some(managed) = MANAGED.iter().find(|managed| name == **managed) else { continue };
        let whole = step(root, &name, kind, (managed, wanted), 0, &mut left, visit)?;
        if !whole {
            return Ok(true);
        }
    }
    Ok(false)
}

/// One entry, and all below it; `false` when the budget ended.
fn step(
    folder: &Folder,
    name: &OsStr,
    kind: Kind,
    (path, wanted): (&str, &Wanted<'_>),
    depth: usize,
    left: &mut usize,
    visit: &mut Visit<'_>,
) -> Result<bool, DiskError> {
    if !wanted(path, kind) {
        return Ok(true);
    }
    if kind != Kind::Folder {
        visit(path, folder, name, kind)?;
        return Ok(true);
    }
    if depth == DEEPEST {
        visit(path, folder, name, Kind::Other("a folder deeper than any file may lie"))?;
        return Ok(true);
    }
    let inner = match folder.sub(name) {
        Err(DiskError::NotRegular { what, .. }) => {
            visit(path, folder, name, Kind::Other(what))?;
            return Ok(true);
        }
        opened => opened?,
    };
    let names = inner.names_up_to(*left + 1)?;
    // A folder costs as much as a file: a million empty ones are as slow to walk.
    if names.len() > *left {
        return Ok(false);
    }
    *left -= names.len();
    for (name, kind) in names {
        let path = format!("{path}/{}", name_text(&name));
        if !step(&inner, &name, kind, (&path, wanted), depth + 1, left, visit)? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::model::PlaceError;

    fn plain(bytes: &[u8]) -> Entry {
        Entry::File { bytes: bytes.to_vec(), executable: false }
    }

    fn put(root: &Path, path: &str, bytes: &[u8]) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn only_the_managed_trees_are_read_and_empty_folders_leave_no_trace() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "trust/epoch/0001.toml", b"one");
        put(root.path(), "clusters/prod/cluster.toml", b"two");
        put(root.path(), "templates/x", b"no");
        put(root.path(), "README.md", b"no");
        std::fs::create_dir_all(root.path().join("pubkeys/old")).unwrap();
        std::fs::set_permissions(
            root.path().join("clusters/prod/cluster.toml"),
            std::fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        let tree = read_tree(root.path()).unwrap();
        assert!(!tree.overflow);
        assert_eq!(tree.entries.len(), 2);
        assert_eq!(tree.entries["trust/epoch/0001.toml"], plain(b"one"));
        assert!(matches!(tree.entries["clusters/prod/cluster.toml"], Entry::File { executable: true, .. }));
    }

    #[test]
    fn a_part_is_read_as_strictly_and_nothing_beside_it() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "trust/epoch/0001.toml",
            "trust/log/x",
            "pubkeys/alice.asc",
            "clusters/prod/ca/a.crt",
            "clusters/prod2/ca/a.crt",
        ] {
            put(root.path(), path, b"x");
        }
        symlink("/etc", root.path().join("clusters/prod/certs")).unwrap();
        let tree =
            read_part(root.path(), &["trust/epoch", "clusters/prod", "pubkeys/alice.asc", "pubkeys/bob.asc"]).unwrap();
        let paths: Vec<&String> = tree.entries.keys().collect();
        assert_eq!(
            paths,
            ["clusters/prod/ca/a.crt", "clusters/prod/certs", "pubkeys/alice.asc", "trust/epoch/0001.toml"]
        );
        assert!(matches!(tree.entries["clusters/prod/certs"], Entry::NotRegular(_)));
    }

    #[test]
    fn links_to_files_folders_and_whole_trees_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        put(outside.path(), "secret", b"outside");
        put(root.path(), "clusters/prod/cluster.toml", b"two");
        symlink(outside.path().join("secret"), root.path().join("clusters/prod/ca.crt")).unwrap();
        symlink(outside.path(), root.path().join("clusters/prod/ca")).unwrap();
        symlink(outside.path(), root.path().join("trust")).unwrap();
        let tree = read_tree(root.path()).unwrap();
        let link = Entry::NotRegular("a symbolic link".to_owned());
        for path in ["clusters/prod/ca.crt", "clusters/prod/ca", "trust"] {
            assert_eq!(tree.entries[path], link, "{path}");
        }
        assert_eq!(tree.entries.len(), 4);
    }

    #[test]
    fn a_file_larger_than_its_place_allows_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "trust/epoch/0001.alice.sig", &[0; 4097]);
        put(root.path(), "trust/log/2026-11/0123456789abcdef.toml", &[0; 300 << 10]);
        put(root.path(), "trust/elsewhere", b"");
        let sparse = std::fs::File::create(root.path().join("trust/sparse")).unwrap();
        sparse.set_len(2 << 30).unwrap();
        let tree = read_tree(root.path()).unwrap();
        assert_eq!(tree.entries["trust/epoch/0001.alice.sig"], Entry::TooLarge(4097));
        assert_eq!(tree.entries["trust/sparse"], Entry::TooLarge(2 << 30));
        assert_eq!(tree.bytes("trust/log/2026-11/0123456789abcdef.toml").unwrap().len(), 300 << 10);
    }

    #[test]
    fn a_name_that_is_not_utf8_is_a_bad_name() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "trust/epoch/0001.toml", b"");
        std::fs::write(root.path().join("trust/epoch").join(OsStr::from_bytes(b"\xff.toml")), b"").unwrap();
        let tree = read_tree(root.path()).unwrap();
        assert!(tree.entries.contains_key("trust/epoch/\\xff.toml"));
        assert_eq!(Place::parse("trust/epoch/\\xff.toml"), Err(PlaceError::Name));
    }

    #[test]
    fn a_tree_that_is_a_file_and_a_bottomless_one_are_reported() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "trust", b"file");
        let mut deep = "clusters".to_owned();
        (0..100).for_each(|_| deep.push_str("/d"));
        std::fs::create_dir_all(root.path().join(&deep)).unwrap();
        let tree = read_tree(root.path()).unwrap();
        assert_eq!(tree.entries["trust"], plain(b"file"));
        assert_eq!(tree.entries.len(), 2);
        assert!(tree.entries.values().any(|entry| matches!(entry, Entry::NotRegular(_))));
    }

    #[test]
    fn case_variants_of_a_managed_tree_are_not_managed() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "Trust/epoch/0001.toml", b"one");
        assert!(read_tree(root.path()).unwrap().entries.is_empty());
    }

    #[test]
    fn too_many_files_are_given_up() {
        let root = tempfile::tempdir().unwrap();
        for n in 0..50 {
            put(root.path(), &format!("trust/{n}/{n}"), b"");
            std::fs::create_dir_all(root.path().join(format!("pubkeys/{n}/empty"))).unwrap();
        }
        assert!(!read_up_to(root.path(), 200).unwrap().overflow);
        let tree = read_up_to(root.path(), 199).unwrap();
        assert!(tree.overflow);
        assert!(tree.entries.len() <= 199);
    }
}
