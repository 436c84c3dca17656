//! `StdVfs`: the real file system, through `std::fs`.

use std::{
    fs, io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{File, Lock, Vfs};

/// Files are made readable and writable by their owner only.
const FILE_MODE: u32 = 0o600;

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdVfs;

fn options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).mode(FILE_MODE);
    options
}

impl Vfs for StdVfs {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(StdFile(options().create_new(true).open(path)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(StdFile(options().open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                paths.push(entry.path());
            }
        }
        paths.sort();
        Ok(paths)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let missing: Vec<&Path> =
            dir.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
        fs::create_dir_all(dir)?;
        for made in missing {
            match made.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => self.sync_dir(parent)?,
                _ => self.sync_dir(Path::new("."))?,
            }
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        let file = options().create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

#[derive(Debug)]
struct StdFile(fs::File);

impl File for StdFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_made_listed_renamed_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        let (one, two) = (dir.join("one"), dir.join("two"));
        StdVfs.create_dir_all(&dir).unwrap();
        StdVfs.create_dir_all(&dir).unwrap();
        let file = StdVfs.create(&one).unwrap();
        assert_eq!(StdVfs.create(&one).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        StdVfs.create_dir_all(&dir.join("not a file")).unwrap();
        assert_eq!(StdVfs.list(&dir).unwrap(), std::slice::from_ref(&one));
        StdVfs.rename(&one, &two).unwrap();
        StdVfs.sync_dir(&dir).unwrap();
        assert!(!StdVfs.exists(&one).unwrap() && StdVfs.exists(&two).unwrap());
        assert_eq!(StdVfs.open(&one).unwrap_err().kind(), io::ErrorKind::NotFound);
        StdVfs.remove(&two).unwrap();
        file.write_all_at(b"still there", 0).unwrap();
        assert_eq!(file.read_whole(100).unwrap(), b"still there");
    }

    #[test]
    fn a_file_is_written_anywhere_cut_extended_and_read_back() {
        let root = tempfile::tempdir().unwrap();
        let file = StdVfs.create(&root.path().join("f")).unwrap();
        file.write_all_at(b"abc", 5).unwrap();
        file.fill_zero(7, 3).unwrap();
        file.sync_data().unwrap();
        assert_eq!(file.read_whole(100).unwrap(), b"\0\0\0\0\0ab\0\0\0");
        file.set_len(6).unwrap();
        file.set_len(7).unwrap();
        file.sync_all().unwrap();
        assert_eq!((file.size().unwrap(), file.read_whole(7).unwrap()), (7, b"\0\0\0\0\0a\0".to_vec()));
        assert_eq!(file.read_whole(6).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(file.read_exact_at(&mut [0; 4], 5).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_lock_excludes_others_until_it_is_dropped() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lock");
        let held = StdVfs.lock(&path).unwrap();
        assert!(held.is_some() && StdVfs.lock(&path).unwrap().is_none());
        drop(held);
        assert!(StdVfs.lock(&path).unwrap().is_some());
    }

    #[test]
    fn what_a_node_writes_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("f");
        StdVfs.create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
