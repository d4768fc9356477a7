//! A tar stream, as `tar -c` or a command on a node writes it. Unpacked in memory alone, within bounds; nothing in it decides
//! where anything is written.

use std::io::Read as _;

use zeroize::Zeroizing;

use super::{File, Files, ImportError, LARGEST, MOST_FILES};
use crate::model::displayed;
use crate::secret::Secret;

/// Of tar: what headers take, and what contents are padded to.
const BLOCK: u64 = 512;
/// What ends an archive (POSIX pax, ustar: two blocks of zeros).
const END: usize = 1024;

/// Whether it is a tar archive (POSIX, or GNU's).
pub(super) fn is_archive(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}

/// The files of an archive. Fails where it is cut off.
pub(super) fn files(name: &str, bytes: &Secret) -> Result<Files, ImportError> {
    let fault = || ImportError::item(name, "it is a tar archive that is cut off or damaged");
    let mut files = Files::default();
    let (mut sum, mut end) = (0_usize, 0_u64);
    let mut archive = tar::Archive::new(bytes.expose());
    for entry in archive.entries().map_err(|_| fault())? {
        let mut entry = entry.map_err(|_| fault())?;
        end = entry.raw_file_position().saturating_add(entry.size().next_multiple_of(BLOCK));
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
        let path = displayed(&parts.collect::<Vec<_>>().join("/"));
        if files.files.len() + files.others.len() >= MOST_FILES {
            return Err(ImportError::item(name, format!("it has more than {MOST_FILES} files")));
        }
        match entry.header().entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                let size = usize::try_from(entry.size()).unwrap_or(usize::MAX);
                sum = sum.saturating_add(size);
                if sum > LARGEST {
                    return Err(ImportError::item(name, format!("its files are more than {} MiB", LARGEST >> 20)));
                }
                let mut content = Zeroizing::new(vec![0; size]);
                entry.read_exact(&mut content).map_err(|_| fault())?;
                files.files.push(File { path, bytes: Secret::from(content) });
            }
            tar::EntryType::Symlink => files.others.push((path, "a symbolic link")),
            tar::EntryType::Link => files.others.push((path, "a hard link")),
            tar::EntryType::Directory | tar::EntryType::XGlobalHeader => {}
            _ => files.others.push((path, "no regular file")),
        }
    }
    // Two blocks of zeros end an archive. One that is cut off between two files is an archive still, and lacks the rest.
    let mark = usize::try_from(end).ok().and_then(|end| bytes.expose().get(end..end.checked_add(END)?));
    if mark.is_none_or(|mark| mark.iter().any(|octet| *octet != 0)) {
        return Err(fault());
    }
    Ok(files)
}
