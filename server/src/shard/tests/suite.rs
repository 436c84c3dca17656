//! openraft's own storage tests on our log and state machine.
//!
//! The logs of a run are groups of one write-ahead log, so they must also leave each other alone. States and snapshots
//! are of one group on many nodes, because the suite hands a snapshot from one to another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;
use uuid::Uuid;

use crate::shard::NodeId;
use crate::shard::codec;
use crate::shard::log::Log;
use crate::shard::machine::Machine;
use crate::shard::types::Types;
use crate::store::snapshot;
use crate::store::state::{self, Store};
use crate::store::vfs::StdVfs;
use crate::store::wal::{GroupId, Wal, WalConfig};

/// The group whose state and snapshots are handed around.
const GROUP: u32 = 7;

struct Stores {
    dir: TempDir,
    wal: Wal,
    next: AtomicU32,
}

impl Stores {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = WalConfig {
            segment_bytes: 256 << 10,
            entry_bytes_max: 32 << 10,
            reserve_bytes: 16 << 10,
            groups_max: 64,
            total_bytes_max: 64 << 20,
            vote_order: Some(codec::compare_votes),
            ..WalConfig::new(Uuid::nil())
        };
        let (wal, _) = Wal::open(Arc::new(StdVfs), dir.path().join("wal"), config).unwrap();
        Self { dir, wal, next: AtomicU32::new(0) }
    }
}

impl StoreBuilder<Types, Log, Machine> for Stores {
    async fn build(&self) -> Result<((), Log, Machine), openraft::StorageError<Types>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let path = |what: &str| self.dir.path().join(format!("{what}-{id}"));
        let group = Store::open(&path("state"), true, state::Config::default()).group(GROUP, 1).unwrap();
        let snapshots = snapshot::Dir::open(Arc::new(StdVfs), &path("snapshots")).unwrap();
        let machine = Machine::new(NodeId::from(0), group, snapshots, Arc::new(()), None, Duration::from_secs(60));
        Ok(((), Log::new(self.wal.group(GroupId(id))), machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storage_suite_of_openraft_passes() {
    Suite::<Types, Log, Machine, _, ()>::test_all(Stores::new()).await.unwrap();
}
