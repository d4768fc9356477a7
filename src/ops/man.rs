//! `man`: puts the pages where they were asked for. What is in them belongs to the command line.

use std::path::Path;

use super::failure::Failure;

/// Writes `pages` (file name, content) to the folder `dir`, which is made if it is not there. Pages of the same name
/// are replaced, other files left alone.
pub fn write(dir: &Path, pages: &[(String, Vec<u8>)]) -> Result<(), Failure> {
    let dir = std::path::absolute(dir).map_err(|error| Failure::usage(format!("{}: {error}", dir.display())))?;
    if !dir.is_dir() {
        crate::disk::private_folder(&dir)?.set_own_mode(0o755)?;
    }
    for (name, page) in pages {
        crate::disk::write_atomic(&dir.join(name), page, 0o644)?;
    }
    Ok(())
}
