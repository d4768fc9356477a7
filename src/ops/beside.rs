//! Files that a command writes for other programs and people: a page, or figures for a monitoring system. They hold
//! nothing that the repository does not say in the clear.

use std::path::Path;

use super::failure::Failure;
use crate::model::Remedy;
use crate::repo::MANAGED;

/// Writes `bytes` to `path`, as one step, readable for whoever may read the folder, which must be there. `help` is the command
/// with a place that will do.
///
/// Attack: a script that takes the name of the file from elsewhere is led to one that people signed, or to one that git
/// reads. So nothing in the managed trees of the repository at `root` or in a `.git` is ever written, whatever lies there.
/// And since the file is put in the place of what is there, only a regular file is replaced: as root, /dev/null would else
/// be one from then on, for every program of the machine.
pub fn write(root: &Path, path: &Path, bytes: &[u8], help: &str) -> Result<(), Failure> {
    let no_file = || Failure::usage(format!("{} is no name of a file", path.display()));
    let name = path.file_name().ok_or_else(no_file)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |error| Failure::usage(format!("{}: {error}", folder.display()));
    let place = folder.canonicalize().map_err(failed)?.join(name);
    let root = root.canonicalize().map_err(failed)?;
    let top = place.strip_prefix(&root).ok().and_then(|below| below.components().next());
    let is_managed = top.is_some_and(|top| MANAGED.iter().any(|tree| top.as_os_str().eq_ignore_ascii_case(tree)));
    if is_managed || place.components().any(|part| part.as_os_str().eq_ignore_ascii_case(".git")) {
        let what = format!("{} is among the files that kluis or git keep: name another place", path.display());
        return Err(Failure::usage(what).help(Remedy::Kluis(help.to_owned())));
    }
    let is_there = place.symlink_metadata().ok();
    if is_there.is_some_and(|there| !there.is_file()) {
        let what = format!("{} is no regular file, and is not replaced by one: name another place", path.display());
        return Err(Failure::usage(what).help(Remedy::Kluis(help.to_owned())));
    }
    Ok(crate::disk::write_atomic(&place, bytes, 0o644)?)
}
