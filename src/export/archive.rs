//! An export as one tar archive (POSIX ustar), owned by root, with the modes that its files have. In memory alone.

use crate::secret::Secret;

use super::{ExportError, ExportFile};

/// Of tar: what headers take, and what contents are padded to.
const BLOCK: usize = 512;

/// The archive; `time` is the files' (Unix seconds). Folders have no entries: what is there already, such as
/// /etc/kubernetes/pki, keeps its mode, and what is not is made by whoever unpacks.
pub fn archive<'a>(
    files: impl Iterator<Item = (String, &'a ExportFile)> + Clone,
    time: u64,
) -> Result<Secret, ExportError> {
    let padded = |file: &ExportFile| BLOCK + file.content.len().next_multiple_of(BLOCK);
    // Reserved whole: a vector that grew would leave copies of keys behind.
    let size = files.clone().map(|(_, file)| padded(file) + 2 * BLOCK).sum::<usize>() + 2 * BLOCK;
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(size));
    let mut builder = tar::Builder::new(&mut *bytes);
    for (path, file) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(file.content.len() as u64);
        header.set_mode(file.mode);
        header.set_mtime(time);
        header.set_uid(0);
        header.set_gid(0);
        let failed = |_| ExportError::Archive { path: path.clone() };
        header.set_username("root").and_then(|()| header.set_groupname("root")).map_err(failed)?;
        builder.append_data(&mut header, &path, file.content.expose()).map_err(failed)?;
    }
    builder.into_inner().map_err(|_| ExportError::Archive { path: String::new() })?;
    Ok(Secret::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_what_it_was_given_and_no_folder() {
        let file = |path: &str, mode, content: &[u8]| ExportFile {
            path: path.to_owned(),
            mode,
            content: Secret::new(content.to_vec()),
        };
        let files = [file("pki/ca.crt", 0o644, b"certificate"), file("pki/sa.key", 0o600, &[7; 1000])];
        let bytes = archive(files.iter().map(|file| (format!("cp-1/{}", file.path), file)), 1_700_000_000).unwrap();
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut archive = tar::Archive::new(bytes.expose());
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            (entry.path().unwrap().display().to_string(), header.mode().unwrap(), header.size().unwrap())
        });
        let expected = [("cp-1/pki/ca.crt".to_owned(), 0o644, 11), ("cp-1/pki/sa.key".to_owned(), 0o600, 1000)];
        assert_eq!(entries.collect::<Vec<_>>(), expected);
    }
}
