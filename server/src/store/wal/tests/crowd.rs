//! Many threads, each with a group of its own, on a disk that loses power in the middle.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{
    model::{self, Run, Step, dir},
    *,
};
use crate::store::vfs::{FaultVfs, fault::Random};

/// Steps of one thread, which uses one group only.
fn script(seed: u64, group: u32) -> Vec<Step> {
    let mine = |step| match step {
        Step::Append { count, term_step, bytes, .. } => Step::Append { group, count, term_step, bytes },
        Step::Vote { .. } => Step::Vote { group },
        Step::Truncate { back, .. } => Step::Truncate { group, back },
        Step::TruncateAll { .. } => Step::TruncateAll { group },
        Step::Purge { back, .. } => Step::Purge { group, back },
        Step::Destroy { .. } => Step::Destroy { group },
        Step::Create { .. } => Step::Create { group },
        Step::Committed { .. } | Step::Settle => Step::Committed { group },
    };
    model::script(seed, 60).into_iter().map(mine).collect()
}

#[test]
fn a_power_cut_while_many_groups_write_at_once_loses_nothing_acknowledged_to_any() {
    let mut cuts = 0;
    for seed in 0..60 {
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let config = WalConfig { compact_segments: 2 + random.below(4) as u32, ..config() };
        let vfs = FaultVfs::new();
        vfs.cut_at(10 + random.below(250));
        let Ok((wal, _)) = Wal::open(Arc::new(vfs.clone()), dir(), config.clone()) else { continue };
        let finished = AtomicU64::new(0);
        let runs: Vec<Run> = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..=model::GROUPS)
                .map(|id| {
                    let (wal, window, steps) = (&wal, random.below(4) as usize, script(seed * 10 + u64::from(id), id));
                    let finished = &finished;
                    scope.spawn(move || {
                        let mut run = Run::new(window);
                        if run.all(wal, &steps).is_ok() {
                            finished.fetch_add(1, Ordering::SeqCst);
                        }
                        run
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("a thread's changes are answered")).collect()
        });
        cuts += u64::from(finished.load(Ordering::SeqCst) < u64::from(model::GROUPS));
        let after = vfs.power_cut(seed);
        let (wal, _) = Wal::open(Arc::new(after), dir(), config).expect("the log opens");
        for (id, run) in (1..).zip(&runs) {
            run.model.check_group(&wal, id, run.acknowledged);
        }
    }
    assert!(cuts > 30, "only {cuts} runs were cut");
}
