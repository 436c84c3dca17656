//! Watches a project's directory and tells when something in it changed.
//!
//! A burst of changes (a save, a checkout, a build) is told once, when it has calmed down. Folders that a build or a
//! tool fills are not watched at all, so a large `node_modules` costs nothing.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{EventKind, RecursiveMode, Watcher as _, event::ModifyKind};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

/// Folders that are ignored wherever they are.
const IGNORED: [&str; 3] = ["node_modules", ".git", ".wrangler"];
/// Most folders that are watched.
const FOLDERS_MAX: usize = 4096;
/// Most paths remembered as gone; beyond it every folder is watched anew.
const GONE_MAX: usize = 4096;
/// A burst is over when nothing has happened for this long.
const CALM: Duration = Duration::from_millis(100);
/// A burst that never calms down is told after this long.
const BURST_MAX: Duration = Duration::from_secs(1);

/// Why a directory cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The operating system refuses.
    #[error("cannot watch {}: {error}; --no-watch does without", .path.display())]
    Refused {
        /// The folder.
        path: PathBuf,
        /// Its words.
        error: notify::Error,
    },
    /// There are more folders than can be watched.
    #[error("{} holds more than {folders_max} folders to watch; --no-watch does without", .root.display())]
    TooManyFolders {
        /// The project.
        root: PathBuf,
        /// How many are allowed.
        folders_max: usize,
    },
}

/// Watches one project.
pub struct Watcher {
    scope: Scope,
    backend: notify::RecommendedWatcher,
    watched: HashSet<PathBuf>,
    told: Arc<Told>,
    /// A burst has begun and was not told yet, as when `changed` was dropped half-way.
    burst: bool,
    folders_max: usize,
}

/// What the operating system has told.
#[derive(Default)]
struct Told {
    happened: Notify,
    /// Paths that were removed or renamed: a folder that is there again must be watched anew.
    gone: Mutex<HashSet<PathBuf>>,
}

/// What is watched.
#[derive(Clone)]
struct Scope {
    root: PathBuf,
    data_dir: Option<PathBuf>,
}

impl Watcher {
    /// Starts watching `root`, without `data_dir` if that lies inside.
    pub fn start(root: &Path, data_dir: Option<&Path>) -> Result<Self, WatchError> {
        Self::start_bounded(root, data_dir, FOLDERS_MAX)
    }

    fn start_bounded(root: &Path, data_dir: Option<&Path>, folders_max: usize) -> Result<Self, WatchError> {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let scope = Scope { root: real(root), data_dir: data_dir.map(real) };
        let told = Arc::new(Told::default());
        let (tell, filter) = (told.clone(), scope.clone());
        let backend = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
            Ok(event) if filter.concerns(&event) => {
                if matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))) {
                    let mut gone = tell.gone.lock();
                    gone.extend(event.paths);
                    if gone.len() > GONE_MAX {
                        *gone = HashSet::from([filter.root.clone()]);
                    }
                }
                tell.happened.notify_one();
            }
            Ok(_) => {}
            // Events were lost: better one reload too many.
            Err(_) => tell.happened.notify_one(),
        });
        let backend = backend.map_err(|error| WatchError::Refused { path: scope.root.clone(), error })?;
        let mut watcher = Self { scope, backend, watched: HashSet::new(), told, burst: false, folders_max };
        watcher.watch_folders()?;
        Ok(watcher)
    }

    /// Waits for the next change; changes that came before the call count. Folders made since are watched from here on.
    /// Dropped before it is done, it loses no change.
    pub async fn changed(&mut self) -> Result<(), WatchError> {
        if !self.burst {
            self.told.happened.notified().await;
            self.burst = true;
        }
        let told_by = Instant::now() + BURST_MAX;
        while Instant::now() < told_by {
            let calm = Instant::now() + CALM;
            if tokio::time::timeout_at(calm.min(told_by), self.told.happened.notified()).await.is_err() {
                break;
            }
        }
        self.burst = false;
        self.watch_folders()
    }

    /// Watches every folder that is there now and was not watched yet.
    fn watch_folders(&mut self) -> Result<(), WatchError> {
        let gone = std::mem::take(&mut *self.told.gone.lock());
        self.watched.retain(|folder| !gone.iter().any(|path| folder.starts_with(path)));
        let mut queue = vec![self.scope.root.clone()];
        while let Some(folder) = queue.pop() {
            if !self.watched.contains(&folder) && !self.watch(&folder)? {
                continue;
            }
            let Ok(entries) = folder.read_dir() else { continue };
            let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            queue.extend(folders.map(|entry| entry.path()).filter(|path| !self.scope.ignores(path)));
        }
        Ok(())
    }

    /// Watches one folder; false if it is gone since it was seen, which its parent tells of.
    fn watch(&mut self, folder: &Path) -> Result<bool, WatchError> {
        if self.watched.len() == self.folders_max {
            return Err(WatchError::TooManyFolders { root: self.scope.root.clone(), folders_max: self.folders_max });
        }
        match self.backend.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => Ok(self.watched.insert(folder.to_owned())),
            Err(_) if folder != self.scope.root && !folder.exists() => Ok(false),
            Err(error) => Err(WatchError::Refused { path: folder.to_owned(), error }),
        }
    }
}

impl Scope {
    fn concerns(&self, event: &notify::Event) -> bool {
        let changes = match event.kind {
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)) => false,
            EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => {
                true
            }
        };
        changes && (event.paths.is_empty() || event.paths.iter().any(|path| !self.ignores(path)))
    }

    fn ignores(&self, path: &Path) -> bool {
        let inside = path.strip_prefix(&self.root).unwrap_or(path);
        let named = |name: &str| IGNORED.contains(&name);
        let ignored = inside.components().any(|part| part.as_os_str().to_str().is_some_and(named));
        ignored || self.data_dir.as_ref().is_some_and(|data_dir| path.starts_with(data_dir))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use notify::{
        Event,
        event::{AccessKind, CreateKind, DataChange, MetadataKind, RemoveKind},
    };

    use super::*;

    async fn changed(watcher: &mut Watcher) {
        tokio::time::timeout(Duration::from_secs(20), watcher.changed()).await.expect("no change was told").unwrap();
    }

    #[tokio::test]
    async fn writing_making_and_removing_files_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut watcher = Watcher::start(dir.path(), None).unwrap();
        fs::write(dir.path().join("a.js"), "1").unwrap();
        changed(&mut watcher).await;
        fs::write(dir.path().join("a.js"), "2").unwrap();
        changed(&mut watcher).await;
        fs::rename(dir.path().join("a.js"), dir.path().join("b.js")).unwrap();
        changed(&mut watcher).await;
        fs::remove_file(dir.path().join("b.js")).unwrap();
        changed(&mut watcher).await;
    }

    #[tokio::test]
    async fn folders_made_or_replaced_later_are_watched_too() {
        let dir = tempfile::tempdir().unwrap();
        let mut watcher = Watcher::start(dir.path(), None).unwrap();
        let deep = dir.path().join("x/y");
        fs::create_dir_all(&deep).unwrap();
        changed(&mut watcher).await;
        fs::write(deep.join("a.js"), "1").unwrap();
        changed(&mut watcher).await;
        fs::remove_dir_all(dir.path().join("x")).unwrap();
        fs::create_dir_all(&deep).unwrap();
        changed(&mut watcher).await;
        fs::write(deep.join("a.js"), "1").unwrap();
        changed(&mut watcher).await;
    }

    #[tokio::test]
    async fn a_wait_that_is_dropped_in_the_middle_of_a_burst_loses_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let mut watcher = Watcher::start(dir.path(), None).unwrap();
        fs::write(dir.path().join("a.js"), "1").unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !watcher.burst {
            assert!(Instant::now() < deadline, "no change was seen");
            // Less than it takes to calm down, so the wait is always dropped.
            assert!(tokio::time::timeout(CALM / 4, watcher.changed()).await.is_err());
        }
        changed(&mut watcher).await;
    }

    #[test]
    fn only_changes_of_the_projects_own_files_concern_it() {
        let scope = Scope { root: "/p".into(), data_dir: Some("/p/state".into()) };
        let created = EventKind::Create(CreateKind::File);
        let table = [
            (created, "/p/src/a.js", true),
            (EventKind::Modify(ModifyKind::Data(DataChange::Any)), "/p/a.js", true),
            (EventKind::Remove(RemoveKind::File), "/p/a.js", true),
            (EventKind::Access(AccessKind::Any), "/p/a.js", false),
            (EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), "/p/a.js", false),
            (created, "/p/node_modules/x/a.js", false),
            (created, "/p/sub/node_modules/a.js", false),
            (created, "/p/.git/index", false),
            (created, "/p/.wrangler/state", false),
            (created, "/p/state/wal/1", false),
            (created, "/p/state2/a.js", true),
        ];
        for (kind, path, expected) in table {
            assert_eq!(scope.concerns(&Event::new(kind).add_path(path.into())), expected, "{kind:?} {path}");
        }
    }

    #[test]
    fn folders_inside_an_ignored_parent_of_the_project_are_watched() {
        let scope = Scope { root: "/x/node_modules/p".into(), data_dir: None };
        assert!(!scope.ignores(Path::new("/x/node_modules/p/src")));
    }

    #[test]
    fn more_folders_than_the_limit_are_refused_with_a_way_out() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..10 {
            fs::create_dir(dir.path().join(n.to_string())).unwrap();
        }
        assert!(Watcher::start_bounded(dir.path(), None, 11).is_ok());
        let refused = Watcher::start_bounded(dir.path(), None, 10).err().unwrap().to_string();
        assert!(refused.ends_with("holds more than 10 folders to watch; --no-watch does without"), "{refused}");
    }
}
